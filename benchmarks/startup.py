"""From process start to the first screen, with the demo workspace, warm."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
from playwright.sync_api import BrowserContext

from e2e.app_driver import AppPage, find_browser, launched_browser
from report import Figure
from startup_probe import FIRST_WORDS
from wire_client import registered_client, wait_for_answer, wait_for_words

TITLE = "Start-up"
RUNS = 5
TARGET_SECONDS = 2.0
ENDING_SECONDS = 15
HERE = Path(__file__).resolve().parent

Samples = dict[str, list[float]]


def measure(runs: int = RUNS) -> list[Figure]:
    """Interleaved starts of the app. The first of each kind warms the caches and fills the workspace; not counted."""
    samples: Samples = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        arguments = ["--demo", "--data-dir", folder]
        kinds: list[Callable[[Samples], None]] = [
            lambda taken: _start_served(arguments, taken),
            lambda taken: _start_in_process(arguments, taken),
        ]
        if find_browser() is not None:
            # One context, so that the client's own program comes from the browser's cache.
            context = stack.enter_context(launched_browser()).new_context(viewport={"width": 1440, "height": 900})
            port = _free_port()
            kinds.append(lambda taken: _start_in_browser(arguments, port, context, taken))
        for kind in kinds:
            kind({})
        for _ in range(runs):
            for kind in kinds:
                kind(samples)
    targets = {SERVED_SCREEN: TARGET_SECONDS, DRAWN_SCREEN: TARGET_SECONDS, SERVED_TORCH: 0, DRAWN_TORCH: 0}
    return [
        Figure(TITLE, name, "" if "torch" in name else "s", values, at_most=targets.get(name))
        for name, values in samples.items()
    ]


SERVED_ANSWER = "process start → server answers"
SERVED_SCREEN = "process start → first screen at a client"
SERVED_CPU = "CPU time of that"
SERVED_TORCH = "torch in the app process (1 = loaded)"
DRAWN_SCREEN = "process start → first screen drawn, no server"
DRAWN_CPU = "CPU time of that, no server"
DRAWN_TORCH = "torch among its modules (1 = imported)"
BROWSER_SCREEN = "process start → words on screen in Chromium"


def _start_served(arguments: list[str], samples: Samples) -> None:
    """The real app in the browser view, and a client that speaks its protocol."""
    port = _free_port()
    with _app(arguments, port) as (process, elapsed):
        wait_for_answer(port)
        _note(samples, SERVED_ANSWER, elapsed())
        with registered_client(port) as client:
            wait_for_words(client, FIRST_WORDS)
            _note(samples, SERVED_SCREEN, elapsed())
            times = process.cpu_times()
            _note(samples, SERVED_CPU, times.user + times.system)
            if sys.platform == "linux":
                _note(samples, SERVED_TORCH, float(any("libtorch" in m.path for m in process.memory_maps())))


def _start_in_process(arguments: list[str], samples: Samples) -> None:
    """The app without window or server, drawn for a client in its own process."""
    started = time.perf_counter()
    command = [sys.executable, str(HERE / "startup_probe.py"), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=_environment()) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        seconds = time.perf_counter() - started
    if process.returncode != 0:
        raise RuntimeError(f"the start-up probe ended with {process.returncode}")
    answer = json.loads(line)
    _note(samples, DRAWN_SCREEN, seconds)
    _note(samples, DRAWN_CPU, answer["cpu"])
    _note(samples, DRAWN_TORCH, float(answer["torch"]))


def _start_in_browser(arguments: list[str], port: int, context: BrowserContext, samples: Samples) -> None:
    """The real app and a browser that already runs; the time holds the client's own start in the tab."""
    with _app(arguments, port) as (_, elapsed):
        wait_for_answer(port)
        page = AppPage(context.new_page())
        page.page.goto(f"http://127.0.0.1:{port}/")
        page.page.wait_for_selector("flt-semantics-placeholder", state="attached")
        page.page.evaluate("document.querySelector('flt-semantics-placeholder').click()")
        page.see(FIRST_WORDS)
        _note(samples, BROWSER_SCREEN, elapsed())
        page.page.close()


@contextmanager
def _app(arguments: list[str], port: int) -> Iterator[tuple[psutil.Process, Callable[[], float]]]:
    """The app's process, and the seconds since its start."""
    command = [sys.executable, "-m", "main", *arguments, "--web", "--port", str(port)]
    started = time.perf_counter()
    process = psutil.Popen(command, stdout=subprocess.DEVNULL, env=_environment())
    try:
        yield process, lambda: time.perf_counter() - started
    finally:
        process.terminate()
        process.wait(ENDING_SECONDS)


def _environment() -> dict[str, str]:
    # Without a display no browser of the user's is opened.
    kept = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    return {**kept, "PYTHONPATH": str(HERE.parent / "src")}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _note(samples: Samples, name: str, value: float) -> None:
    samples.setdefault(name, []).append(value)
