"""The Runs screen in the real app."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

from e2e.app_driver import AppPage
from e2e.inference_steps import DONE, READY

FINEFOUNDRY = """
CREATE TABLE training_runs (id INTEGER PRIMARY KEY, name TEXT, status TEXT, base_model TEXT, storage_path TEXT,
  output_dir TEXT, adapter_path TEXT, hp_json TEXT, started_at TEXT, completed_at TEXT);
CREATE TABLE scrape_sessions (id INTEGER PRIMARY KEY, name TEXT, source TEXT);
CREATE TABLE scraped_pairs (id INTEGER PRIMARY KEY, session_id INTEGER, input_text TEXT, output_text TEXT);
INSERT INTO training_runs VALUES (1, 'their-run', 'completed', 'base', '/s', '/s/out', '/s/out/adapter',
  '{"lr": 0.1}', '2025-01-01 10:00:00', '2025-01-01 11:00:00');
INSERT INTO scrape_sessions VALUES (1, 'their-talks', 'reddit');
INSERT INTO scraped_pairs VALUES (1, 1, 'Hi', 'Hello'), (2, 1, 'Bye', 'See you');
"""
OPEN_RUN = re.compile(r"^pirate-speak\s")


def open_runs(app: AppPage) -> None:
    app.click(re.compile("^Runs"))
    app.see("json-answers")


def test_find_a_run_see_its_health_and_chat_with_its_checkpoint(app: AppPage) -> None:
    open_runs(app)
    app.type("Search runs", "pirate-speak")
    app.see_no_more("json-answers")
    app.click(OPEN_RUN)
    app.see("Training loss: lowest")
    app.see("Rank, alpha")
    app.click(re.compile("Chat with checkpoint-40|checkpoint-40.*Open in Inference"))
    app.see(READY)
    app.see("runs/pirate-speak/checkpoint-40")
    app.type("Prompt", "What is the capital of France?")
    app.click("Generate")
    app.see(DONE)


def add_runs(app: AppPage, way: str) -> None:
    app.press(app.button(re.compile("Add runs")))
    app.press(app.option(way))


def lone_adapter(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4, "base_model_name_or_path": "a/b"}')
    (folder / "adapter_model.safetensors").write_bytes(b"0")
    return folder


def test_files_go_on_the_second_confirmation_alone_which_names_the_folder(app: AppPage, tmp_path: Path) -> None:
    doomed, neighbour = (lone_adapter(tmp_path / "outputs" / name) for name in ("doomed", "neighbour"))
    open_runs(app)
    add_runs(app, "Adapter folder…")
    app.type("Folder", str(doomed))
    app.page.keyboard.press("Enter")
    app.see("added from a folder")
    app.click("Remove this run")
    app.see("files stay where they are")
    app.click("Delete its files too")
    app.see("for good")
    assert str(doomed) in app.words()
    app.click("Keep the files")
    app.see_no_more("for good")
    assert doomed.is_dir()
    app.click("Remove this run")
    app.click("Delete its files too")
    app.see("for good")
    app.click("Delete folder and run")
    app.see("is removed from the list")
    assert (doomed.exists(), len(list(neighbour.iterdir()))) == (False, 2)
    app.see("Choose a run to see")


def test_a_finefoundry_database_brings_its_runs_and_its_dataset(app: AppPage, tmp_path: Path) -> None:
    source = tmp_path / "finefoundry.db"
    with closing(sqlite3.connect(source)) as writer:
        writer.executescript(FINEFOUNDRY)
    open_runs(app)
    add_runs(app, "FineFoundry database…")
    app.type("Path of finefoundry.db", str(source))
    app.page.keyboard.press("Enter")
    app.see("1 new run and 1 new dataset")
    app.see("their-run")
    app.click(re.compile("^Datasets"))
    app.see("their-talks")
    app.click(re.compile("^Inference"))
    app.open_menu("Training run")
    app.see("their-run")


def test_notes_stay_and_escape_closes_the_question_before_the_details(app: AppPage) -> None:
    open_runs(app)
    app.click(re.compile(r"^json-answers\s"))
    app.see("Saved as you write.")
    app.type("Notes", "the good one")
    app.page.keyboard.press("Escape")
    app.see("Choose a run to see")
    app.type("Search runs", "the good one")
    app.see("1 of")
    app.click(re.compile(r"^json-answers\s"))
    app.see("the good one")
    app.click("Rename this run")
    app.see("New name")
    app.page.keyboard.press("Escape")
    app.see_no_more("New name")
    app.see("Open in Inference")
