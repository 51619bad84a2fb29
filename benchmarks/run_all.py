"""Every benchmark, one table: ``python benchmarks/run_all.py [--only NAME] [--json PATH]``."""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from report import Figure

HERE = Path(__file__).resolve().parent
# They belong to this machine: git leaves them out.
RESULTS = HERE / "results" / "latest.json"
# The processes that the benchmarks start find the same code.
IMPORT_ROOTS = [str(HERE), str(HERE.parent / "src"), str(HERE.parent / "tests")]


def main() -> None:
    """Run what was asked for and print it."""
    chosen = _arguments()
    _use_import_roots()
    from rich.console import Console

    import report

    console = Console(stderr=True)
    figures: list[Figure] = []
    busy = report.other_work()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen.only or BENCHMARKS:
            with console.status(f"Measuring {name}"):
                figures += BENCHMARKS[name](Path(folder))
    report.print_table(figures, busy)
    console.print(f"Measured in {time.perf_counter() - started:.0f} s.")
    report.write_json(figures, chosen.json, busy)
    console.print(f"Stored with every sample in {chosen.json}.")


def _measure_startup(folder: Path) -> "list[Figure]":
    import startup

    return startup.measure()


def _measure_tab_speed(folder: Path) -> "list[Figure]":
    import tab_speed

    return tab_speed.measure(_model(folder))


def _measure_long_history(folder: Path) -> "list[Figure]":
    import long_history

    return long_history.measure(_model(folder))


def _measure_engine(folder: Path) -> "list[Figure]":
    """In a process of its own, with its own model: torch stays out of this one."""
    import report

    found = folder / "engine.json"
    program = [sys.executable, str(HERE / "engine_speed.py"), "--json", str(found)]
    subprocess.run(program, check=True, stdout=subprocess.DEVNULL)
    return report.read_json(found)


def _measure_run_tracking(folder: Path) -> "list[Figure]":
    import run_tracking

    return run_tracking.measure()


def _measure_scan(folder: Path) -> "list[Figure]":
    import scan_folders

    return scan_folders.measure()


def _measure_dataset_import(folder: Path) -> "list[Figure]":
    import dataset_import

    return dataset_import.measure(folder)


def _measure_runs_list(folder: Path) -> "list[Figure]":
    import runs_list

    return runs_list.measure(folder / "runs-list")


BENCHMARKS: "dict[str, Callable[[Path], list[Figure]]]" = {
    "startup": _measure_startup,
    "tab-speed": _measure_tab_speed,
    "long-history": _measure_long_history,
    "engine": _measure_engine,
    "run-tracking": _measure_run_tracking,
    "scan": _measure_scan,
    "dataset-import": _measure_dataset_import,
    "runs-list": _measure_runs_list,
}


def _model(folder: Path) -> Path:
    """The bench model, built on first use, in a process of its own so that this one stays without torch."""
    model = folder / "model"
    if not model.exists():
        subprocess.run(
            [sys.executable, str(HERE / "bench_model.py"), str(model)], check=True, stderr=subprocess.DEVNULL
        )
    return model


def _use_import_roots() -> None:
    sys.path[:0] = IMPORT_ROOTS
    os.environ["PYTHONPATH"] = os.pathsep.join(IMPORT_ROOTS)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure the app and print one table.")
    parser.add_argument("--only", action="append", choices=BENCHMARKS, help="one benchmark; may be repeated")
    parser.add_argument("--json", type=Path, metavar="PATH", default=RESULTS, help="where every sample is stored")
    return parser.parse_args()


if __name__ == "__main__":
    main()
