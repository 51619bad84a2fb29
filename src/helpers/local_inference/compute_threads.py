"""How many CPU threads compute: as many as other programs leave cores for.

Threads that wait for each other at every layer spin for a moment (:mod:`model_libraries`), which nearly doubles the
speed of decoding on an idle machine. Where another program takes a core, one thread waits for a core and all others
for it, and decoding becomes several times slower than with one thread less. So the use of the machine is looked at
while an answer is written; that costs some microseconds and never waits.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

# A token of a small model takes a few milliseconds, less than half of them for its weights: more threads gain little
# on an idle machine, and on a busy one wait for each other longer than they compute.
SMALL_MODEL_BYTES = 128 * 2**20
# The system counts processor time in steps of 10 ms, so that less says little.
SECONDS_BETWEEN_LOOKS = 0.2
# Of a core: what an idle desktop and the app that shows the answer may use without taking a thread from it.
_UNNOTICED = 0.35


@dataclass(frozen=True)
class ProcessorTime:
    """Seconds: by the clock, of all cores by all programs, and by this process."""

    clock: float
    all_programs: float
    own: float


def processor_time() -> ProcessorTime:
    """What has been used until now. Time that a virtual machine is denied counts as used by others."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    # Guests are counted within user and nice already.
    guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
    return ProcessorTime(time.monotonic(), sum(times) - idle - guests, time.process_time())


def free_cores(before: ProcessorTime, now: ProcessorTime, cores: int) -> float:
    """The cores (0..``cores``) that other programs left free between two moments."""
    seconds = now.clock - before.clock
    if seconds <= 0:
        return float(cores)
    others = (now.all_programs - before.all_programs) - (now.own - before.own)
    return min(max(cores - others / seconds, 0.0), float(cores))


class ComputeThreads:
    """Sets torch's number of threads for one engine; belongs to the thread that computes."""

    def __init__(
        self,
        most: int | None = None,
        cores: int | None = None,
        processor_time: Callable[[], ProcessorTime] = processor_time,
    ) -> None:
        """``most``: threads on an idle machine, None = as many as torch uses now; ``cores``: None = all."""
        import torch

        self._most = most or torch.get_num_threads()
        self._cores = cores or os.cpu_count() or 1
        self._processor_time = processor_time
        self._seen = processor_time()
        self._quiet_looks = 0
        self._adapts = False
        self._count = self._most

    def begin_answer(self, size_bytes: int, *, same_in_any_number: bool) -> None:
        """Choose the threads for an answer by a model of ``size_bytes`` (0 = unknown).

        ``same_in_any_number``: the results are the same bits with any number of threads, so that it may follow the
        machine. Otherwise (float32) it is always the same one, so that the same seed gives the same answer whatever
        else runs.
        """
        small = 0 < size_bytes < SMALL_MODEL_BYTES
        self._adapts = same_in_any_number and not small
        if not self._adapts:
            _set(1 if small else self._most)
            return
        now = self._processor_time()
        # Too short a time since the last look says nothing that it did not say.
        if now.clock - self._seen.clock >= SECONDS_BETWEEN_LOOKS:
            self._count = self._threads_for(now)
        _set(self._count)

    def adapt(self) -> None:
        """Look again, where it is time to and the answer allows it; fewer threads at once, more when quiet."""
        if not self._adapts or self._most == 1:
            return
        if time.monotonic() - self._seen.clock < SECONDS_BETWEEN_LOOKS:
            return
        wanted = self._threads_for(self._processor_time())
        self._quiet_looks = self._quiet_looks + 1 if wanted > self._count else 0
        if wanted < self._count or self._quiet_looks > 1:
            self._quiet_looks = 0
            self._count = wanted
            _set(wanted)

    def _threads_for(self, now: ProcessorTime) -> int:
        free = free_cores(self._seen, now, self._cores)
        self._seen = now
        return max(1, min(self._most, int(free + _UNNOTICED)))


def _set(count: int) -> None:
    import torch

    if torch.get_num_threads() != count:
        torch.set_num_threads(count)
