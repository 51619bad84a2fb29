"""The Runs screen: what 10,000 runs cost more than 100, to read a page from SQLite and to have it on the screen."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

from db import training_runs
from db.database import Database
from db.models import RunStatus
from db.training_runs import MetricRow, RunFilter, RunSort
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
    few, many = (_measure_one(folder / str(count), count) for count in (FEW, MANY))
    figures = []
    for name, samples in many.items():
        figures.append(Figure("runs-list", f"{name}, {MANY:,} runs", "ms", [value * 1000 for value in samples]))
        at_most = 1.5 if name == "Draw the next page" else None
        figures.append(
            Figure("runs-list", f"{name}, {MANY:,} runs / {FEW}", "×", ratios(samples, few[name]), at_most=at_most)
        )
    return figures


def _measure_one(folder: Path, count: int) -> dict[str, list[float]]:
    with open_workspace(folder) as workspace:
        _add_runs(workspace.database, count)
        samples = {
            "Read a page": _timed(lambda: read_page(workspace.database, RunFilter(), RunSort.NEWEST, 0)),
            "Search": _timed(lambda: read_page(workspace.database, RunFilter(search=SEARCH), RunSort.NEWEST, 0)),
        }
        return {**samples, **asyncio.run(_drawn(workspace))}


def _add_runs(database: Database, count: int) -> None:
    with database.session_scope() as session:
        for number in range(count):
            run = training_runs.create(
                session, name=f"run {number}", base_model=f"base/{number % 7}", status=RunStatus.COMPLETED
            )
            training_runs.record_metrics(session, run.id, [MetricRow(step, "loss", 1 / step) for step in (1, 2)])


def _timed(act: Callable[[], object]) -> list[float]:
    samples = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        act()
        samples.append(time.perf_counter() - started)
    return samples


async def _drawn(workspace: Workspace) -> dict[str, list[float]]:
    """From the click to the last patch, in the app with the Runs screen open."""
    with closing(ModelProcess()) as process:
        services = AppServices(workspace.database, workspace.folder, process, workspace.demo)
        page = await MeasuredPage.opened(make_app(services))
        try:
            await until(lambda: page.has_sent("Responses will appear here"), "the first screen")
            page.component_argument(WindowState).open_screen(ScreenPlace.RUNS)
            await until(lambda: page.has_sent("Search runs"), "the Runs screen")
            runs = page.component_argument(RunsState)
            await until(lambda: runs.loaded, "the list")
            await page.settle()
            return {
                "Draw the next page": await _draw(page, [lambda: runs.turn(1), lambda: runs.turn(-1)]),
                "Open the list again": await _draw(page, [runs.refresh]),
            }
        finally:
            page.close()


async def _draw(page: MeasuredPage, acts: list[Callable[[], Awaitable[None]]]) -> list[float]:
    samples = []
    for number in range(REPEATS):
        started = time.perf_counter()
        await acts[number % len(acts)]()
        await page.settle()
        samples.append(time.perf_counter() - started)
    return samples
