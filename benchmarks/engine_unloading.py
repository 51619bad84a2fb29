"""What “Unload model” gives back, seen from the system: the model process itself is asked and ended."""

import time
from pathlib import Path

import psutil

from engine_asking import request
from helpers.local_inference import ModelProcess, Quantization
from report import Figure


def unloading(base: Path, adapter: Path) -> list[Figure]:
    """Memory of the model process with base and adapter, what is left of it after unloading, and how long it took."""
    process = ModelProcess()
    try:
        for _ in process.submit(request(base, adapter, ["Ahoy"], Quantization.NONE, 2)):
            pass
        pid = process.pid
        assert pid is not None
        held = psutil.Process(pid).memory_info().rss
        started = time.perf_counter()
        process.unload()
        seconds = time.perf_counter() - started
        left = psutil.Process(pid).memory_info().rss if psutil.pid_exists(pid) else 0
    finally:
        process.close()
    return [
        Figure("unload", "model process with base and adapter", "MiB", [held / 2**20]),
        Figure("unload", "left after unloading", "MiB", [left / 2**20], at_most=0),
        Figure("unload", "time until it is given back", "s", [seconds]),
    ]
