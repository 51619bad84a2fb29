"""Take the pictures in img/ from the real app on a fresh demo workspace: `python scripts/take_screenshots.py`.

Each picture shows one screen or state; look at them after every change of the interface.
"""

import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Browser

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

from e2e.app_driver import AppPage, launched_browser  # noqa: E402 (the project's folders must be known first)
from e2e.app_server import AppServer  # noqa: E402
from e2e.inference_steps import DONE, READY, ask, choose_run  # noqa: E402

IMAGES = ROOT / "img"
Scene = Callable[[AppPage], None]


def chatted(app: AppPage) -> None:
    """Two answered prompts."""
    choose_run(app, "pirate-speak")
    app.choose("Preset", "Deterministic")
    ask(app, "What is the capital of France?")
    ask(app, "Show me how to add two numbers in Python.")


def chatting_large(app: AppPage) -> None:
    """A conversation in the Full Chat View."""
    chatted(app)
    app.click("Full Chat View")
    app.see("Message")
    for prompt, answers in (("What does a cow say?", 3), ("Tell me a short story.", 4)):
        app.type("Message", prompt)
        app.page.keyboard.press("Enter")
        app.wait_until(lambda screen, n=answers: screen.count(DONE) >= n, "the answer")


def running(app: AppPage) -> None:
    """An answer being written."""
    choose_run(app, "pirate-speak")
    app.choose("Preset", "Deterministic")
    app.type("Prompt", "Tell me a short story.")
    app.click("Generate")
    app.wait_until(lambda screen: len(re.findall(r"\d\d tokens(?! of)", screen)) > 0, "text")


def damaged(app: AppPage) -> None:
    """A run that fails validation."""
    app.choose("Training run", re.compile("^pirate-speak-interrupted ·"))
    app.see("Save or copy the adapter again")


def runs_listed(app: AppPage) -> None:
    """The open list of runs."""
    app.see("Select a completed training run")
    app.open_menu("Training run")
    app.see("still training")


def sample_chosen(app: AppPage) -> None:
    """A sample prompt with its expected answer, and the details open."""
    choose_run(app, "json-answers")
    app.click("Details")
    app.choose_first("Sample prompts")
    app.see("Expected:")
    app.see("tokens of")


def advanced(app: AppPage) -> None:
    """The advanced settings."""
    choose_run(app, "json-answers")
    app.click(re.compile("Advanced"))
    app.see("System prompt")


def explained(app: AppPage) -> None:
    """What made an answer."""
    chatted(app)
    app.click("What made this answer")
    app.see("Fingerprint")


def exact_prompt(app: AppPage) -> None:
    """The rendered prompt."""
    choose_run(app, "pirate-speak")
    app.type("Prompt", "What is the capital of France?")
    app.see("tokens of")
    app.click("The text the model gets")
    app.see("im_start")


def asked_to_clear(app: AppPage) -> None:
    """The question before clearing."""
    chatted(app)
    app.click("Remove every prompt and response")
    app.see("Clear history?")


def empty_chat(app: AppPage) -> None:
    """The Full Chat View before anything was said."""
    choose_run(app, "pirate-speak")
    app.click("Full Chat View")
    app.see("Start chatting")


def settings(app: AppPage) -> None:
    """The Settings screen."""
    app.click(re.compile("^Settings"))
    app.see("Quantisation")


def dataset_shown(app: AppPage) -> None:
    """The Datasets screen with the demo's dataset open."""
    app.click(re.compile("^Datasets"))
    app.see("Choose a dataset to see its rows.")
    app.click(re.compile(r"\d rows ·"))
    app.see("Used by")


def import_asked(app: AppPage, first_line: str, seen: str) -> None:
    """The import dialog after a small file was read."""
    app.click(re.compile("^Datasets"))
    app.see("Choose a dataset to see its rows.")
    app.click("Import dataset")
    app.see("Show rows")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "lessons.csv"
        row = "What is a reef?,A ridge of rock or coral near the surface.\n"
        file.write_text(f"{first_line}\n{row}What is a tide?,The daily rise and fall of the sea.\nWhat is fog?,\n")
        app.type("File, folder", str(file))
        app.page.keyboard.press("Enter")
        app.see(seen)


def import_preview(app: AppPage) -> None:
    """What an import would save."""
    import_asked(app, "prompt,response", "2 rows to import")


def import_mapping(app: AppPage) -> None:
    """Columns of no known format."""
    import_asked(app, "topic,text", "These columns are of no known format.")


def no_dataset_found(app: AppPage) -> None:
    """A search without a result."""
    app.click(re.compile("^Datasets"))
    app.see("Choose a dataset to see its rows.")
    app.type("Search", "nothing like this")
    app.see("No dataset matches the search.")


