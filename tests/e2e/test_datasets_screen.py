"""The Datasets screen in the browser: import with a preview, map unknown columns, cancel, rename, delete."""

import json
import re
from pathlib import Path

from e2e.app_driver import AppPage


def open_import(app: AppPage, path: Path) -> None:
    app.click(re.compile("^Datasets"))
    app.see("Choose a dataset to see its rows.")
    app.click("Import dataset")
    app.see("Show rows")
    app.type("File, folder", str(path))
    app.page.keyboard.press("Enter")


def write_lines(path: Path, records: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_a_file_is_previewed_imported_and_deleted(app, tmp_path):
    rows = [{"prompt": f"Where is town {number}?", "response": f"On hill {number}."} for number in range(30)]
    open_import(app, write_lines(tmp_path / "towns.jsonl", [*rows, {"prompt": "Nobody knows", "response": ""}]))
    app.see("30 rows to import")
    app.see("1 skipped: the answer is empty")
    app.see("Where is town 4?")
    app.click(re.compile("^Import$"))
    app.see("30 rows imported as “towns”.")
    app.click("Done")
    app.see("1–20 of 30")
    app.click("Next rows")
    app.see("Where is town 29?")
    app.click(re.compile("^Delete$"))
    app.see("Delete “towns”?")
    app.click("Delete dataset")
    app.see("“towns” is deleted.")
    app.see("Choose a dataset to see its rows.")


def test_unknown_columns_are_mapped_before_the_import(app, tmp_path):
    open_import(app, write_lines(tmp_path / "odd.jsonl", [{"frage": "Wie weit?", "antwort": "Zwei Meilen."}]))
    app.see("These columns are of no known format.")
    app.choose("Prompt column", "frage")
    app.choose("Response column", "antwort")
    app.see("1 row to import")
    app.see("Zwei Meilen.")
    app.click(re.compile("^Import$"))
    app.see("imported as “odd”.")


def test_an_import_shows_how_far_it_is_and_is_cancelled(app, tmp_path):
    big = tmp_path / "endless.jsonl"
    with big.open("w") as file:
        file.writelines(f'{{"prompt": "Question {number}?", "response": "Answer."}}\n' for number in range(400_000))
    open_import(app, big)
    app.see("5,000 of the first 5,000 rows can be used")
    app.click(re.compile("^Import$"))
    app.wait_until(lambda words: re.search(r"Importing: \d+,\d+ rows · .+ of ", words) is not None, "progress")
    app.click("Cancel import")
    app.see("The import was cancelled; nothing of it is kept.")
    app.click(re.compile("^Close$"))
    app.see_no_more("Show rows")
    assert "endless" not in app.words()


def test_a_file_that_comes_late_is_tried_again(app, tmp_path):
    late = tmp_path / "late.jsonl"
    open_import(app, late)
    app.see("Try again")
    write_lines(late, [{"prompt": "Are you there?", "response": "Now I am."}])
    app.click("Try again")
    app.see("Now I am.")
    app.see_no_more("Try again")


def test_a_hub_dataset_out_of_reach_is_explained(app):
    open_import(app, Path("someone/lessons"))
    app.see("HF_HUB_OFFLINE forbids to look for it on Hugging Face")
    assert app.field("Access token").get_attribute("type") == "password"
    app.type("File, folder", "lessons.jsonl")
    app.see_no_more("Access token")
    app.page.keyboard.press("Escape")
    app.see_no_more("Show rows")


def test_a_folder_is_imported_and_a_taken_name_is_refused(app, tmp_path):
    folder = tmp_path / "harbours"
    folder.mkdir()
    for number in range(2):
        write_lines(folder / f"part{number}.jsonl", [{"prompt": f"Harbour {number}?", "response": "Calm."}])
    open_import(app, folder)
    app.see("2 rows to import")
    app.click(re.compile("^Import$"))
    app.see("2 rows imported as “harbours”.")
    app.click("Done")
    app.click("Import dataset")
    app.type("File, folder", str(write_lines(tmp_path / "piers.jsonl", [{"prompt": "Pier?", "response": "Long."}])))
    app.page.keyboard.press("Enter")
    app.see("1 row to import")
    app.click(re.compile("^Import$"))
    app.see("imported as “piers”.")
    app.click("Done")
    app.click("Rename")
    app.type("Name", "harbours")
    app.page.keyboard.press("Enter")
    app.see("Choose another name")
    app.type("Name", "long piers")
    app.page.keyboard.press("Enter")
    app.see_no_more("The new name of")
    app.see("long piers")
