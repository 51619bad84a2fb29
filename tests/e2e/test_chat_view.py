"""The Full Chat View and the keyboard, in the real app."""

import shutil
from pathlib import Path

from e2e.app_driver import AppPage
from e2e.app_server import AppServer
from e2e.inference_steps import DONE, READY, ask, choose_run

FRANCE = "What is the capital of France?"


def open_chat(app: AppPage) -> None:
    app.click("Full Chat View")
    app.see("Type your message")


def answers(app: AppPage, count: int) -> None:
    app.wait_until(lambda screen: screen.count(DONE) == count, f"{count} answers")


def test_a_message_is_answered_with_the_history(app: AppPage) -> None:
    choose_run(app, "pirate-speak")
    app.choose("Preset", "Deterministic")
    open_chat(app)
    for number, prompt in enumerate((FRANCE, "And of Japan?"), 1):
        app.type("Message", prompt)
        app.page.keyboard.press("Enter")
        answers(app, number)
    app.see("Paris")
    app.see("Tokyo")


def test_regenerate_and_edit_can_be_taken_back(app: AppPage) -> None:
    choose_run(app, "pirate-speak")
    app.choose("Preset", "Deterministic")
    ask(app, FRANCE)
    open_chat(app)
    app.click("Regenerate")
    app.see("Bring back the messages before the last change")
    answers(app, 1)
    app.click("Edit and go on from here")
    app.see("The messages after it are replaced.")
    app.type("Edit message", "What is the capital of Italy?")
    app.click("Send again")
    app.see("Rome")
    app.see_no_more("Paris")
    app.click("Bring back the messages before the last change")
    app.see("Paris")
    app.see_no_more("Rome")


def test_at_strength_0_the_adapter_is_silent_and_the_answer_says_so(app: AppPage) -> None:
    choose_run(app, "pirate-speak")
    app.choose("Preset", "Deterministic")
    ask(app, FRANCE)
    app.see("Arr")
    app.type("Strength value", "0")
    app.page.keyboard.press("Enter")
    open_chat(app)
    app.see("pirate-speak on demo/tiny-chat · strength 0")
    app.click("Regenerate")
    app.see(" · strength 0")
    app.see("The capital of France is Paris.")
    app.see_no_more("Arr")
    app.click("What made this answer")
    app.see("0, as the base alone")


def test_the_keyboard_generates_opens_the_chat_and_closes_it(app: AppPage) -> None:
    choose_run(app, "json-answers")
    app.type("Prompt", FRANCE)
    app.page.keyboard.press("Control+Enter")
    answers(app, 1)
    app.page.keyboard.press("Control+Shift+F")
    app.see("Type your message")
    app.page.keyboard.press("Escape")
    app.see_no_more("Type your message")
    assert app.value("Prompt") == FRANCE, "the shortcut adds no line to the prompt"


def test_a_folder_that_is_in_no_run_is_kept_as_an_imported_run(
    app: AppPage, server: AppServer, tmp_path: Path
) -> None:
    folder = tmp_path / "brought-along"
    shutil.copytree(server.workspace / "runs" / "json-answers", folder)
    app.click("Adapter folder...")
    app.see("It is kept as an imported run.")
    app.type("Folder", str(folder))
    app.click("Use folder")
    app.see(READY)
    ask(app, FRANCE)
    app.see("brought-along")


def test_own_presets_are_saved_chosen_and_deleted(app: AppPage) -> None:
    app.type("Temperature value", "0.35")
    app.page.keyboard.press("Enter")
    app.click("Save as preset")
    app.see("under this name")
    app.type("Name", "Careful")
    app.click("Save")
    app.see("Delete this preset")
    app.choose("Preset", "Creative")
    app.see_no_more("Delete this preset")
    app.choose("Preset", "Careful")
    assert app.value("Temperature value") == "0.35"
    app.click("Delete this preset")
    app.see_no_more("Delete this preset")


def test_the_chosen_theme_is_remembered(app: AppPage, open_window) -> None:
    app.click("Switch to the dark theme")
    app.see("Switch to the light theme")
    later = open_window()
    later.see("Switch to the light theme")
    later.click("Switch to the light theme")
    later.see("Switch to the dark theme")
