"""The model process: answers in order, stops at once, and its death is an error message."""

import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from engine_requests import request_for, result_of
from errors import EmptyPromptError, ModelNotFoundError, ModelProcessError
from helpers.local_inference import (
    ChatMessage,
    FinishReason,
    GenerationFailed,
    GenerationFinished,
    GenerationHandle,
    ModelProcess,
    ModelReady,
    ModelSelection,
    PromptRequest,
    TextDelta,
)
from helpers.local_inference.engine import Engine
from helpers.local_inference.process_end import describe_end

ENDLESS = {"max_new_tokens": 90_000, "repetition_penalty": 1.2}
needs_posix = pytest.mark.skipif(os.name != "posix", reason="signals to single processes exist on POSIX only")


@pytest.fixture
def process() -> Iterator[ModelProcess]:
    """A process of its own, for tests that kill it."""
    process = ModelProcess()
    yield process
    process.close()


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        threading.Event().wait(0.01)


def text_while_running(handle: GenerationHandle, at_least: int = 20) -> str:
    """The text of a running answer, once there is some."""
    pieces: list[str] = []

    def enough() -> bool:
        pieces.extend(event.text for event in handle.drain() if isinstance(event, TextDelta))
        return sum(map(len, pieces)) >= at_least

    wait_until(enough)
    assert not handle.finished
    return "".join(pieces)


def failure_of(handle: GenerationHandle) -> ModelProcessError:
    assert handle.wait(60)
    last = handle.drain()[-1]
    assert isinstance(last, GenerationFailed) and isinstance(last.error, ModelProcessError)
    return last.error


def pid_of(process: ModelProcess) -> int:
    assert process.pid is not None
    return process.pid


def test_it_answers_as_the_engine_does_and_streams_the_same_text(
    base: Path, adapter: Path, engine: Engine, shared_model_process: ModelProcess
) -> None:
    request = request_for(base, adapter, max_new_tokens=60)
    events = list(shared_model_process.submit(request))
    result = result_of(events)
    assert result.token_ids == result_of(engine.stream(request)).token_ids
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == result.text
    assert sum(isinstance(event, ModelReady) for event in events) == 1


def test_requests_are_answered_in_order_each_under_its_own_adapter(
    base: Path, adapter: Path, other_adapter: Path, engine: Engine, shared_model_process: ModelProcess
) -> None:
    requests = [request_for(base, path) for path in (adapter, None, other_adapter, adapter)]
    handles = [shared_model_process.submit(request) for request in requests]
    assert handles[-1].wait(60) and all(handle.finished for handle in handles)
    for handle, request in zip(handles, requests, strict=True):
        assert result_of(handle).token_ids == result_of(engine.stream(request)).token_ids


def test_stopping_keeps_the_text_so_far(base: Path, adapter: Path, shared_model_process: ModelProcess) -> None:
    handle = shared_model_process.submit(request_for(base, adapter, **ENDLESS))
    before = text_while_running(handle)
    handle.stop()
    events = list(handle)
    result = result_of(events)
    assert result.finish_reason is FinishReason.STOPPED
    assert result.text == before + "".join(event.text for event in events if isinstance(event, TextDelta))
    assert 0 < result.new_tokens < 90_000


def test_a_waiting_request_can_be_stopped_without_touching_the_running_one(
    base: Path, shared_model_process: ModelProcess
) -> None:
    running = shared_model_process.submit(request_for(base, **ENDLESS))
    waiting = shared_model_process.submit(request_for(base))
    text_while_running(running)
    waiting.stop()
    assert result_of(waiting).finish_reason is FinishReason.STOPPED
    assert not running.finished
    running.stop()
    assert result_of(running).finish_reason is FinishReason.STOPPED


def test_a_prompt_is_rendered_while_an_answer_is_written(base: Path, shared_model_process: ModelProcess) -> None:
    handle = shared_model_process.submit(request_for(base, **ENDLESS))
    text_while_running(handle)
    prompt = PromptRequest(ModelSelection(str(base)), (ChatMessage("user", "Ahoy"),))
    rendered = shared_model_process.render_prompt(prompt).result(timeout=30)
    assert not handle.finished
    handle.stop()
    assert rendered.text == "<|im_start|>user\nAhoy<|im_end|>\n<|im_start|>assistant\n"
    assert rendered.token_count > 3 and rendered.context_length == 100_000
    assert handle.wait(30)


def test_errors_arrive_as_they_were_raised(base: Path, tmp_path: Path, shared_model_process: ModelProcess) -> None:
    with pytest.raises(EmptyPromptError):
        list(shared_model_process.submit(request_for(base, prompt="  \n ")))
    prompt = PromptRequest(ModelSelection(str(tmp_path / "nowhere")), (ChatMessage("user", "Ahoy"),))
    with pytest.raises(ModelNotFoundError) as caught:
        shared_model_process.render_prompt(prompt).result(timeout=30)
    assert "nowhere" in caught.value.message and caught.value.hint


def test_an_unexpected_error_names_its_kind_and_the_log_has_the_trace(
    base: Path, shared_model_process: ModelProcess, caplog: pytest.LogCaptureFixture
) -> None:
    broken = request_for(base)
    object.__setattr__(broken, "messages", 5)
    with caplog.at_level(logging.ERROR), pytest.raises(ModelProcessError, match="TypeError"):
        list(shared_model_process.submit(broken))
    assert "Traceback" in caplog.text


