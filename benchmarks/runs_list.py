"""Reading a page of runs: what 10,000 runs cost more than 100."""

import statistics
import tempfile
import time
from pathlib import Path

from db import training_runs
from db.database import Database
from db.models import RunStatus
from db.training_runs import RunFilter, RunSort
from helpers.run_overview import read_page

REPEATS = 15


def page_seconds(folder: Path, count: int, search: str = "") -> float:
    """The median time to read the first page of ``count`` runs."""
    with Database.open(folder / f"{count}.db") as database:
        with database.session_scope() as session:
            if not training_runs.count(session):
                for number in range(count):
                    training_runs.create(
                        session, name=f"run {number}", base_model=f"base/{number % 7}", status=RunStatus.COMPLETED
                    )
        samples = []
        for _ in range(REPEATS):
            started = time.perf_counter()
            read_page(database, RunFilter(search=search), RunSort.NEWEST, 0)
            samples.append(time.perf_counter() - started)
    return statistics.median(samples)


def main() -> None:
    """Print the times and their ratio."""
    with tempfile.TemporaryDirectory() as folder:
        for search in ("", "run 99"):
            few, many = (page_seconds(Path(folder), count, search) for count in (100, 10_000))
            print(
                f"search {search!r}: {few * 1000:.1f} ms of 100, {many * 1000:.1f} ms of 10,000: {many / few:.1f} x"
            )


if __name__ == "__main__":
    main()
