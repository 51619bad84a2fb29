"""The Datasets screen in the browser: import with a preview, map unknown columns, delete."""

import json
import re
from pathlib import Path

from e2e.app_driver import AppPage


def open_import(app: AppPage, path: Path) -> None:
    app.click(re.compile("^Datasets"))
    app.see("Choose a dataset to see its rows.")
    app.click("Import dataset")
    app.see("Read file")
    app.type("File", str(path))
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
