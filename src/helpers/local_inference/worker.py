"""The app's side of the model process: requests go in, events come out, and its end is an error message.

The process starts on first use and stays warm. It holds torch and the models, so that ending it gives all memory
back and a crash in it leaves the app alive. Importing this module loads no torch.
"""

import atexit
import logging
import multiprocessing
import queue
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import psutil

from errors import ModelProcessError, PlaygroundError
from helpers.local_inference.generation_events import (
    GenerationFailed,
    GenerationFinished,
    RenderedPrompt,
    TokenScores,
)
from helpers.local_inference.generation_handle import GenerationHandle
from helpers.local_inference.process_end import describe_end, kills_for_memory
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
from helpers.local_inference.requests import GenerationRequest, PromptRequest, ScoreRequest
from helpers.local_inference.worker_child import run_model_process

STOP_DEADLINE_SECONDS = 10.0
_SECONDS_TO_END = 5.0


@dataclass(frozen=True)
class UnloadResult:
    """What unloading gave back: the memory that the model process held, in bytes."""

    freed_bytes: int


class ModelProcess:
    """Client of the model process. Safe to use from several threads; at most one process lives at a time."""

    def __init__(self, stop_deadline: float = STOP_DEADLINE_SECONDS) -> None:
        """``stop_deadline``: seconds after which a request that does not stop takes the process with it."""
        self._stop_deadline = stop_deadline
        self._lock = threading.Lock()
        self._child: _Child | None = None
        self._closed = False
        _open_processes.add(self)

    def submit(self, request: GenerationRequest) -> GenerationHandle:
        """Queue ``request``; starts the process if need be. Raises ModelProcessError where it cannot start."""
        return self._running_child().submit(request)

    def render_prompt(self, request: PromptRequest) -> "Future[RenderedPrompt]":
        """The exact prompt, soon, also while an answer is being written. The future raises PlaygroundError."""
        return self._running_child().render(request)

    def score(self, request: ScoreRequest) -> "Future[TokenScores]":
        """The probabilities of a given answer, after the requests before it. The future raises PlaygroundError.

        ``cancel()`` of the future ends the scoring, waiting or running.
        """
        return self._running_child().score(request)

    def warm_up(self) -> None:
        """Start the process and let it import torch, without waiting and without loading weights."""
        self._running_child()

    def unload(self) -> UnloadResult:
        """End the process, which frees all it held; requests under way fail. Does nothing where none runs."""
        with self._lock:
            child, self._child = self._child, None
        if child is None:
            return UnloadResult(0)
        held = child.memory_bytes() or 0
        child.end(ModelProcessError("The model was unloaded.", "Send the prompt again to load it."))
        return UnloadResult(held)

    def memory_bytes(self) -> int | None:
        """Resident memory of the process; None where none runs."""
        child = self._child
        return child.memory_bytes() if child is not None else None

    @property
    def is_running(self) -> bool:
        """True while a process lives."""
        return self.pid is not None

    @property
    def pid(self) -> int | None:
        """The process id; None where none runs."""
        child = self._child
        return child.pid if child is not None and child.alive else None

    def close(self) -> None:
        """End the process for good; may be called again."""
        self._closed = True
        self.unload()

    def _running_child(self) -> "_Child":
        with self._lock:
            if self._closed:
                raise ModelProcessError("The model process is closed.", "Start the app again.")
            if self._child is None or not self._child.alive:
                self._child = _Child(self._stop_deadline)
            return self._child


