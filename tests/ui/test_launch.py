"""Launching: a window where there can be one, otherwise the browser view; one line says why; every end is clean.

Each test starts the real launcher in a process of its own. Only the window's program is a stand-in (stand_in_client):
the real one is downloaded and needs a screen.
"""

import json
import os
import signal
import socket
import stat
import sys
import threading
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from launched_app import LaunchedApp, launched_app
from ui import launch
from ui.web_server import USUAL_PORT

TESTS = Path(__file__).resolve().parents[1]
SOURCE = TESTS.parent / "src"
ENDING_SIGNALS = [
    number for name in ("SIGINT", "SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None
]
unix_only = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in window speaks over a Unix socket")


def launched(
    folder: Path, environment: dict[str, str] | None = None, **options: Any
) -> AbstractContextManager[LaunchedApp]:
    """The stand-in app, started in ``folder`` on a machine without display and without the window's program."""
    hidden = ("DISPLAY", "WAYLAND", "FLET")
    variables = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    variables |= {
        "PYTHONPATH": str(SOURCE),
        "HOME": str(folder),
        "BROWSER": "true",
        # Nothing listens there.
        "FLET_CLIENT_URL": "http://127.0.0.1:9/client",
        **(environment or {}),
    }
    return launched_app([sys.executable, str(TESTS / "stand_in_app.py"), json.dumps(options)], folder, variables)


def write_program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def window_program(folder: Path, behaviour: str) -> dict[str, str]:
    """Environment of a machine with a display and the stand-in window's program."""
    start = f'#!/bin/sh\nexec "{sys.executable}" "{TESTS / "stand_in_client.py"}" "$@"\n'
    write_program(folder / "client" / "flet", start if behaviour != "dies" else "#!/bin/sh\nexit 127\n")
    return {"DISPLAY": ":99", "FLET_VIEW_PATH": str(folder / "client"), "STAND_IN": behaviour}


@pytest.mark.parametrize("number", ENDING_SIGNALS)
@pytest.mark.skipif(sys.platform != "linux", reason="other systems always have a display")
def test_without_a_display_one_line_says_so_and_the_browser_view_answers_until_a_signal(
    number: int, tmp_path: Path
) -> None:
    with launched(tmp_path) as app:
        address = app.address()
        assert app.lines[-1].startswith("No display found, so the app opens in the browser view: http://127.0.0.1:")
        page = httpx.get(address)
        assert page.status_code == 200
        assert "<title>Adapter Playground</title>" in page.text
        app.end(number)


@unix_only
def test_where_the_window_cannot_be_downloaded_the_browser_view_opens(tmp_path: Path) -> None:
    with launched(tmp_path, {"DISPLAY": ":99"}) as app:
        assert httpx.get(app.address()).status_code == 200
        assert "could not be downloaded, so the app opens in the browser view" in app.lines[-1]
        app.end(signal.SIGINT)


@pytest.mark.parametrize("answer", [b"this is no archive", None], ids=["damaged", "silent"])
def test_a_download_that_is_damaged_or_never_answers_is_given_up(
    answer: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()

    class Download(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if answer is None:
                released.wait(60)
                return
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Download)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FLET_DESKTOP_FLAVOR", "light")
    monkeypatch.setenv("FLET_CLIENT_URL", f"http://127.0.0.1:{server.server_port}/client")
    monkeypatch.setattr(launch, "CONNECT_SECONDS", 1)
    try:
        assert launch.why_no_client() == "The program that draws the window could not be downloaded"
    finally:
        released.set()
        server.shutdown()
        server.server_close()


@unix_only
def test_a_window_that_dies_at_launch_becomes_the_browser_view(tmp_path: Path) -> None:
    with launched(tmp_path, window_program(tmp_path, "dies")) as app:
        assert httpx.get(app.address()).status_code == 200
        assert "The window could not be opened, so the app opens in the browser view" in app.lines[-1]
        app.end(signal.SIGTERM)


@unix_only
def test_closing_the_window_ends_the_app(tmp_path: Path) -> None:
    with launched(tmp_path, window_program(tmp_path, "closes")) as app:
        assert app.ended() == "page open\n"


@unix_only
@pytest.mark.parametrize("number", ENDING_SIGNALS)
def test_a_signal_ends_the_app_and_its_window(number: int, tmp_path: Path) -> None:
    with launched(tmp_path, window_program(tmp_path, "stays")) as app:
        app.wait_for("page open")
        window = psutil.Process(app.process.pid).children()
        app.end(number)
        assert window
        assert not any(process.is_running() for process in window)


@unix_only
def test_a_program_in_a_build_folder_is_never_taken_for_the_window(tmp_path: Path) -> None:
    write_program(tmp_path / "build" / "linux" / "anything", f"#!/bin/sh\ntouch {tmp_path}/executed\n")
    with launched(tmp_path, window_program(tmp_path, "closes")) as app:
        app.ended()
    assert not (tmp_path / "executed").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems always have a display")
def test_flets_own_variables_cannot_open_the_app_to_the_network(tmp_path: Path) -> None:
    exposing = {"FLET_SERVER_IP": "0.0.0.0", "FLET_SERVER_PORT": "1", "FLET_FORCE_WEB_SERVER": "true"}
    with launched(tmp_path, exposing) as app:
        app.address()
        listening = psutil.Process(app.process.pid).net_connections("tcp")
        assert {connection.laddr.ip for connection in listening} == {"127.0.0.1"}
        app.end(signal.SIGTERM)


def test_a_taken_port_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, launched(tmp_path, port=taken.getsockname()[1]) as app:
        output, _ = app.process.communicate(timeout=30)
        assert app.process.returncode == 1
        assert output.count("\n") == 1
        assert f"Port {taken.getsockname()[1]} on 127.0.0.1 cannot be used" in output
        assert "--port" in output


def test_without_a_port_a_second_app_takes_a_free_one(tmp_path: Path) -> None:
    with launched(tmp_path, web=True) as first, launched(tmp_path, web=True) as second:
        addresses = {first.address(), second.address()}
        assert len(addresses) == 2
        assert all(httpx.get(address).status_code == 200 for address in addresses)
        first.end(signal.SIGINT)
        second.end(signal.SIGINT)


def test_an_address_that_is_not_of_this_machine_is_explained(tmp_path: Path) -> None:
    with launched(tmp_path, host="192.0.2.1", port=USUAL_PORT) as app:
        output, _ = app.process.communicate(timeout=30)
        assert app.process.returncode == 1
        assert output.startswith(f"Port {USUAL_PORT} on 192.0.2.1 cannot be used")
