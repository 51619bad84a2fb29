"""The engine against the straightforward helper: ratios from one process, measured in turn.

``python benchmarks/engine_speed.py [--layers N] [--history TOKENS] [--rounds N] [--threads N]`` prints a table. With
the default 28 layers the model has 506 million parameters; ``--layers 8`` has about 190 million and needs a third of
the time and memory.
"""

import argparse
import gc
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

import helpers.local_inference.model_libraries as libraries

# How compute threads wait is read when torch is imported, so this comes before it.
libraries.load()
import torch  # noqa: E402

from engine_baseline import StraightforwardHelper, Timing  # noqa: E402
from engine_model import LAYERS, adapter_folders, base_folder  # noqa: E402
from helpers.local_inference import (  # noqa: E402
    ChatMessage,
    Dtype,
    GenerationFinished,
    GenerationRequest,
    GenerationResult,
    GenerationSettings,
    ModelSelection,
    Quantization,
)
from helpers.local_inference.engine import Engine  # noqa: E402
from report import Figure, other_work, print_table, ratios, write_json  # noqa: E402

HERE = Path(__file__).resolve().parent
NEW_TOKENS = 16
SENTENCE = "Say hello to the sailor. "
LONG_CONTEXT = 4096
_BANDWIDTH_BYTES = 512 * 2**20


def measure(folder: Path, *, history: int = LONG_CONTEXT, rounds: int = 3) -> list[Figure]:
    """Every figure, for the model that ``engine_model.build`` put in ``folder``."""
    base, adapters = base_folder(folder), adapter_folders(folder)
    plain = StraightforwardHelper(base, adapters[0])
    engine, eight_bit = Engine(), Engine()
    figures = _decoding(plain, engine, eight_bit, base, adapters[0], rounds)
    del eight_bit
    gc.collect()
    figures += _first_token(plain, engine, base, adapters[0], history, rounds)
    del plain
    gc.collect()
    figures += _switching(engine, base, adapters)
    figures += _stopping(engine, base, adapters[0], rounds)
    return [*figures, *_long_context(engine, rounds), *_bandwidth(engine, base, rounds)]


def _decoding(
    plain: StraightforwardHelper, engine: Engine, eight_bit: Engine, base: Path, adapter: Path, rounds: int
) -> list[Figure]:
    question = [{"role": "user", "content": "How does a cat sound?"}]
    variants = {
        "live adapter, bfloat16": (engine, adapter, Quantization.NONE, 2.8),
        "base alone, bfloat16": (engine, None, Quantization.NONE, 3.5),
        "base alone, Fast 8-bit": (eight_bit, None, Quantization.INT8, 4.5),
        "live adapter, Fast 8-bit": (eight_bit, adapter, Quantization.INT8, None),
    }
    slow: list[float] = []
    fast: dict[str, list[float]] = {name: [] for name in variants}
    kernel = ""
    # The first round loads and warms up.
    for _ in range(rounds + 1):
        timing: Timing = plain.answer(question, NEW_TOKENS)
        slow.append(timing.tokens_per_second)
        for name, (asked, path, quantization, _) in variants.items():
            result = _ask(asked, base, path, [question[0]["content"]], quantization, NEW_TOKENS * 2)
            fast[name].append(result.tokens_per_second)
            kernel = result.model.kernel if name.startswith("live adapter, bf") else kernel
    figures = [Figure("decode", "straightforward helper, float32", "tok/s", slow[1:])]
    for name, (_, _, _, target) in variants.items():
        figures.append(Figure("decode", name, "tok/s", fast[name][1:]))
        figures.append(
            Figure("decode", f"{name} ÷ straightforward", "×", ratios(fast[name][1:], slow[1:]), at_least=target)
        )
    print(f"The engine computes with: {kernel}", file=sys.stderr)
    return figures


