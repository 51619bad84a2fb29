"""A workspace per test, and other real processes that use it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from db.database import Database

SRC = Path(__file__).resolve().parents[2] / "src"
Child = subprocess.Popen[str]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "workspace" / "playground.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    with Database.open(path, busy_timeout=0.2) as opened:
        yield opened


@pytest.fixture
def start_python() -> Iterator[Callable[..., Child]]:
    """Starts ``code`` in another process with our source on its path; it has ended when the test has."""
    started: list[Child] = []

    def start(code: str, *arguments: object) -> Child:
        child = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(SRC)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(child)
        return child

    yield start
    for child in started:
        child.kill()
        child.communicate()


@pytest.fixture
def run_python(start_python: Callable[..., Child]) -> Callable[..., str]:
    """Runs ``code`` in another process and returns what it printed; it must end well."""

    def run(code: str, *arguments: object) -> str:
        child = start_python(code, *arguments)
        output, errors = child.communicate(timeout=60)
        assert child.returncode == 0, errors
        return output

    return run
