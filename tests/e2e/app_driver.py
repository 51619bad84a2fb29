"""Drives the real app in headless Chromium through its semantic tree; used by the browser tests and screenshots.

Flutter draws on a canvas; what can be found and clicked is the accessibility tree beside it.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Locator, Page, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Without these Chromium looks for hosts of its own at every start.
LAUNCH_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WAIT_MS = 60_000


def find_browser() -> str | None:
    """The system's Chromium or Chrome; $CHROMIUM_PATH wins. None = there is none."""
    return os.environ.get("CHROMIUM_PATH") or next(filter(None, map(shutil.which, BROWSERS)), None)


@contextmanager
def launched_browser() -> Iterator[Browser]:
    """A headless browser for as long as the block runs."""
    executable = find_browser()
    if executable is None:
        raise RuntimeError("no Chromium or Chrome found; install one or set CHROMIUM_PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=LAUNCH_FLAGS)
        try:
            yield browser
        finally:
            browser.close()


class AppPage:
    """One browser tab with the app in it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        page.set_default_timeout(WAIT_MS)

    @classmethod
    def opened(
        cls, browser: Browser, url: str, width: int = 1440, height: int = 900, dark: bool = False
    ) -> "AppPage":
        """A new tab on ``url`` with the semantic tree switched on."""
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            accept_downloads=True,
        )
        app = cls(context.new_page())
        app.page.goto(url)
        app.page.wait_for_selector("flt-semantics-placeholder", state="attached")
        app.page.evaluate("document.querySelector('flt-semantics-placeholder').click()")
        app.see("Adapter Playground")
        return app

    def find(self, words: str | re.Pattern[str]) -> Locator:
        """Everything that shows ``words`` as its text or label."""
        pattern = words if isinstance(words, re.Pattern) else re.compile(re.escape(words))
        text = self.page.locator("flt-semantics").filter(has_text=pattern)
        label = self.page.get_by_label(pattern)
        return text.or_(label)

    def see(self, words: str | re.Pattern[str]) -> None:
        """Wait until ``words`` are on screen."""
        self.find(words).first.wait_for(state="attached")

    def sees(self, words: str | re.Pattern[str]) -> bool:
        """Whether ``words`` are on screen now."""
        return self.find(words).count() > 0

    def see_no_more(self, words: str | re.Pattern[str]) -> None:
        """Wait until ``words`` are gone."""
        self.page.wait_for_function(
            "([source, flags]) => !new RegExp(source, flags).test(document.querySelector('flt-semantics-host')"
            "?.innerText + [...document.querySelectorAll('[aria-label]')].map(e => e.ariaLabel).join('\\n'))",
            arg=[words.pattern if isinstance(words, re.Pattern) else re.escape(words), ""],
        )

    def button(self, name: str | re.Pattern[str]) -> Locator:
        """A button by its label or tooltip."""
        named = self.page.get_by_role("button", name=name)
        # A tooltip's words label a node around the button, not the button itself.
        in_tooltip = self.page.get_by_label(name).get_by_role("button")
        return named.or_(in_tooltip).first

    def click(self, name: str | re.Pattern[str]) -> None:
        """Press a button."""
        self.button(name).dispatch_event("click")

    def field(self, label: str) -> Locator:
        """A text field by its label."""
        return self.page.locator(f"input[aria-label^={label!r}], textarea[aria-label^={label!r}]").first

    def type(self, label: str, text: str) -> None:
        """Put ``text`` into a field as a person does: focus it, then type."""
        self.field(label).focus()
        self.page.keyboard.press("Control+A")
        self.page.keyboard.type(text)

    def screenshot(self, path: str) -> None:
        """The window as a PNG."""
        self.page.screenshot(path=path)
