"""The engine in a process of its own: nothing but the request and its events.

Run as a program with the folder of ``bench_model``: for each number of tokens on standard input, answers with as many
and prints one JSON object with what was measured.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from bench_model import adapter_folder, base_folder
from helpers.local_inference import (
    BUILT_IN_PRESETS,
    ChatMessage,
    GenerationFinished,
    GenerationRequest,
    GenerationSettings,
    ModelSelection,
    TextDelta,
)
from helpers.local_inference.model_libraries import SPIN_TURNS

PROMPT = "Tell me a long story about a sailor and a cat."
WARM_UP_TOKENS = 32
FEWEST_TOKENS = 160
ANSWER_SECONDS = 2.0
MOST_TOKENS = 512
ENDING_SECONDS = 15


@dataclass(frozen=True)
class MeasuredAnswer:
    """One answer. ``seconds``: from the request to the finished answer. ``arriving``: tokens per second between the
    first and the last text that arrived. ``decoding``: the speed that the answer itself states.
    """

    text: str
    new_tokens: int
    seconds: float
    decoding: float
    arriving: float


def bench_settings(new_tokens: int) -> GenerationSettings:
    """Greedy, and as long as asked for."""
    return BUILT_IN_PRESETS["Deterministic"].with_changes(max_new_tokens=new_tokens)


def tokens_to_measure(warm: MeasuredAnswer) -> int:
    """As many as take ANSWER_SECONDS on this machine, seen by an answer of a model that was in memory."""
    return max(FEWEST_TOKENS, min(MOST_TOKENS, int(warm.decoding * ANSWER_SECONDS)))


@dataclass(frozen=True)
class EngineAlone:
    """The process of this file, seen from the benchmark."""

    process: "subprocess.Popen[str]"

    def answer(self, new_tokens: int) -> MeasuredAnswer:
        """Let it answer once."""
        assert self.process.stdin is not None and self.process.stdout is not None
        print(new_tokens, file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the engine's process ended")
        return MeasuredAnswer(**json.loads(line))


@contextmanager
def engine_alone(folder: Path) -> Iterator[EngineAlone]:
    """The engine's process with the model of ``folder``; ends with the block."""
    # As the engine sets it for itself; this process imports torch before it, to build on the bench model.
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": SPIN_TURNS}
    with subprocess.Popen(
        [sys.executable, __file__, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        try:
            yield EngineAlone(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(ENDING_SECONDS)


def _serve(folder: Path) -> None:
    from helpers.local_inference.engine import Engine

    engine = Engine()
    selection = ModelSelection(str(base_folder(folder)), str(adapter_folder(folder)))
    for line in sys.stdin:
        request = GenerationRequest(selection, (ChatMessage("user", PROMPT),), bench_settings(int(line)))
        started = time.perf_counter()
        arrived: list[tuple[float, int]] = []
        for event in engine.stream(request):
            if isinstance(event, TextDelta):
                arrived.append((time.perf_counter(), event.new_tokens))
        assert isinstance(event, GenerationFinished)
        seconds = time.perf_counter() - started
        result = event.result
        answer = MeasuredAnswer(
            result.text, result.new_tokens, seconds, result.tokens_per_second, arriving_speed(arrived)
        )
        print(json.dumps(asdict(answer)), flush=True)


def arriving_speed(arrived: list[tuple[float, int]]) -> float:
    """Tokens per second from times (s) and the tokens that had arrived by then."""
    (first, tokens_then), (last, tokens) = arrived[0], arrived[-1]
    return (tokens - tokens_then) / (last - first)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
