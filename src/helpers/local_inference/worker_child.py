"""The model process: one thread computes, one reads requests, one renders prompts.

Torch runs on the main thread only: a second thread with torch operations would slow both down.
"""

import faulthandler
import logging
import os
import queue
import signal
import sys
import threading
import time
from collections import deque
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

import psutil

from errors import ModelProcessError, PlaygroundError
from helpers.local_inference.base_model_files import LoadingStopped
from helpers.local_inference.generation_events import (
    GenerationEvent,
    GenerationFailed,
    GenerationFinished,
    ModelLoading,
    TextDelta,
    stopped_before_loading,
)
from helpers.local_inference.process_messages import (
    FromChild,
    Happened,
    Logged,
    Render,
    Rendered,
    Score,
    Scored,
    Stop,
    Submit,
    ToChild,
)

if TYPE_CHECKING:
    from helpers.local_inference.engine import Engine

logger = logging.getLogger(__name__)
# About 30 messages a second look continuous and cost decoding nothing.
_SECONDS_BETWEEN_DELTAS = 0.033


def run_model_process(connection: Connection) -> None:
    """The child's whole life; ends when the app closes its side of the pipe or dies."""
    _keep_the_terminal_clean()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    # Nothing about the user's models is reported to anyone.
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    outbox = _Outbox(connection)
    _log_through(outbox)
    inbox = _Inbox(connection, outbox)
    threading.Thread(target=inbox.read, name="requests", daemon=True).start()
    engine = _start_engine()
    threading.Thread(
        target=_render_prompts, args=(engine, inbox.prompts, outbox), name="prompts", daemon=True
    ).start()
    while True:
        _answer(engine, inbox, outbox, inbox.next_request())


