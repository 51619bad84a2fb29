"""How much longer a training step takes while it is recorded: steps of fixed work with and without, in turns."""

import tempfile
import time
from pathlib import Path
from statistics import median

from report import Figure

_STEPS = 200
_ROUNDS = 7
_WORK = 20_000


def measure() -> list[Figure]:
    """The ratio of each pair of rounds."""
    from helpers.run_tracking import track_run

    ratios = []
    with (
        tempfile.TemporaryDirectory() as folder,
        track_run("benchmark", "base", data_dir=Path(folder)) as run,
    ):
        for round_number in range(_ROUNDS):
            alone = median(_step() for _ in range(_STEPS))
            recorded = []
            for step in range(_STEPS):
                began = time.perf_counter()
                _step()
                run.log(round_number * _STEPS + step, loss=1.0, learning_rate=1e-4, grad_norm=1.0)
                recorded.append(time.perf_counter() - began)
            ratios.append(median(recorded) / alone)
    return [Figure("run-tracking", "Step recorded / step alone", "×", ratios, at_most=1.03)]


def _step() -> float:
    began = time.perf_counter()
    total = 0
    for number in range(_WORK):
        total += number * number
    return time.perf_counter() - began


if __name__ == "__main__":
    for figure in measure():
        print(figure.name, figure.value, list(figure.samples))
