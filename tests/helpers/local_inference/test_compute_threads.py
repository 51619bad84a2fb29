"""Threads follow what other programs leave free, and never change an answer."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest
import torch

from helpers.local_inference import cpu_attention
from helpers.local_inference.compute_threads import (
    SECONDS_BETWEEN_LOOKS,
    SMALL_MODEL_BYTES,
    ComputeThreads,
    ProcessorTime,
    free_cores,
    processor_time,
)
from helpers.local_inference.cpu_linears import Int8Linear, PackedLinear

CORES = 4
LARGE = 10 * SMALL_MODEL_BYTES
LONGEST_WAIT = 30.0


class Machine:
    """The processor time of a machine whose other programs use ``others`` cores."""

    def __init__(self) -> None:
        self.others = 0.0
        self.now = ProcessorTime(time.monotonic() - 100, 0, 0)

    def __call__(self) -> ProcessorTime:
        """A look, half a second after the one before; this process uses three cores."""
        self.now = ProcessorTime(
            self.now.clock + 0.5, self.now.all_programs + 0.5 * (self.others + 3), self.now.own + 1.5
        )
        return self.now


@pytest.fixture
def machine() -> Iterator[Machine]:
    before = torch.get_num_threads()
    yield Machine()
    torch.set_num_threads(before)


def threads_on(machine: Machine) -> ComputeThreads:
    return ComputeThreads(CORES, CORES, machine)


def test_threads_give_way_at_once_and_come_back_when_it_stays_quiet(machine: Machine) -> None:
    threads = threads_on(machine)
    threads.begin_answer(LARGE, same_in_any_number=True)
    assert torch.get_num_threads() == CORES
    machine.others = 2.0
    threads.adapt()
    assert torch.get_num_threads() == 2
    machine.others = 9.0
    threads.adapt()
    assert torch.get_num_threads() == 1
    machine.others = 0.1
    threads.adapt()
    assert torch.get_num_threads() == 1
    threads.adapt()
    assert torch.get_num_threads() == CORES


def test_where_the_number_of_threads_changes_rounding_it_is_the_same_whatever_else_runs(machine: Machine) -> None:
    threads = threads_on(machine)
    for others in (0.0, 3.0, 9.0):
        machine.others = others
        threads.begin_answer(LARGE, same_in_any_number=False)
        threads.adapt()
        assert torch.get_num_threads() == CORES
    threads.begin_answer(LARGE, same_in_any_number=True)
    assert torch.get_num_threads() == 1


def test_a_small_model_computes_in_one_thread(machine: Machine) -> None:
    threads = threads_on(machine)
    threads.begin_answer(SMALL_MODEL_BYTES - 1, same_in_any_number=True)
    threads.adapt()
    threads.adapt()
    assert torch.get_num_threads() == 1
    threads.begin_answer(LARGE, same_in_any_number=True)
    assert torch.get_num_threads() == CORES


@contextmanager
def busy_program() -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield
        finally:
            process.kill()


def test_a_real_busy_program_is_seen_and_own_work_is_not_taken_for_it() -> None:
    cores = psutil.cpu_count() or 1
    with busy_program():
        before, started = processor_time(), time.monotonic()
        while free_cores(before, processor_time(), cores) > cores - 0.25:
            assert time.monotonic() - started < LONGEST_WAIT
    first = processor_time()
    while time.monotonic() - first.clock < 2 * SECONDS_BETWEEN_LOOKS:
        pass
    last = processor_time()
    # What this process did alone is left out, whatever others did: with it there would be less free.
    with_own = cores - (last.all_programs - first.all_programs) / (last.clock - first.clock)
    assert free_cores(first, last, cores) > with_own


@pytest.mark.parametrize("rows", [1, 5, 64])
@pytest.mark.parametrize("form", [PackedLinear, Int8Linear])
def test_packed_and_8_bit_layers_give_the_same_bits_in_one_and_two_threads(
    form: type[PackedLinear] | type[Int8Linear], rows: int, machine: Machine
) -> None:
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this PyTorch has no oneDNN")
    generator = torch.Generator().manual_seed(rows)
    plain = torch.nn.Linear(512, 768, bias=False).to(torch.bfloat16).requires_grad_(False)
    layer, inputs = form(plain), torch.randn(rows, 512, generator=generator).to(torch.bfloat16)
    results = []
    for count in (1, 2):
        torch.set_num_threads(count)
        results.append(layer(inputs))
    assert torch.equal(*results)


def test_masked_attention_gives_the_same_bits_in_one_and_two_threads(machine: Machine) -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (
        torch.randn(1, heads, tokens, 64, generator=generator).to(torch.bfloat16)
        for heads, tokens in ((8, 40), (4, 1500), (4, 1500))
    )
    seen = torch.ones(40, 1500, dtype=torch.bool).tril(1460)[None, None]
    results = []
    for count in (1, 2):
        torch.set_num_threads(count)
        results.append(cpu_attention.masked(query, key, value, seen, None))
    assert torch.equal(*results)