def _first_token(
    plain: StraightforwardHelper, engine: Engine, base: Path, adapter: Path, history: int, rounds: int
) -> list[Figure]:
    """The next turn after ``history`` tokens, and how its time grows from an eighth of them."""
    name = f"first token after {history:,} tokens of history"
    slow: list[float] = []
    anew: list[float] = []
    reused: list[float] = []
    for number in range(rounds):
        # Only the history is known, not the question of the round before.
        _ask(engine, base, adapter, [_story(plain, history)], Quantization.NONE, 2)
        turns = _next_turn(_story(plain, history), number)
        reused.append(_ask(engine, base, adapter, turns, Quantization.NONE, 2).time_to_first_token)
        # These two take long and differ little from one time to the next.
        if number == 0:
            messages = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(turns)]
            slow.append(plain.answer(messages, 2).first_token)
            with _nothing_kept(engine):
                anew.append(_ask(engine, base, adapter, turns, Quantization.NONE, 2).time_to_first_token)
    story = _story(plain, history // 8)
    short, early = history // 8, []
    for number in range(rounds):
        _ask(engine, base, adapter, [story], Quantization.NONE, 2)
        turns = _next_turn(story, number)
        early.append(_ask(engine, base, adapter, turns, Quantization.NONE, 2).time_to_first_token)
    return [
        Figure("next turn", f"{name}, straightforward", "s", slow),
        Figure("next turn", f"{name}, engine without prefix", "s", anew),
        Figure("next turn", f"{name}, engine with prefix", "s", reused),
        Figure("next turn", f"first token after {short:,}, engine with prefix", "s", early),
        Figure("next turn", "straightforward ÷ engine", "×", [slow[0] / seconds for seconds in reused], at_least=30),
        Figure("next turn", "all anew ÷ prefix reused", "×", [anew[0] / seconds for seconds in reused]),
        Figure("next turn", "with 8 times the history, times as long", "×", ratios(reused, early)),
    ]


def _story(plain: StraightforwardHelper, tokens: int) -> str:
    return SENTENCE * (tokens // _tokens_in(plain.tokenizer, SENTENCE))


def _next_turn(story: str, number: int) -> list[str]:
    return [story, "Ahoy.", f"And what is answer number {number} to the question of the sailor?"]


@contextmanager
def _nothing_kept(engine: Engine) -> Iterator[None]:
    for loaded in engine.bases.loaded:
        loaded.prefixes.clear()
    yield


def _switching(engine: Engine, base: Path, adapters: Sequence[Path]) -> list[Figure]:
    process = psutil.Process()
    one = float(process.memory_info().rss)
    attach: list[float] = []
    for adapter in adapters[1:]:
        attach.append(_seconds_until_ready(engine, base, adapter))
    four = float(process.memory_info().rss)
    switch = [_seconds_until_ready(engine, base, adapter) for adapter in (*adapters, *adapters)]
    reload: list[float] = []
    for adapter in adapters[:2]:
        started = time.perf_counter()
        helper = StraightforwardHelper(base, adapter)
        helper.answer([{"role": "user", "content": "Ahoy"}], 2)
        reload.append(time.perf_counter() - started)
        del helper
        gc.collect()
    return [
        Figure("switch", "straightforward: base and adapter loaded, to the first token", "s", reload),
        Figure("switch", "engine: adapter read the first time, with its effect measured", "s", attach),
        Figure("switch", "engine: between adapters in memory, to the first token", "s", switch, at_most=0.5),
        Figure(
            "switch",
            "load ÷ switch",
            "×",
            [r / s for r, s in zip(reload, switch[: len(reload)], strict=True)],
            None,
            20,
        ),
        Figure("memory", "with four adapters ÷ with one", "×", [four / one], at_most=1.15),
    ]


def _seconds_until_ready(engine: Engine, base: Path, adapter: Path) -> float:
    """From the request to the first token, for a prompt of a few tokens."""
    request = _request(base, adapter, ["Ahoy"], Quantization.NONE, 1)
    started = time.perf_counter()
    for _ in engine.stream(request):
        pass
    return time.perf_counter() - started


def _stopping(engine: Engine, base: Path, adapter: Path, rounds: int) -> list[Figure]:
    """From the wish to stop, which comes at any moment, to an engine that takes the next request."""
    endless = _request(base, adapter, ["How does a cat sound?"], Quantization.NONE, 4000)
    long = _request(base, adapter, [SENTENCE * 400], Quantization.NONE, 4)
    in_decode, in_prefill = [], []
    for _ in range(rounds):
        in_decode.append(_stop_delay(engine, endless, after=1.0))
        with _nothing_kept(engine):
            in_prefill.append(_stop_delay(engine, long, after=1.0))
    return [
        Figure("stop", "while an answer is written", "s", in_decode, at_most=0.15),
        Figure("stop", "while a long prompt is processed", "s", in_prefill, at_most=0.7),
    ]


def _stop_delay(engine: Engine, request: GenerationRequest, after: float) -> float:
    asked: list[float] = []
    timer = threading.Timer(after, lambda: asked.append(time.perf_counter()))
    timer.start()
    for _ in engine.stream(request, lambda: bool(asked)):
        pass
    timer.join()
    return time.perf_counter() - asked[0]


def _long_context(engine: Engine, rounds: int) -> list[Figure]:
    """Decode steps on a cache of random keys and values, with our attention and with the stock one."""
    (loaded,) = engine.bases.loaded
    model = loaded.adapters.activate(None)
    config: Any = loaded.model.config
    ours, stock = config._attn_implementation, "sdpa"
    seconds: dict[str, list[float]] = {ours: [], stock: []}
    for _ in range(rounds):
        for name in seconds:
            loaded.model.set_attn_implementation(name)
            seconds[name].append(_step_seconds(model, config))
    loaded.model.set_attn_implementation(ours)
    title = f"decode at {LONG_CONTEXT} tokens"
    return [
        Figure("long context", f"{title}, stock attention", "ms", [1000 * value for value in seconds[stock]]),
        Figure("long context", f"{title}, ours", "ms", [1000 * value for value in seconds[ours]]),
        Figure("long context", "stock ÷ ours", "×", ratios(seconds[stock], seconds[ours]), at_least=2),
    ]


def _step_seconds(model: Any, config: Any, steps: int = 4) -> float:
    from transformers import DynamicCache

    cache = DynamicCache(config=config)
    shape = (1, config.num_key_value_heads, LONG_CONTEXT, config.head_dim)
    for layer in range(config.num_hidden_layers):
        cache.update(torch.randn(shape).to(torch.bfloat16), torch.randn(shape).to(torch.bfloat16), layer)
    token = torch.tensor([[5]])
    with torch.inference_mode():
        model(input_ids=token, past_key_values=cache)
        started = time.perf_counter()
        for _ in range(steps):
            model(input_ids=token, past_key_values=cache)
    return (time.perf_counter() - started) / steps


def _bandwidth(engine: Engine, base: Path, rounds: int) -> list[Figure]:
    """How near decoding comes to reading every weight once for each token."""
    (loaded,) = engine.bases.loaded
    model: Any = loaded.model
    embedding = model.get_input_embeddings().weight
    weights = (base / "model.safetensors").stat().st_size - embedding.numel() * embedding.element_size()
    block = torch.ones(_BANDWIDTH_BYTES // 4)
    read: list[float] = []
    share: list[float] = []
    for _ in range(rounds):
        started = time.perf_counter()
        block.sum()
        read.append(_BANDWIDTH_BYTES / (time.perf_counter() - started))
        speed = _ask(engine, base, None, ["How does a cat sound?"], Quantization.NONE, NEW_TOKENS).tokens_per_second
        share.append(100 * speed / (read[-1] / weights))
    return [
        Figure("bandwidth", "memory read", "GB/s", [value / 1e9 for value in read]),
        Figure("bandwidth", "decode in bfloat16, share of what that allows", "%", share, at_least=45),
    ]


def _ask(
    engine: Engine, base: Path, adapter: Path | None, turns: Sequence[str], quantization: Quantization, tokens: int
) -> GenerationResult:
    *_, last = engine.stream(_request(base, adapter, turns, quantization, tokens))
    assert isinstance(last, GenerationFinished)
    return last.result


def _request(
    base: Path, adapter: Path | None, turns: Sequence[str], quantization: Quantization, tokens: int
) -> GenerationRequest:
    messages = tuple(ChatMessage("assistant" if i % 2 else "user", text) for i, text in enumerate(turns))
    selection = ModelSelection(
        str(base), str(adapter) if adapter else None, quantization=quantization, dtype=Dtype.BFLOAT16
    )
    return GenerationRequest(selection, messages, GenerationSettings(temperature=0, max_new_tokens=tokens))


def _tokens_in(tokenizer: Any, text: str) -> int:
    return len(tokenizer(text)["input_ids"])


def main() -> None:
    """Build the model, measure, print."""
    parser = argparse.ArgumentParser(description="Measure the engine against a straightforward helper.")
    parser.add_argument("--layers", type=int, default=LAYERS)
    parser.add_argument("--history", type=int, default=LONG_CONTEXT, help="tokens of history before the next turn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="CPU threads; 1 where other work keeps the machine busy")
    parser.add_argument("--model", type=Path, help="keep the model in this folder and use it again")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    busy = other_work()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.model or Path(temporary) / "model"
        if not base_folder(folder).exists():
            program = [sys.executable, str(HERE / "engine_model.py"), str(folder), str(options.layers)]
            environment = {**os.environ, "PYTHONPATH": str(HERE.parent / "tests")}
            subprocess.run(program, check=True, stderr=subprocess.DEVNULL, env=environment)
        figures = measure(folder, history=options.history, rounds=options.rounds)
    print_table(figures, busy)
    if options.json is not None:
        write_json(figures, options.json, busy)


if __name__ == "__main__":
    main()
