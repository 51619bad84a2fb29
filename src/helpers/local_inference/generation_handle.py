"""One submitted request, as its submitter holds it."""

import threading
from collections import deque
from collections.abc import Callable, Iterator

from helpers.local_inference.generation_events import GenerationEvent, GenerationFailed, GenerationFinished


class GenerationHandle:
    """One submitted request: its events as they come, and a way to stop it. Safe to use from several threads."""

    def __init__(self, stop: "Callable[[GenerationHandle], None]") -> None:
        self._stop = stop
        self._changed = threading.Condition()
        self._events: deque[GenerationEvent] = deque()
        self._finished = False

    @property
    def finished(self) -> bool:
        """True once the last event is there; :meth:`drain` may still have to hand it out."""
        return self._finished

    def drain(self) -> list[GenerationEvent]:
        """The events since the last call, without waiting. A failure is a GenerationFailed event."""
        with self._changed:
            events = list(self._events)
            self._events.clear()
            return events

    def __iter__(self) -> Iterator[GenerationEvent]:
        """The events as they come, up to the last; raises the PlaygroundError of a failure."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._events or self._finished)
                if not self._events:
                    return
                event = self._events.popleft()
            if isinstance(event, GenerationFailed):
                raise event.error
            yield event

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the last event is there; False when ``timeout`` seconds (None = for ever) passed before."""
        with self._changed:
            return self._changed.wait_for(lambda: self._finished, timeout)

    def stop(self) -> None:
        """Ask for the end; what is there then is the answer. Returns at once."""
        self._stop(self)

    def put(self, event: GenerationEvent) -> None:
        """Called by the model process's reader; events after the last one are dropped."""
        with self._changed:
            if not self._finished:
                self._events.append(event)
                self._finished = isinstance(event, GenerationFinished | GenerationFailed)
                self._changed.notify_all()
