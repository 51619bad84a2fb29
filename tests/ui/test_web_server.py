"""The browser view's server: who may talk to it, and what it ships for a machine without network."""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import flet as ft
import flet_web
import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from helpers.app_paths import assets_dir
from stand_in_client import registration
from ui.fallback_fonts import fallback_font
from ui.request_guard import TOKEN_COOKIE
from ui.web_server import BrowserView

FONTS = assets_dir() / "fonts"


@contextmanager
def served(view: BrowserView, main: Callable[[ft.Page], None] = lambda page: None) -> Iterator[None]:
    """The view, answering on a thread while the block runs; a block that ends finds it ended too."""
    thread = threading.Thread(target=view.serve, args=(main, assets_dir()))
    thread.start()
    try:
        # The port is bound, so a request waits until the server is up.
        httpx.get(f"http://127.0.0.1:{view.port}/", headers={"Host": "localhost"}, timeout=30)
        yield
    finally:
        view.quit()
        thread.join(timeout=10)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def local() -> Iterator[str]:
    view = BrowserView("127.0.0.1", 0)
    with served(view):
        yield f"127.0.0.1:{view.port}"


def open_socket(address: str, **headers: str) -> None:
    with connect(f"ws://{address}/ws", additional_headers=headers) as socket:
        socket.send(registration())
        assert socket.recv()


def test_this_machine_may_use_the_app_by_any_of_its_names(local: str) -> None:
    port = local.rpartition(":")[2]
    for name in ("127.0.0.1", "localhost", "[::1]"):
        assert httpx.get(f"http://{local}/", headers={"Host": f"{name}:{port}"}).status_code == 200
    open_socket(local)
    open_socket(local, Origin=f"http://{local}")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8550", "127.0.0.1.evil.example", "", "0.0.0.0", "[::"]
)
def test_a_name_that_was_pointed_at_this_machine_is_refused(local: str, host: str) -> None:
    assert httpx.get(f"http://{local}/", headers={"Host": host}).status_code in (400, 403)


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://localhost"])
def test_a_page_of_another_site_cannot_reach_the_app(local: str, origin: str) -> None:
    assert httpx.post(f"http://{local}/upload", headers={"Origin": origin}).status_code == 403
    with pytest.raises(InvalidStatus) as refused:
        open_socket(local, Origin=origin)
    assert refused.value.response.status_code == 403


def test_no_other_site_may_frame_the_app_or_read_its_answers_and_the_page_talks_to_nobody_else(local: str) -> None:
    headers = httpx.get(f"http://{local}/").headers
    policy = headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert "http" not in policy
    assert "*" not in policy
    assert "access-control-allow-origin" not in headers


def test_on_another_address_a_token_is_needed_once_and_then_the_cookie() -> None:
    view = BrowserView("0.0.0.0", 0)
    address = f"127.0.0.1:{view.port}"
    assert view.token is not None
    assert view.token in view.address
    with served(view), httpx.Client(base_url=f"http://{address}") as browser:
        assert browser.get("/").status_code == 403
        assert browser.get("/?token=wrong").status_code == 403
        with pytest.raises(InvalidStatus):
            open_socket(address)
        entered = browser.get(f"/?page=1&token={view.token}")
        assert entered.headers["location"] == "/?page=1"
        assert "httponly" in entered.headers["set-cookie"].lower()
        assert browser.get("/").status_code == 200
        open_socket(address, Cookie=f"{TOKEN_COOKIE}={view.token}")
        with pytest.raises(InvalidStatus):
            open_socket(address, Cookie=f"{TOKEN_COOKIE}={view.token}", Origin="http://evil.example")


def test_quit_from_inside_a_page_ends_the_server() -> None:
    view = BrowserView("127.0.0.1", 0)
    ended = threading.Event()

    def serve() -> None:
        view.serve(lambda page: view.quit(), assets_dir())
        ended.set()

    threading.Thread(target=serve).start()
    open_socket(f"127.0.0.1:{view.port}")
    assert ended.wait(10)


def test_every_font_the_browser_view_can_ask_for_is_answered_from_this_machine() -> None:
    """An error would be asked again without end; a Chinese, Japanese or Korean slice must really be there."""
    script = (Path(flet_web.get_package_web_dir()) / "main.dart.js").read_text(encoding="utf-8")
    asked = set(re.findall(r'"((?:noto|roboto)[a-z0-9]*/v\d+/[\w.-]+\.(?:woff2|ttf))"', script))
    assert len(asked) > 500
    blank = (FONTS / "blank.woff2").read_bytes()
    answers = {path: fallback_font(f"/assets/fonts/{path}", FONTS) for path in asked}
    assert all(answer is not None for answer in answers.values())
    missing = {path for path, answer in answers.items() if answer == blank}
    for family in ("notosanssc", "notosanshk", "notosanstc", "notosansjp", "notosanskr"):
        slices = {path for path in asked if re.fullmatch(rf"{family}/v\d+/.*\.\d+\.woff2", path)}
        assert len(slices) > 90
        assert not slices & missing
    for family in ("notocoloremoji", "notosans", "notosanssymbols2", "notosansarabic", "notosansthai"):
        assert not {path for path in missing if path.startswith(f"{family}/")}


def test_other_paths_are_not_fonts() -> None:
    for path in ("/", "/assets/fonts/roboto.woff2", "/assets/fonts/../../secret/v1/a.woff2", "/fonts/a/v1/b.woff2"):
        assert fallback_font(path, FONTS) is None
