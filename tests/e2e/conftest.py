"""One app process and one browser for all browser tests; every test opens its own tab, which is its own window."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from e2e.app_driver import AppPage, find_browser, launched_browser
from e2e.app_server import AppServer


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("e2e")


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


@pytest.fixture
def open_window(browser: Browser, server: AppServer) -> Iterator[Callable[..., AppPage]]:
    """Opens windows on the shared server and closes them after the test."""
    opened: list[AppPage] = []

    def open_one(**look: object) -> AppPage:
        opened.append(AppPage.opened(browser, server.url, **look))
        return opened[-1]

    yield open_one
    for app in opened:
        app.page.context.close()


@pytest.fixture
def app(open_window: Callable[..., AppPage]) -> AppPage:
    return open_window()
