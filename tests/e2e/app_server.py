"""The real app as a process of its own, serving the browser view."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil

SOURCE = Path(__file__).resolve().parents[2] / "src"
START_SECONDS = 60


class AppServer:
    """``adapter-playground --web`` on a free port and a data folder; use it in a ``with`` block.

    ``workspace`` is the folder with the database: with ``--demo`` the one in the data folder.
    """

    def __init__(self, workspace: Path, *options: str) -> None:
        self.workspace = workspace / "demo" if "--demo" in options else workspace
        self._data_dir = workspace
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        workspace.mkdir(parents=True, exist_ok=True)
        self.log = workspace / f"server-{self.port}.txt"
        self._options = options

    def __enter__(self) -> "AppServer":
        command = [sys.executable, "-m", "main", *self._options]
        command += ["--web", "--port", str(self.port), "--data-dir", str(self._data_dir)]
        environment = {**os.environ, "PYTHONPATH": str(SOURCE), "HF_HUB_OFFLINE": "1"}
        with self.log.open("wb") as output:
            self.process = psutil.Popen(
                command, cwd=self._data_dir, env=environment, stdout=output, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the app did not start:\n{self.log.read_text()}")
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except psutil.TimeoutExpired:
            self.process.kill()

    def model_process(self) -> psutil.Process | None:
        """The process that holds the model; None while there is none."""
        children = [child for child in self.process.children() if "spawn_main" in " ".join(child.cmdline())]
        return children[0] if children else None

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.url, timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            return False


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
