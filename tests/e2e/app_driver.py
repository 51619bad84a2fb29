"""Drives the real app in headless Chromium through its semantic tree; used by the browser tests and screenshots.

Flutter draws on a canvas; what can be found and clicked is the accessibility tree beside it.
"""

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Locator, Page, TimeoutError, sync_playwright

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
_MENU_OPENS_MS = 5_000


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

    def button(self, name: str | re.Pattern[str]) -> Locator:
        """A button by its label or tooltip; a plain text is how that begins."""
        name = name if isinstance(name, re.Pattern) else re.compile(f"^{re.escape(name)}")
        named = self.page.get_by_role("button", name=name)
        # A tooltip's words label a node around the button, not the button itself.
        in_tooltip = self.page.get_by_label(name).get_by_role("button")
        return named.or_(in_tooltip).first

    def click(self, name: str | re.Pattern[str]) -> None:
        """Press a button."""
        self.button(name).dispatch_event("click")

    def press(self, target: Locator) -> None:
        """Click where a person would: Flet's dropdowns and menus listen to the pointer alone."""
        target.wait_for(state="attached")
        # Menus slide open, and what loads moves what stands below it.
        before, box = None, target.bounding_box()
        while box is None or box != before:
            self.page.wait_for_timeout(60)
            before, box = box, target.bounding_box()
        self.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)

    def settle(self) -> None:
        """Wait until the screen says the same for a moment: a menu closes when what it stands on is drawn anew."""
        before, deadline = "", time.monotonic() + 10
        while (now := self.words()) != before and time.monotonic() < deadline:
            before = now
            self.page.wait_for_timeout(300)

    def open_menu(self, label: str) -> None:
        """Open a dropdown."""
        self.settle()
        self.press(self.page.get_by_role("button", name=label, exact=True).first)

    def option(self, words: str | re.Pattern[str]) -> Locator:
        """An entry of the open dropdown or menu."""
        entry = self.page.get_by_role("button", name=words).or_(self.page.get_by_role("menuitem", name=words))
        return entry.last

    def choose_first(self, label: str) -> str:
        """Open a dropdown and take its first entry; returns what it says."""
        self.open_menu(label)
        opened = self.page.locator("[role=button][aria-expanded=true][aria-owns]").filter(has_text=label)
        menu = opened.first.get_attribute("aria-owns")
        entry = self.page.locator(f"#{menu}").get_by_role("button").first
        words = entry.inner_text()
        self.press(entry)
        return words

    def choose(self, label: str, words: str | re.Pattern[str]) -> None:
        """Open a dropdown and take an entry; opened again where the entry was not there yet."""
        self.open_menu(label)
        deadline = time.monotonic() + WAIT_MS / 1000
        while not self._is_there(self.option(words)) and time.monotonic() < deadline:
            self.page.keyboard.press("Escape")
            self.open_menu(label)
        # A long menu scrolls.
        self.option(words).scroll_into_view_if_needed()
        self.press(self.option(words))

    def _is_there(self, target: Locator) -> bool:
        try:
            target.wait_for(state="attached", timeout=_MENU_OPENS_MS)
        except TimeoutError:
            return False
        return True

    def field(self, label: str) -> Locator:
        """A text field by its label."""
        own = f'input[aria-label^="{label}"], textarea[aria-label^="{label}"]'
        around = f'[aria-label^="{label}"] input, [aria-label^="{label}"] textarea'
        return self.page.locator(f"{own}, {around}").last

    def type(self, label: str, text: str) -> None:
        """Put ``text`` into a field as a person does: focus it, then type.

        Again where the first letters went missing: this types faster than a field that was just left takes the focus.
        """
        field = self.field(label)
        for _ in range(3):
            field.focus()
            self.page.keyboard.press("Control+A")
            self.page.keyboard.type(text)
            if field.input_value() in (text, ""):
                return

    def paste(self, label: str, text: str) -> None:
        """Put a long ``text`` into a field at once."""
        # A key typed first shows that the field has the focus; Flutter takes a moment.
        self.type(label, " ")
        self.page.keyboard.insert_text(text)

    def value(self, label: str) -> str:
        """What stands in a field; Flutter fills the browser's own field only once it has the focus."""
        field = self.field(label)
        field.focus()
        deadline = time.monotonic() + 3
        while not field.input_value() and time.monotonic() < deadline:
            self.page.wait_for_timeout(50)
        return field.input_value()

    def words(self) -> str:
        """Everything on screen, as text."""
        texts: str = self.page.evaluate(
            "[...document.querySelectorAll('flt-semantics')].filter(e => !e.querySelector('flt-semantics'))"
            ".map(e => [e.ariaLabel, e.innerText, e.querySelector('input,textarea')?.value]"
            ".filter(Boolean).join(' '))"
            ".concat([...document.querySelectorAll('[aria-label]')].map(e => e.ariaLabel)).join('\\n')"
        )
        return texts

    def wait_until(self, condition: Callable[[str], bool], what: str, seconds: float = WAIT_MS / 1000) -> None:
        """Wait until ``condition`` holds for the words on screen."""
        deadline = time.monotonic() + seconds
        while not condition(self.words()):
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {seconds:.0f} s for {what}; on screen:\n{self.words()}")
            self.page.wait_for_timeout(50)

    def see(self, words: str) -> None:
        """Wait until ``words`` are on screen."""
        self.wait_until(lambda screen: words in screen, f"“{words}”")

    def see_no_more(self, words: str) -> None:
        """Wait until ``words`` are gone."""
        self.wait_until(lambda screen: words not in screen, f"“{words}” to go")

    def screenshot(self, path: str) -> None:
        """The window as a PNG."""
        self.page.screenshot(path=path)
