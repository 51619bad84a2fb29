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
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

import helpers.local_inference.model_libraries as libraries

# How compute threads wait is read when torch is imported, so this comes before it.
libraries.load()
import torch  # noqa: E402

from engine_asking import SENTENCE, answer, next_turn, request, story  # noqa: E402
from engine_baseline import StraightforwardHelper  # noqa: E402
from engine_llama import beside_llama  # noqa: E402
from engine_model import LAYERS, adapter_folders, base_folder  # noqa: E402
from engine_unloading import unloading  # noqa: E402
from helpers.local_inference import GenerationRequest, Quantization  # noqa: E402
from helpers.local_inference.engine import Engine  # noqa: E402
from report import Figure, other_work, print_table, ratios, write_json  # noqa: E402

HERE = Path(__file__).resolve().parent
NEW_TOKENS = 16
LONG_CONTEXT = 4096
_BANDWIDTH_BYTES = 512 * 2**20
_SLOW_ROUNDS = 2


def measure(folder: Path, *, history: int = LONG_CONTEXT, rounds: int = 3) -> list[Figure]:
    """Every figure, for the model that ``engine_model.build`` put in ``folder``."""
    base, adapters = base_folder(folder), adapter_folders(folder)
    # The engine gives way to other programs; what it is measured against always gets every thread.
    threads = torch.get_num_threads()
    plain = StraightforwardHelper(base, adapters[0], threads)
    engine = Engine()
    figures = _decoding(plain, engine, base, adapters[0], rounds)
    gc.collect()
    figures += _next_turns(plain, engine, base, adapters[0], history, rounds)
    del plain
    gc.collect()
    figures += _switching(engine, base, adapters, threads)
    figures += _stopping(engine, base, adapters[0], rounds)
    figures += _long_context(engine, rounds)
    figures += _bandwidth(engine, base, rounds, threads)
    del engine
    gc.collect()
    torch.set_num_threads(threads)
    return [*figures, *unloading(base, adapters[0]), *beside_llama(base, rounds)]


def _decoding(plain: StraightforwardHelper, engine: Engine, base: Path, adapter: Path, rounds: int) -> list[Figure]:
    question = "How does a cat sound?"
    # A merged adapter has a base of its own, and so have 8-bit weights.
    merging, eight_bit = Engine(), Engine()
    none, int8, length = Quantization.NONE, Quantization.INT8, NEW_TOKENS * 2
    variants: dict[str, tuple[Engine, GenerationRequest, float | None]] = {
        "live adapter, bfloat16": (engine, request(base, adapter, [question], none, length), 2.8),
        "merged adapter, bfloat16": (merging, request(base, adapter, [question], none, length, merge=True), 3.5),
        "base alone, bfloat16": (engine, request(base, None, [question], none, length), None),
        "base alone, Fast 8-bit": (eight_bit, request(base, None, [question], int8, length), 4.5),
        "live adapter, Fast 8-bit": (eight_bit, request(base, adapter, [question], int8, length), None),
    }
    slow: list[float] = []
    fast: dict[str, list[float]] = {name: [] for name in variants}
    kernels: dict[str, str] = {}
    # The first round loads and warms up.
    for _ in range(rounds + 1):
        slow.append(plain.answer([{"role": "user", "content": question}], NEW_TOKENS).tokens_per_second)
        for name, (asked, wish, _) in variants.items():
            result = answer(asked, wish)
            fast[name].append(result.tokens_per_second)
            kernels[name] = f"{result.model.kernel}, {torch.get_num_threads()} threads at the end"
    figures = [Figure("decode", "straightforward helper, float32", "tok/s", slow[1:])]
    for name, (_, _, target) in variants.items():
        figures.append(Figure("decode", name, "tok/s", fast[name][1:]))
        figures.append(
            Figure("decode", f"{name} ÷ straightforward", "×", ratios(fast[name][1:], slow[1:]), at_least=target)
        )
        print(f"{name}: {kernels[name]}", file=sys.stderr)
    return figures


