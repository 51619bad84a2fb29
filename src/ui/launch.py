"""Opens the app: a window where there can be one, otherwise the browser view.

Nothing here ends with a stack trace or waits for ever. Without a display, without the window's program (which Flet
downloads at first use), or where that program ends at once, the browser view opens and one line says why.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import flet as ft
import psutil

Quit = Callable[[], None]
Main = Callable[[ft.Page], None]

DEFAULT_HOST = "127.0.0.1"
DOWNLOAD_SECONDS = 300
CONNECT_SECONDS = 10
# A window that was asked to close gets this long before its program is ended.
WINDOW_CLOSING_SECONDS = 2
# An app that still runs this long after it was asked to end is ended by force.
ENDING_SECONDS = 8

# Flet reads many variables; those that would change the transport or open a port to the network are not passed on.
_FLET_VARIABLES_TO_KEEP = {"FLET_VIEW_PATH", "FLET_CLIENT_URL", "FLET_DESKTOP_FLAVOR", "FLET_LINUX_DISTRO"}


def run_app(
    make_main: Callable[[Quit | None], Main],
    *,
    assets_dir: Path,
    web: bool = False,
    host: str | None = None,
    port: int | None = None,
) -> None:
    """Show the app and return when it has ended: window closed, Quit, Ctrl+C, or a signal to end.

    ``make_main`` gets the function behind the app's Quit action, None in a window. ``web``, a host or a port asks
    for the browser view. Raises PlaygroundError where the address cannot be used.
    """
    _clean_flet_variables()
    why_no_window = None
    if not (web or host or port is not None):
        why_no_window = why_no_display() or why_no_client() or _open_window(make_main(None), assets_dir)
        if why_no_window is None:
            return
    # Only now: a window does without the web server's half second.
    from ui.web_server import BrowserView

    view = BrowserView(host or DEFAULT_HOST, port)
    with _end_on_signals(view.quit):
        if why_no_window:
            _say(f"{why_no_window}, so the app opens in the browser view: {view.address}")
        else:
            _say(f"The app is at {view.address}")
        _say("Press Ctrl+C to end it.")
        _open_browser(view.address)
        view.serve(make_main(view.quit), assets_dir)


def _clean_flet_variables() -> None:
    for name in [name for name in os.environ if name.startswith("FLET_") and name not in _FLET_VARIABLES_TO_KEEP]:
        del os.environ[name]
    # The name under which the desktop groups the window.
    os.environ["FLET_APP_ID"] = "adapter-playground"
    os.environ.setdefault("FLET_DESKTOP_FLAVOR", "light" if sys.platform == "linux" else "full")


def why_no_display() -> str | None:
    """A sentence where no window can be shown on this machine; None = it can."""
    if sys.platform != "linux":
        return None
    if os.environ.get("WAYLAND_DISPLAY"):
        # Flet takes a machine without DISPLAY for a server, also where Wayland draws the windows.
        os.environ.setdefault("DISPLAY", "")
        return None
    return None if os.environ.get("DISPLAY") else "No display found"


def why_no_client() -> str | None:
    """Fetch the window's program where it is not here yet; a sentence where that fails."""
    import flet_desktop.version

    flavor = os.environ["FLET_DESKTOP_FLAVOR"]
    name = f"flet-desktop-{flavor}-{flet_desktop.version.version}"
    if _holds_client(os.environ.get("FLET_VIEW_PATH")) or (Path.home() / ".flet" / "client" / name).is_dir():
        return None
    # In a process of its own: the download has no time limit, and a thread could not be stopped.
    fetch = f"import socket; socket.setdefaulttimeout({CONNECT_SECONDS})\n"
    fetch += "import flet_desktop; flet_desktop.ensure_client_cached()"
    progress = None if sys.stdout.isatty() else subprocess.DEVNULL
    try:
        subprocess.run(
            [sys.executable, "-c", fetch],
            cwd=tempfile.gettempdir(),
            stdout=progress,
            stderr=subprocess.DEVNULL,
            timeout=DOWNLOAD_SECONDS,
            check=True,
        )
    except (subprocess.SubprocessError, OSError):
        return "The program that draws the window could not be downloaded"
    return None


def _holds_client(folder: str | None) -> bool:
    """Whether the user keeps the window's program in ``folder``, as on a machine that cannot download it."""
    return folder is not None and any(
        found for name in ("flet", "flet.exe", "*.app") for found in Path(folder).glob(name)
    )


def _open_window(main: Main, assets_dir: Path) -> str | None:
    """Show the window until it is closed; a sentence where it never opened."""
    opened = threading.Event()
    here = Path.cwd()

    def main_in_window(page: ft.Page) -> None:
        opened.set()
        os.chdir(here)
        main(page)

    # Flet runs whatever program lies in ./build/<system> as the window.
    with tempfile.TemporaryDirectory() as empty:
        os.chdir(empty)
        try:
            asyncio.run(_window_until_closed(main_in_window, assets_dir))
        except OSError as error:
            if opened.is_set():
                raise
            return f"The program that draws the window does not start ({error.strerror or error})"
        finally:
            os.chdir(here)
    return None if opened.is_set() else "The window could not be opened"


async def _window_until_closed(main: Main, assets_dir: Path) -> None:
    loop = asyncio.get_running_loop()
    end = asyncio.Event()
    pages: list[ft.Page] = []

    def main_with_page(page: ft.Page) -> None:
        pages.append(page)
        main(page)

    window = asyncio.ensure_future(
        ft.run_async(main_with_page, host=DEFAULT_HOST, assets_dir=str(assets_dir), view=ft.AppView.FLET_APP)
    )
    # Flet installs signal handlers that do not close the window; let it, then install ours.
    await asyncio.sleep(0)
    with _end_on_signals(lambda: _tell(loop, end)):
        asked = asyncio.ensure_future(end.wait())
        await asyncio.wait({window, asked}, return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        if not window.done():
            await _close_window(window, pages)
    await window


def _tell(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    """Set ``event`` from a signal handler, and wake the loop for it."""
    loop.call_soon_threadsafe(event.set)


async def _close_window(window: asyncio.Future[None], pages: list[ft.Page]) -> None:
    closing = [asyncio.ensure_future(page.window.destroy()) for page in pages]  # type: ignore[no-untyped-call]
    await asyncio.wait({window}, timeout=WINDOW_CLOSING_SECONDS)
    if not window.done():
        _kill_other_programs()
    await asyncio.wait({window}, timeout=WINDOW_CLOSING_SECONDS)
    # A window that is gone cannot say that it has closed.
    await asyncio.gather(*closing, return_exceptions=True)


def _kill_other_programs() -> None:
    """End the child processes that are not Python: the window's program."""
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if child.exe() != sys.executable:
                child.kill()


def _open_browser(address: str) -> None:
    """Show the address in the user's browser where there is a screen for one."""
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return
    # On a thread, because some browsers keep the caller waiting until they are closed.
    threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()


@contextlib.contextmanager
def _end_on_signals(quit_app: Quit) -> Iterator[None]:
    """Ctrl+C, a signal to end, and a closed terminal all end the app in good order."""

    def end(signal_number: int, frame: FrameType | None) -> None:
        quit_app()
        by_force = threading.Timer(ENDING_SECONDS, _end_by_force)
        by_force.daemon = True
        by_force.start()

    names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
    before = {number: signal.signal(number, end) for name in names if (number := getattr(signal, name, None))}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_by_force() -> None:
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            child.kill()
    os._exit(1)


def _say(line: str) -> None:
    # The terminal may be gone.
    with contextlib.suppress(OSError):
        print(line, flush=True)
