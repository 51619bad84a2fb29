"""An import of 1,000,000 rows: its speed and memory, what another writer waits for meanwhile, and a sample of it."""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from report import Figure, other_work, print_table, write_json

HERE = Path(__file__).resolve().parent
TITLE = "Import of a dataset"
FEW, MANY = 10_000, 1_000_000
MOST_MEMORY_TIMES = 1.2
MOST_SAMPLE_MS = 100.0
# Other programs give up after five seconds.
MOST_WAIT_MS = 1000.0
SAMPLES = 50
_MIB = 2**20


def measure(folder: Path, *, few: int = FEW, many: int = MANY) -> list[Figure]:
    """Each import in a process of its own, whose highest memory is that of the import."""
    small = _import_in_a_process(folder, few)
    large = _import_in_a_process(folder, many)
    kept = [large["peak_memory"] / small["peak_memory"]]
    return [
        Figure(TITLE, f"rows/s, {many:,} rows of JSONL ({large['megabytes']:.0f} MB)", "", [many / large["seconds"]]),
        Figure(TITLE, f"peak memory, {many:,} ÷ {few:,} rows", "×", kept, at_most=MOST_MEMORY_TIMES),
        Figure(TITLE, f"peak memory, {many:,} rows", "MiB", [large["peak_memory"] / _MIB]),
        Figure(TITLE, "longest wait of another writer meanwhile", "ms", [large["longest"]], at_most=MOST_WAIT_MS),
        Figure(TITLE, "median wait of another writer meanwhile", "ms", [large["median"]]),
        Figure(TITLE, f"5 random rows of {many:,}", "ms", large["samples"], at_most=MOST_SAMPLE_MS),
        Figure(TITLE, f"{many:,} rows removed", "s", [large["removal"]]),
        Figure(TITLE, "longest wait of another writer while they are removed", "ms", [large["removal_wait"]]),
    ]


def _import_in_a_process(folder: Path, rows: int) -> dict:
    """What ``_work`` found, with the waits of a writer in this process beside it."""
    source, workspace = folder / f"{rows}.jsonl", folder / f"workspace-{rows}" / "playground.db"
    _write(source, rows)
    with subprocess.Popen(
        [sys.executable, str(HERE / "dataset_import.py"), "--work", str(source), str(workspace)],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None and process.stdin is not None
        process.stdout.readline()
        with _other_writer(workspace) as waits:
            process.stdin.write("begin\n")
            process.stdin.flush()
            found = json.loads(process.stdout.readline())
        with _other_writer(workspace) as removal_waits:
            process.stdin.write("remove\n")
            process.stdin.flush()
            found |= json.loads(process.stdout.readline())
    found["megabytes"] = source.stat().st_size / 1e6
    found["longest"], found["median"] = max(waits), sorted(waits)[len(waits) // 2]
    found["removal_wait"] = max(removal_waits)
    source.unlink()
    return found


def _write(path: Path, rows: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            question = f"What is said about subject {number}? " * 3
            file.write(json.dumps({"prompt": question, "response": "Much is said about it. " * 4}) + "\n")


@contextmanager
def _other_writer(workspace: Path) -> Iterator[list[float]]:
    """Saves a setting again and again; gives how long each took, in milliseconds."""
    from db import settings
    from db.database import Database

    waits: list[float] = []
    ended = threading.Event()

    def write() -> None:
        with Database.open(workspace, busy_timeout=60) as database:
            while not ended.is_set():
                started = time.perf_counter()
                with database.session_scope() as session:
                    settings.set(session, "benchmark", len(waits))
                waits.append((time.perf_counter() - started) * 1000)
                ended.wait(0.01)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield waits
    finally:
        ended.set()
        writer.join()


def _work(source: Path, workspace: Path) -> None:
    """Import, then remove, each when a line on standard input says so."""
    from db.database import Database
    from helpers.dataset_import import import_dataset, remove_dataset

    with Database.open(workspace) as database:
        print("ready", flush=True)
        sys.stdin.readline()
        with _highest_memory() as memory:
            started = time.perf_counter()
            dataset = import_dataset(database, source).dataset
            seconds = time.perf_counter() - started
        samples = [_seconds_to_sample(database, dataset.id, number) * 1000 for number in range(SAMPLES)]
        found = {"seconds": seconds, "peak_memory": max(memory), "samples": samples}
        print(json.dumps(found), flush=True)
        sys.stdin.readline()
        started = time.perf_counter()
        remove_dataset(database, dataset.id)
        print(json.dumps({"removal": time.perf_counter() - started}), flush=True)


def _seconds_to_sample(database: object, dataset_id: int, seed: int) -> float:
    from helpers.sample_prompts import draw_sample_prompts

    started = time.perf_counter()
    assert len(draw_sample_prompts(database, dataset_id, rng=random.Random(seed))) == 5
    return time.perf_counter() - started


@contextmanager
def _highest_memory() -> Iterator[list[int]]:
    """The memory of this process in bytes, looked at fifty times a second."""
    process, taken, ended = psutil.Process(), [0], threading.Event()

    def look() -> None:
        while not ended.wait(0.02):
            taken[0] = max(taken[0], process.memory_info().rss)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield taken
    finally:
        ended.set()
        watcher.join()


def main() -> None:
    """Measure and print, or be the process that imports."""
    parser = argparse.ArgumentParser(description="Measure an import of 1,000,000 rows.")
    parser.add_argument("--work", nargs=2, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, default=MANY)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.work:
        _work(*given.work)
        return
    busy = other_work()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), many=given.rows)
    print_table(figures, busy)
    if given.json:
        write_json(figures, given.json, busy)


if __name__ == "__main__":
    sys.path[:0] = [str(HERE.parent / "src")]
    main()