def _next_turns(
    plain: StraightforwardHelper, engine: Engine, base: Path, adapter: Path, history: int, rounds: int
) -> list[Figure]:
    """The next turn after ``history`` tokens, and how its time grows from an eighth and a quarter of them."""
    lengths = (history // 8, history // 4, history)
    reused: dict[int, list[float]] = {length: [] for length in lengths}
    slow: list[float] = []
    anew: list[float] = []
    for number in range(rounds):
        for length in lengths:
            told = story(plain.tokenizer, length)
            # Only the history is known, not the question of the round before.
            answer(engine, request(base, adapter, [told], Quantization.NONE, 2))
            wish = request(base, adapter, next_turn(told, number), Quantization.NONE, 2)
            reused[length].append(answer(engine, wish).time_to_first_token)
        # These two take long; two of each show how much they differ.
        if number < _SLOW_ROUNDS:
            slow.append(plain.answer([asdict(message) for message in wish.messages], 2).first_token)
            with _nothing_kept(engine):
                anew.append(answer(engine, wish).time_to_first_token)
    pairs = reused[history][: len(slow)]
    name, short = f"first token after {history:,} tokens of history", f"{lengths[0]:,}"
    return [
        Figure("next turn", f"{name}, straightforward", "s", slow),
        Figure("next turn", f"{name}, engine, all anew", "s", anew),
        Figure("next turn", f"{name}, engine", "s", reused[history]),
        *(Figure("next turn", f"the same after {length:,}", "s", reused[length]) for length in lengths[:2]),
        Figure("next turn", "straightforward ÷ engine", "×", ratios(slow, pairs), at_least=30),
        Figure("next turn", "engine, all anew ÷ with what is kept", "×", ratios(anew, pairs)),
        Figure(
            "next turn", f"{history:,} ÷ {short} tokens of history", "×", ratios(reused[history], reused[lengths[0]])
        ),
    ]


@contextmanager
def _nothing_kept(engine: Engine) -> Iterator[None]:
    for loaded in engine.bases.loaded:
        loaded.prefixes.clear()
    yield


def _switching(engine: Engine, base: Path, adapters: Sequence[Path], threads: int) -> list[Figure]:
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
        helper = StraightforwardHelper(base, adapter, threads)
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
    wish = request(base, adapter, ["Ahoy"], Quantization.NONE, 1)
    started = time.perf_counter()
    for _ in engine.stream(wish):
        pass
    return time.perf_counter() - started


def _stopping(engine: Engine, base: Path, adapter: Path, rounds: int) -> list[Figure]:
    """From the wish to stop, which comes at any moment, to an engine that takes the next request."""
    endless = request(base, adapter, ["How does a cat sound?"], Quantization.NONE, 4000)
    long = request(base, adapter, [SENTENCE * 600], Quantization.NONE, 4)
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


def _bandwidth(engine: Engine, base: Path, rounds: int, threads: int) -> list[Figure]:
    """How near decoding comes to reading every weight once for each token."""
    (loaded,) = engine.bases.loaded
    model: Any = loaded.model
    embedding = model.get_input_embeddings().weight
    weights = (base / "model.safetensors").stat().st_size - embedding.numel() * embedding.element_size()
    block = torch.ones(_BANDWIDTH_BYTES // 4)
    read: list[float] = []
    share: list[float] = []
    wish = request(base, None, ["How does a cat sound?"], Quantization.NONE, NEW_TOKENS)
    for _ in range(rounds):
        torch.set_num_threads(threads)
        started = time.perf_counter()
        block.sum()
        read.append(_BANDWIDTH_BYTES / (time.perf_counter() - started))
        speed = answer(engine, wish).tokens_per_second
        share.append(100 * speed / (read[-1] / weights))
    return [
        Figure("bandwidth", "memory read", "GB/s", [value / 1e9 for value in read]),
        Figure("bandwidth", "decode in bfloat16, share of what that allows", "%", share, at_least=45),
    ]


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