@needs_posix
def test_a_killed_process_keeps_the_text_tells_everyone_and_the_next_request_works(
    base: Path, adapter: Path, process: ModelProcess
) -> None:
    running = process.submit(request_for(base, adapter, **ENDLESS))
    waiting = process.submit(request_for(base))
    assert len(text_while_running(running)) >= 20
    os.kill(pid_of(process), signal.SIGKILL)

    for handle in (running, waiting):
        error = failure_of(handle)
        assert "signal 9" in error.message and "memory" in error.message and error.hint
    assert not process.is_running and process.memory_bytes() is None
    assert result_of(process.submit(request_for(base, adapter))).new_tokens > 0


@needs_posix
def test_a_process_that_does_not_stop_in_time_is_ended(base: Path) -> None:
    process = ModelProcess(stop_deadline=0.3)
    try:
        hung = process.submit(request_for(base, **ENDLESS))
        waiting = process.submit(request_for(base))
        text_while_running(hung)
        os.kill(pid_of(process), signal.SIGSTOP)
        hung.stop()
        assert "did not stop within 0.3 seconds" in failure_of(hung).message
        assert "another answer" in failure_of(waiting).message
        wait_until(lambda: not process.is_running)
        assert result_of(process.submit(request_for(base))).new_tokens > 0
    finally:
        process.close()


def test_unload_ends_the_process_says_how_much_it_held_and_tells_who_waits(base: Path, process: ModelProcess) -> None:
    assert process.unload().freed_bytes == 0 and process.memory_bytes() is None
    handle = process.submit(request_for(base, **ENDLESS))
    text_while_running(handle)
    pid, held = pid_of(process), process.memory_bytes()
    assert process.unload().freed_bytes == pytest.approx(held, rel=0.2)
    assert not psutil.pid_exists(pid) and not process.is_running
    assert "unloaded" in failure_of(handle).message


def test_a_closed_client_starts_nothing_more(base: Path, process: ModelProcess) -> None:
    process.warm_up()
    assert process.is_running
    process.close()
    process.close()
    assert not process.is_running
    with pytest.raises(ModelProcessError, match="closed"):
        process.submit(request_for(base))


def test_many_threads_may_ask_at_once(base: Path, shared_model_process: ModelProcess) -> None:
    handles: list[GenerationHandle] = []
    threads = [
        threading.Thread(target=lambda: handles.append(shared_model_process.submit(request_for(base))))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({result_of(handle).token_ids for handle in handles}) == 1


def test_the_child_dies_with_its_parent(base: Path, tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent(
            """
            import os, signal, sys
            import psutil
            from engine_requests import request_for
            from helpers.local_inference import ModelProcess, TextDelta

            if __name__ == "__main__":
                handle = ModelProcess().submit(request_for(sys.argv[1], max_new_tokens=90_000))
                for event in handle:
                    if isinstance(event, TextDelta):
                        break
                print(*(child.pid for child in psutil.Process().children()), flush=True)
                os.kill(os.getpid(), signal.SIGKILL) if os.name == "posix" else os.abort()
            """
        )
    )
    paths = os.pathsep.join(path for path in sys.path if path)
    parent = subprocess.run(
        [sys.executable, str(script), str(base)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=120,
    )
    children = [int(pid) for pid in parent.stdout.split()]
    assert children, parent.stderr
    wait_until(lambda: not any(psutil.pid_exists(pid) for pid in children), 20)


@pytest.mark.parametrize("how", ["command", "console script"])
def test_it_starts_from_any_kind_of_parent_and_keeps_standard_output_clean(
    how: str, base: Path, tmp_path: Path
) -> None:
    code = textwrap.dedent(
        f"""
        from engine_requests import request_for, result_of
        from helpers.local_inference import ModelProcess
        def run():
            process = ModelProcess()
            print(result_of(process.submit(request_for({str(base)!r}))).new_tokens)
        """
    )
    (tmp_path / "asks.py").write_text(code)
    (tmp_path / "asks-script").write_text("import asks\nif __name__ == '__main__': asks.run()\n")
    command = ["-c", "import asks; asks.run()"] if how == "command" else [str(tmp_path / "asks-script")]
    ran = subprocess.run(
        [sys.executable, *command],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *(path for path in sys.path if path)])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) > 0
    assert ran.stderr == ""


def test_importing_the_client_loads_no_torch() -> None:
    code = (
        "import sys; from helpers.local_inference import LocalInference, ModelProcess; ModelProcess();"
        "print([name for name in ('torch', 'transformers', 'peft', 'flet') if name in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("exit_code", "kills", "words"),
    [(-9, 1, "memory ran out"), (-9, 0, "from outside"), (-11, 0, "crashed"), (1, 0, "exit code 1")],
)
def test_the_end_of_the_process_is_told_by_its_cause(exit_code: int, kills: int, words: str) -> None:
    error = describe_end(exit_code, kills)
    assert words in error.message and error.hint


def test_finished_is_the_last_event(base: Path, shared_model_process: ModelProcess) -> None:
    handle = shared_model_process.submit(request_for(base))
    assert handle.wait(60)
    events = handle.drain()
    assert [isinstance(event, GenerationFinished) for event in events].index(True) == len(events) - 1
    assert handle.drain() == []
