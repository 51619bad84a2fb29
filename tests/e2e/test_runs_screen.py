"""The Runs screen in the real app."""

import re

from e2e.app_driver import AppPage
from e2e.inference_steps import DONE, READY

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
    app.see("pirate-speak · checkpoint-40")
    app.type("Prompt", "What is the capital of France?")
    app.click("Generate")
    app.see(DONE)


def test_removing_asks_twice_before_files_go_and_names_the_folder(app: AppPage) -> None:
    open_runs(app)
    app.click(OPEN_RUN)
    app.click("Remove this run")
    app.see("files stay where they are")
    app.click("Delete its files too")
    app.see("/runs/pirate-speak")
    app.click("Keep the files")
    app.see_no_more("for good")
    app.see("json-answers")
