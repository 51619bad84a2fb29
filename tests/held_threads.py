"""Threads whose work can be held back, so that a test decides which of two things ends first."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

_LONGEST_HOLD_SECONDS = 60


class HeldThreads(ThreadPoolExecutor):
    """For ``loop.set_default_executor``: ``asyncio.to_thread`` runs here as ever, except what :meth:`hold` names."""

    def __init__(self) -> None:
        super().__init__(max_workers=8)
        self._gates: dict[str, threading.Event] = {}

    @contextmanager
    def hold(self, argument: object) -> Iterator[None]:
        """Calls that are given ``argument`` wait until the block ends."""
        gate = self._gates[str(argument)] = threading.Event()
        try:
            yield
        finally:
            del self._gates[str(argument)]
            gate.set()

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        # asyncio.to_thread gives a partial of Context.run, the function and its arguments.
        given = getattr(call, "args", ())[1:]
        gates = [gate for word, gate in self._gates.items() if word in map(str, given)]

        def run() -> Any:
            for gate in gates:
                gate.wait(_LONGEST_HOLD_SECONDS)
            return call(*args, **kwargs)

        return super().submit(run)
