"""What a benchmark found, as one table and as JSON."""

import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median

import psutil
from rich.console import Console
from rich.table import Table

SECONDS_TO_WATCH = 2.0
MOST_OTHER_WORK = 0.15


@dataclass(frozen=True)
class Figure:
    """One measured number: the median of ``samples``.

    ``at_most`` and ``at_least`` are the targets; None = there is none on that side.
    """

    benchmark: str
    name: str
    unit: str
    samples: Sequence[float]
    at_most: float | None = None
    at_least: float | None = None

    @property
    def value(self) -> float:
        """The median."""
        return median(self.samples)

    @property
    def reached(self) -> bool | None:
        """Whether the target is reached; None = there is none."""
        if self.at_most is None and self.at_least is None:
            return None
        return (self.at_most is None or self.value <= self.at_most) and (
            self.at_least is None or self.value >= self.at_least
        )

    def target(self) -> str:
        """The target in words; empty = there is none."""
        if self.at_most is not None:
            return f"≤ {self.at_most:g}"
        return f"≥ {self.at_least:g}" if self.at_least is not None else ""


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Pair by pair, because what was measured side by side had the same conditions."""
    return [a / b for a, b in zip(above, below, strict=True)]


def print_table(figures: Sequence[Figure], busy: float = 0.0) -> None:
    """Every figure with its spread and its target. ``busy``: see :func:`other_work`."""
    table = Table(title=f"Adapter Playground on {machine()}", title_justify="left")
    for heading in ("", "figure"):
        table.add_column(heading)
    for heading in ("median", "lowest", "highest", "runs", "target"):
        table.add_column(heading, justify="right")
    table.add_column("")
    before = ""
    for figure in figures:
        if before and figure.benchmark != before:
            table.add_section()
        title = figure.benchmark if figure.benchmark != before else ""
        before = figure.benchmark
        values = [_number(value) for value in (figure.value, min(figure.samples), max(figure.samples))]
        values[0] += f" {figure.unit}" if figure.unit else ""
        verdict = {True: "[green]reached[/]", False: "[red]missed[/]", None: ""}[figure.reached]
        table.add_row(title, figure.name, *values, str(len(figure.samples)), figure.target(), verdict)
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(table)
    if busy > MOST_OTHER_WORK:
        console.print(
            f"[yellow]Other programs used {busy:.0%} of this machine when the measurement began, so times and speeds "
            "are not to be trusted. Measure again when it is idle.[/]"
        )


def write_json(figures: Sequence[Figure], path: Path, busy: float = 0.0) -> None:
    """Every figure with all its samples."""
    document = {
        "machine": machine(),
        "other_work": busy,
        "python": platform.python_version(),
        "figures": [{**asdict(figure), "median": figure.value, "reached": figure.reached} for figure in figures],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> list[Figure]:
    """The figures that :func:`write_json` wrote to ``path``."""
    names = {field.name for field in fields(Figure)}
    document = json.loads(path.read_text(encoding="utf-8"))
    return [Figure(**{name: entry[name] for name in names}) for entry in document["figures"]]


def other_work() -> float:
    """The share (0..1) of all cores that is in use now; ask before anything is measured."""
    return psutil.cpu_percent(SECONDS_TO_WATCH) / 100


def machine() -> str:
    """This machine in a few words."""
    memory = psutil.virtual_memory().total / 2**30
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB"


def _number(value: float) -> str:
    if value == 0:
        return "0"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