class _Outbox:
    """Sends to the app from any thread."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def send(self, message: FromChild) -> None:
        try:
            with self._lock:
                self._connection.send(message)
        except OSError:
            # The app is gone, and nobody waits for anything any more.
            os._exit(0)


class _Inbox:
    """Reads what the app sends: requests wait in order, a stop counts at once."""

    def __init__(self, connection: Connection, outbox: _Outbox) -> None:
        self._connection = connection
        self._outbox = outbox
        self._changed = threading.Condition()
        self._waiting: deque[Submit | Score] = deque()
        self._running: int | None = None
        self._stop_running = threading.Event()
        self.prompts: queue.SimpleQueue[Render] = queue.SimpleQueue()

    def read(self) -> None:
        while True:
            try:
                message: ToChild = self._connection.recv()
            except (EOFError, OSError):
                os._exit(0)
            if isinstance(message, Render):
                self.prompts.put(message)
            elif isinstance(message, Stop):
                self._stop(message.request_id)
            else:
                with self._changed:
                    self._waiting.append(message)
                    self._changed.notify()

    def next_request(self) -> Submit | Score:
        """Wait for a request; it is the running one until the next call."""
        with self._changed:
            self._running = None
            self._changed.wait_for(lambda: self._waiting)
            submitted = self._waiting.popleft()
            self._running = submitted.request_id
            self._stop_running.clear()
            return submitted

    def should_stop(self) -> bool:
        return self._stop_running.is_set()

    def _stop(self, request_id: int) -> None:
        with self._changed:
            if self._running == request_id:
                self._stop_running.set()
            stopped = [submitted for submitted in self._waiting if submitted.request_id == request_id]
            for submitted in stopped:
                self._waiting.remove(submitted)
        for submitted in stopped:
            if isinstance(submitted, Submit):
                event = GenerationFinished(stopped_before_loading(submitted.request))
                self._outbox.send(Happened(request_id, event))
            else:
                self._outbox.send(Scored(request_id, _scoring_stopped()))


class _Events:
    """The events of one request on their way to the app; text is sent in pieces of some tokens."""

    def __init__(self, request_id: int, outbox: _Outbox) -> None:
        self._request_id = request_id
        self._outbox = outbox
        self._text: list[str] = []
        self._new_tokens = 0
        self._last_sent = 0.0

    def put(self, event: GenerationEvent) -> None:
        if isinstance(event, TextDelta):
            self._text.append(event.text)
            self._new_tokens = event.new_tokens
            if time.perf_counter() - self._last_sent >= _SECONDS_BETWEEN_DELTAS:
                self._send_text()
            return
        self._send_text()
        self._outbox.send(Happened(self._request_id, event))

    def report(self, event: ModelLoading) -> None:
        self._outbox.send(Happened(self._request_id, event))

    def _send_text(self) -> None:
        if self._text:
            self._outbox.send(Happened(self._request_id, TextDelta("".join(self._text), self._new_tokens)))
            self._text.clear()
            self._last_sent = time.perf_counter()


def _answer(engine: "Engine", inbox: _Inbox, outbox: _Outbox, submitted: Submit | Score) -> None:
    if isinstance(submitted, Score):
        _score(engine, inbox, outbox, submitted)
        return
    events = _Events(submitted.request_id, outbox)
    try:
        for event in engine.stream(submitted.request, inbox.should_stop, events.report):
            events.put(event)
    except Exception as error:  # noqa: BLE001 - it belongs to the caller who waits
        events.put(GenerationFailed(_for_the_caller(error)))
        if "CUDA error" in str(error):
            # After such an error every further use of the GPU in this process fails.
            os._exit(1)


def _score(engine: "Engine", inbox: _Inbox, outbox: _Outbox, submitted: Score) -> None:
    try:
        outbox.send(Scored(submitted.request_id, engine.score(submitted.request, inbox.should_stop)))
    except LoadingStopped:
        outbox.send(Scored(submitted.request_id, _scoring_stopped()))
    except Exception as error:  # noqa: BLE001 - it belongs to the caller who waits
        outbox.send(Scored(submitted.request_id, _for_the_caller(error)))
        if "CUDA error" in str(error):
            os._exit(1)


def _scoring_stopped() -> ModelProcessError:
    return ModelProcessError("The scoring was stopped.", "Score the answer again.")


def _render_prompts(engine: "Engine", prompts: "queue.SimpleQueue[Render]", outbox: _Outbox) -> None:
    while True:
        message = prompts.get()
        try:
            outbox.send(Rendered(message.request_id, engine.render(message.request)))
        except Exception as error:  # noqa: BLE001 - it belongs to the caller who waits
            outbox.send(Rendered(message.request_id, _for_the_caller(error)))


def _for_the_caller(error: Exception) -> PlaygroundError:
    if isinstance(error, PlaygroundError):
        return error
    logger.error("unexpected error in the model process", exc_info=error)
    return ModelProcessError(
        f"The model process met an unexpected error: {type(error).__name__}: {error}",
        "Try again; the log file has the details.",
        "An unexpected error",
    )


def _start_engine() -> "Engine":
    import helpers.local_inference.model_libraries as libraries

    libraries.load()
    import transformers

    from helpers.local_inference.engine import Engine

    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    transformers.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    return Engine(None if "OMP_NUM_THREADS" in os.environ else _usable_cores())


def _usable_cores() -> int:
    """Physical cores, as far as this process may use them: hyperthreads share the units that matrix products need."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(psutil.cpu_count(logical=False) or usable, usable))


def _keep_the_terminal_clean() -> None:
    """Ctrl+C is for the app, which then ends this process; and standard output is for the app's own output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        os.dup2(2, 1)
    except OSError:
        return  # A windowed app has no terminal at all.
    sys.stdout = sys.stderr
    faulthandler.enable()


def _log_through(outbox: _Outbox) -> None:
    class ToTheApp(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            outbox.send(Logged(record.name, record.levelno, self.format(record)))

    root = logging.getLogger()
    root.handlers = [ToTheApp()]
    root.setLevel(logging.WARNING)
    logging.getLogger("helpers").setLevel(logging.INFO)
    logging.captureWarnings(True)