class _Child:
    """One life of the model process and the requests that wait for it."""

    def __init__(self, stop_deadline: float) -> None:
        self._stop_deadline = stop_deadline
        self._lock = threading.Lock()
        self._next_id = 0
        self._handles: dict[int, GenerationHandle] = {}
        self._prompts: dict[int, Future[Any]] = {}
        self._ended = False
        self._reason: PlaygroundError | None = None
        self._outgoing: queue.SimpleQueue[ToChild | None] = queue.SimpleQueue()
        self._kills_before = kills_for_memory()
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=run_model_process, args=(theirs,), name="adapter-playground-model", daemon=True
        )
        try:
            self._process.start()
        except OSError as error:
            raise ModelProcessError(
                f"The model process cannot start: {error}.", "Close other programs and try again."
            ) from error
        finally:
            theirs.close()
        # Sending and receiving have their own threads, so that a busy child never holds up a caller.
        threading.Thread(target=_send, args=(self._connection, self._outgoing), daemon=True).start()
        threading.Thread(target=self._receive, name="model-process-events", daemon=True).start()

    @property
    def alive(self) -> bool:
        # The pipe's end tells of the process's end at once; asking the system from several threads would race.
        return not self._ended

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def submit(self, request: GenerationRequest) -> GenerationHandle:
        handle = GenerationHandle(self._stop)
        with self._lock:
            self._next_id += 1
            if self._ended:
                handle.put(GenerationFailed(self._end_error()))
                return handle
            self._handles[self._next_id] = handle
            self._outgoing.put(Submit(self._next_id, request))
        return handle

    def render(self, request: PromptRequest) -> "Future[RenderedPrompt]":
        return self._ask(lambda request_id: Render(request_id, request))

    def score(self, request: ScoreRequest) -> "Future[TokenScores]":
        return self._ask(lambda request_id: Score(request_id, request))

    def _ask(self, message: "Callable[[int], Render | Score]") -> "Future[Any]":
        future: Future[Any] = Future()
        with self._lock:
            self._next_id += 1
            request_id = self._next_id
            if self._ended:
                future.set_exception(self._end_error())
                return future
            self._prompts[request_id] = future
            self._outgoing.put(message(request_id))
        future.add_done_callback(lambda done: self._outgoing.put(Stop(request_id)) if done.cancelled() else None)
        return future

    def memory_bytes(self) -> int | None:
        try:
            return int(psutil.Process(self._process.pid).memory_info().rss)
        except psutil.Error:
            return None

    def end(self, reason: PlaygroundError) -> None:
        """Kill the process; it holds nothing worth saving. What waits fails with ``reason``."""
        with self._lock:
            self._reason = self._reason or reason
        self._process.kill()
        self._process.join(_SECONDS_TO_END)
        self._fail_all()

    def _stop(self, handle: GenerationHandle) -> None:
        with self._lock:
            request_id = next((key for key, waiting in self._handles.items() if waiting is handle), None)
            if request_id is None:
                return
            self._outgoing.put(Stop(request_id))
        timer = threading.Timer(self._stop_deadline, self._end_unless_finished, (handle,))
        timer.daemon = True
        timer.start()

    def _end_unless_finished(self, handle: GenerationHandle) -> None:
        if handle.finished:
            return
        waited = f"{self._stop_deadline:g} seconds"
        handle.put(
            GenerationFailed(
                ModelProcessError(
                    f"The model process did not stop within {waited}, so it was ended.",
                    "The text so far is kept. The next prompt loads the model again.",
                )
            )
        )
        self.end(
            ModelProcessError(
                f"The model process was ended, because another answer did not stop within {waited}.",
                "Send the prompt again.",
            )
        )

    def _receive(self) -> None:
        while True:
            try:
                message: FromChild = self._connection.recv()
            except (EOFError, OSError):
                break
            if isinstance(message, Logged):
                logging.getLogger(message.logger).log(message.level, "%s", message.message)
            elif isinstance(message, Happened):
                self._pass_on(message)
            else:
                self._set_prompt(message)
        self._process.join(_SECONDS_TO_END)
        self._fail_all()
        self._outgoing.put(None)
        self._connection.close()

    def _pass_on(self, message: Happened) -> None:
        with self._lock:
            handle = self._handles.get(message.request_id)
            if isinstance(message.event, GenerationFinished | GenerationFailed):
                self._handles.pop(message.request_id, None)
        if handle is not None:
            handle.put(message.event)

    def _set_prompt(self, message: Rendered | Scored) -> None:
        with self._lock:
            future = self._prompts.pop(message.request_id, None)
        if future is None or not future.set_running_or_notify_cancel():
            return
        if isinstance(message.outcome, PlaygroundError):
            future.set_exception(message.outcome)
        else:
            future.set_result(message.outcome)

    def _fail_all(self) -> None:
        with self._lock:
            self._ended = True
            error = self._end_error()
            handles, self._handles = list(self._handles.values()), {}
            prompts, self._prompts = list(self._prompts.values()), {}
        for handle in handles:
            handle.put(GenerationFailed(error))
        for future in prompts:
            if future.set_running_or_notify_cancel():
                future.set_exception(error)

    def _end_error(self) -> PlaygroundError:
        return self._reason or describe_end(self._process.exitcode, kills_for_memory() - self._kills_before)


def _send(connection: Connection, outgoing: "queue.SimpleQueue[ToChild | None]") -> None:
    while (message := outgoing.get()) is not None:
        try:
            connection.send(message)
        except OSError:
            return  # The process ended; the receiving thread tells everyone who waits.


_open_processes: "weakref.WeakSet[ModelProcess]" = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for process in list(_open_processes):
        process.close()
