"""The main job in the real app: pick a run, see it validated, chat in the tab and in the Full Chat View."""

from pathlib import Path

from e2e.app_driver import AppPage
from e2e.inference_steps import DONE, choose_run

IDLE = "Select a completed training run to load for inference."
TAB_PLACEHOLDER = "Responses will appear here after running inference."
CHAT_PLACEHOLDER = "Start chatting with your fine-tuned model."


def test_from_choosing_a_run_to_an_exported_chat(app: AppPage, tmp_path: Path) -> None:
    app.see(IDLE)
    app.see(TAB_PLACEHOLDER)
    choose_run(app, "pirate-speak")
    assert app.value("Base model") == "demo/tiny-chat"

    app.choose("Preset", "Deterministic")
    sample = app.choose_first("Sample prompts")
    app.see("Expected:")
    app.see("tokens of")
    assert app.value("Prompt") == sample
    app.click("Generate")
    app.see(DONE)

    app.click("Full Chat View")
    app.see("Message")
    app.see(sample)
    app.type("Message", "What is the capital of Japan?")
    app.page.keyboard.press("Enter")
    app.wait_until(lambda screen: screen.count(DONE) >= 2, "the second answer")
    app.see("Tokyo")
    app.click("Close")
    app.see_no_more("Full Chat View\nMessage")
    app.see("What is the capital of Japan?")
    app.see("Tokyo")

    with app.page.expect_download() as download:
        app.press(app.page.get_by_role("button", name="Export chats").or_(app.page.get_by_text("Export chats")).first)
        app.press(app.option("Markdown"))
    saved = tmp_path / "chat.md"
    download.value.save_as(saved)
    text = saved.read_text(encoding="utf-8")
    assert sample in text and "What is the capital of Japan?" in text and "Tokyo" in text

    app.click("Clear history")
    app.see("Clear history?")
    app.page.get_by_role("button", name="Clear history").last.dispatch_event("click")
    app.see(TAB_PLACEHOLDER)
    app.click("Full Chat View")
    app.see(CHAT_PLACEHOLDER)
