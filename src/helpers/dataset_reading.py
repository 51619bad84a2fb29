"""Reads rows on a thread of its own, so that a source which does not answer can be given up."""

import queue
import threading
from collections.abc import Iterator
from itertools import islice

from db.datasets import NewRow
from errors import PlaygroundError


class RowReader:
    """Reads ``rows`` in portions of ``at_most``, each when it is asked for: it takes no time from who saves them."""

    def __init__(self, rows: Iterator[NewRow], at_most: int) -> None:
        self._rows = rows
        self._at_most = at_most
        self._wanted = threading.Semaphore(0)
        self._answers: queue.SimpleQueue[list[NewRow] | PlaygroundError] = queue.SimpleQueue()
        self._asked = self._closed = False
        # A thread that waits for a network that is gone must not keep the program from ending.
        self._thread = threading.Thread(target=self._read, name="dataset-reader", daemon=True)
        self._thread.start()

    def ask(self) -> None:
        """Lets the next portion be read already."""
        if not self._asked:
            self._asked = True
            self._wanted.release()

    def take(self, seconds: float) -> list[NewRow] | None:
        """The next portion, empty at the end; None = there is none yet after so many seconds.

        Raises what reading raises.
        """
        self.ask()
        try:
            answer = self._answers.get(timeout=seconds)
        except queue.Empty:
            if not self._thread.is_alive() and self._answers.empty():
                raise RuntimeError("reading the rows ended with an unexpected error") from None
            return None
        self._asked = False
        if isinstance(answer, PlaygroundError):
            raise answer
        return answer

    def close(self, seconds: float = 2.0) -> None:
        """Lets the thread end; a source that does not answer is left waiting after so many seconds."""
        self._closed = True
        self._wanted.release()
        self._thread.join(seconds)

    def _read(self) -> None:
        try:
            while True:
                self._wanted.acquire()
                if self._closed:
                    return
                self._answers.put(list(islice(self._rows, self._at_most)))
        except PlaygroundError as error:
            self._answers.put(error)
