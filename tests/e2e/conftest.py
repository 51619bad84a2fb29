"""One app process and one browser for all browser tests; every test opens its own tab, which is its own window."""

import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from e2e.app_driver import AppPage, find_browser, launched_browser
from e2e.app_server import AppServer

PICTURES = Path(__file__).parent / "failures"
FAILED = pytest.StashKey[bool]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("e2e")
    # Last: Playwright keeps an event loop running in this thread, and other tests start loops of their own.
    items.sort(key=lambda item: here in item.path.parents)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if find_browser() is None:
        reason = "no Chromium or Chrome on this machine; install one or set CHROMIUM_PATH"
        if os.environ.get("REQUIRE_BROWSER_TESTS"):
            pytest.fail(reason)
        pytest.skip(reason)
    with launched_browser() as started:
        yield started


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppServer]:
    with AppServer(tmp_path_factory.mktemp("workspace"), "--demo") as started:
        yield started


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report


@pytest.fixture
def open_window(
    browser: Browser, server: AppServer, request: pytest.FixtureRequest
) -> Iterator[Callable[..., AppPage]]:
    """Opens windows on the shared server, keeps pictures of them when the test failed, and closes them."""
    opened: list[AppPage] = []

    def open_one(**look: object) -> AppPage:
        opened.append(AppPage.opened(browser, server.url, **look))
        return opened[-1]

    yield open_one
    for number, app in enumerate(opened):
        if request.node.stash.get(FAILED, False):
            PICTURES.mkdir(exist_ok=True)
            app.screenshot(str(PICTURES / f"{request.node.name}-{number}.png"))
        app.page.context.close()


@pytest.fixture
def app(open_window: Callable[..., AppPage]) -> AppPage:
    return open_window()
