"""The Runs screen: what 10,000 runs cost more than 100, to read a page from SQLite and to have it on the screen."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from db import run_records, training_runs
from db.database import Database
from db.models import RunStatus
from db.run_records import MetricRow
from db.training_runs import RunFilter, RunSort
from helpers.local_inference.worker import ModelProcess
from helpers.run_overview import read_page
from helpers.workspace import Workspace, open_workspace
from measured_page import MeasuredPage, until
from report import Figure, ratios
from ui.app_services import AppServices
from ui.app_shell import make_app
from ui.app_state import WindowState
from ui.app_states import ScreenPlace
from ui.runs.runs_state import RunsState

REPEATS = 15
FEW, MANY = 100, 10_000
SEARCH = "run 99"


def measure(folder: Path) -> list[Figure]:
    """Milliseconds with 10,000 runs, and each as a ratio to the same with 100."""
    with open_workspace(folder / "few") as few, open_workspace(folder / "many") as many:
        _add_runs(few.database, FEW)
        _add_runs(many.database, MANY)
        figures = []
        for name, wanted in (("Read a page", RunFilter()), ("Search", RunFilter(search=SEARCH))):
            reads = [partial(read_page, place.database, wanted, RunSort.NEWEST, 0) for place in (few, many)]
            figures += _figures(name, *_in_turns(*reads))
        for name, acts in (("Draw the next page", _turning), ("Open the list again", _refreshing)):
            figures += _figures(name, *asyncio.run(_drawn(few, many, acts)))
    return figures


def _figures(name: str, few: list[float], many: list[float]) -> list[Figure]:
    times = Figure("runs-list", f"{name}, {MANY:,} runs", "ms", [value * 1000 for value in many])
    at_most = 1.5 if name == "Draw the next page" else None
    return [
        times,
        Figure("runs-list", f"{name}, {MANY:,} runs / {FEW}", "×", ratios(many, few), at_most=at_most),
    ]


def _add_runs(database: Database, count: int) -> None:
    with database.session_scope() as session:
        for number in range(count):
            run = training_runs.create(
                session, name=f"run {number}", base_model=f"base/{number % 7}", status=RunStatus.COMPLETED
            )
            run_records.record_metrics(session, run.id, [MetricRow(step, "loss", 1 / step) for step in (1, 2)])


def _in_turns(few: Callable[[], object], many: Callable[[], object]) -> tuple[list[float], list[float]]:
    samples: tuple[list[float], list[float]] = ([], [])
    for _ in range(REPEATS):
        for act, taken in zip((few, many), samples, strict=True):
            started = time.perf_counter()
            act()
            taken.append(time.perf_counter() - started)
    return samples


def _turning(runs: RunsState, number: int) -> Awaitable[None]:
    return runs.turn(-1 if number % 2 else 1)


def _refreshing(runs: RunsState, number: int) -> Awaitable[None]:
    return runs.refresh()


async def _drawn(
    few: Workspace, many: Workspace, act: Callable[[RunsState, int], Awaitable[None]]
) -> tuple[list[float], list[float]]:
    """From the click to the last patch, in two windows of the app with the Runs screen open, in turns."""
    samples: tuple[list[float], list[float]] = ([], [])
    with closing(ModelProcess()) as process:
        windows = [await _opened(place, process) for place in (few, many)]
        for number in range(REPEATS):
            for (page, runs), taken in zip(windows, samples, strict=True):
                started = time.perf_counter()
                await act(runs, number)
                await page.settle()
                taken.append(time.perf_counter() - started)
        for page, _ in windows:
            page.close()
    return samples


async def _opened(workspace: Workspace, process: ModelProcess) -> tuple[MeasuredPage, RunsState]:
    services = AppServices(workspace.database, workspace.folder, process, workspace.demo)
    page = await MeasuredPage.opened(make_app(services))
    await until(lambda: page.has_sent("Responses will appear here"), "the first screen")
    page.component_argument(WindowState).open_screen(ScreenPlace.RUNS)
    await until(lambda: page.has_sent("Search runs"), "the Runs screen")
    runs = page.component_argument(RunsState)
    await until(lambda: runs.loaded, "the list")
    await page.settle()
    return page, runs