def hub_refused(app: AppPage) -> None:
    """A dataset of the hub that cannot be reached, with its split and token."""
    app.click(re.compile("^Datasets"))
    app.click("Import dataset")
    app.see("Show rows")
    app.type("File, folder", "someone/lessons")
    app.page.keyboard.press("Enter")
    app.see("Try again")


def importing_many(app: AppPage) -> None:
    """An import on its way."""
    app.click(re.compile("^Datasets"))
    app.click("Import dataset")
    app.see("Show rows")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "lessons.jsonl"
        file.write_text('{"prompt": "What is a reef?", "response": "A ridge of rock near the surface."}\n' * 600_000)
        app.type("File, folder", str(file))
        app.page.keyboard.press("Enter")
        app.see("can be used")
        app.click(re.compile("^Import$"))
        app.see(" rows · ")


def first_look(app: AppPage) -> None:
    """The app as it opens."""
    app.see("Select a completed training run")


def run_list(app: AppPage) -> None:
    """The Runs screen."""
    app.click(re.compile("^Runs"))
    app.see("json-answers")


def run_opened(app: AppPage) -> None:
    """A run's details."""
    run_list(app)
    app.click(re.compile(r"^pirate-speak\s"))
    app.see("Rank, alpha")


def scan_asked(app: AppPage) -> None:
    """The scan dialog."""
    run_list(app)
    app.press(app.button("Add runs"))
    app.press(app.option("Scan a folder…"))
    app.see("Folder to scan")


def run_asked(app: AppPage) -> None:
    """A quick answer of the open run."""
    run_opened(app)
    app.click("Try this run")
    app.see(READY)
    app.type("Quick prompt", "What is the capital of France?")
    app.click("Generate")
    app.see(DONE)
    app.page.mouse.move(1000, 600)
    app.page.mouse.wheel(0, 5000)
    app.page.wait_for_timeout(300)
    app.page.mouse.wheel(0, -470)


SCENES: list[tuple[str, Scene, dict[str, object]]] = [
    ("start", first_look, {}),
    ("runs", runs_listed, {}),
    ("inference-light", chatted, {}),
    ("inference-dark", chatted, {"dark": True}),
    ("inference-narrow", chatted, {"width": 900, "height": 800}),
    ("inference-wide", chatted, {"width": 2560, "height": 1300}),
    ("streaming", running, {"dark": True}),
    ("damaged-adapter", damaged, {}),
    ("sample-and-details", sample_chosen, {}),
    ("advanced", advanced, {"height": 1200}),
    ("datasets-light", dataset_shown, {}),
    ("datasets-dark", dataset_shown, {"dark": True, "width": 900, "height": 800}),
    ("dataset-import", import_preview, {}),
    ("dataset-mapping", import_mapping, {"dark": True}),
    ("datasets-search", no_dataset_found, {}),
    ("dataset-hub", hub_refused, {"width": 900, "height": 800}),
    ("dataset-importing", importing_many, {}),
    ("what-made-this", explained, {}),
    ("exact-prompt", exact_prompt, {}),
    ("clear-history", asked_to_clear, {}),
    ("full-chat-empty", empty_chat, {}),
    ("full-chat-light", chatting_large, {}),
    ("full-chat-dark", chatting_large, {"dark": True}),
    ("full-chat-narrow", chatting_large, {"width": 900, "height": 800}),
    ("runs-list", run_list, {}),
    ("run-details", run_opened, {}),
    ("run-details-dark", run_opened, {"dark": True}),
    ("runs-scan", scan_asked, {}),
    ("run-quick", run_asked, {}),
    ("settings", settings, {}),
    ("settings-dark", settings, {"dark": True}),
]


def take(browser: Browser, server: AppServer, name: str, scene: Scene, look: dict[str, object]) -> None:
    """One picture of one scene in a window of its own."""
    app = AppPage.opened(browser, server.url, **look)  # type: ignore[arg-type]
    scene(app)
    if scene not in (running, importing_many):
        app.page.wait_for_timeout(700)  # ripples and fades have no end that could be waited for
    app.screenshot(str(IMAGES / f"{name}.png"))
    app.page.context.close()
    print(f"img/{name}.png")


def main() -> None:
    """Take the scenes named on the command line, or all."""
    wanted = sys.argv[1:]
    IMAGES.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        AppServer(Path(folder), "--demo") as server,
        launched_browser() as browser,
    ):
        for name, scene, look in SCENES:
            if not wanted or name in wanted:
                take(browser, server, name, scene, look)


if __name__ == "__main__":
    main()
