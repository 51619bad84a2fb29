"""Steps that several browser tests take in the Inference tab."""

import re

from e2e.app_driver import AppPage

READY = "Adapter validated. Ready for inference."
DONE = "first token"


def choose_run(app: AppPage, name: str) -> None:
    """Take a run from the dropdown and wait until it is validated."""
    app.choose("Training run", re.compile(f"^{name} ·"))
    app.see(READY)


def generate(app: AppPage) -> None:
    """Press Generate and wait until it gives way to Stop."""
    app.click("Generate")
    app.see("Stop")


def ask(app: AppPage, prompt: str) -> None:
    """Answer a prompt in the tab and wait for the end."""
    app.type("Prompt", prompt)
    before = app.words().count(DONE)
    app.click("Generate")
    app.wait_until(lambda screen: screen.count(DONE) > before, "the answer to end")
