"""Compiled decoding over a static cache gives what the growing cache gives. Traced here without a GPU's compiler."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from engine_requests import request_for
from errors import SettingsError
from helpers.local_inference import GenerationSettings
from helpers.local_inference.adapter_files import read_adapter_folder
from helpers.local_inference.engine import Engine
from helpers.local_inference.prefix_cache import AdapterForm, TextState, new_state
from helpers.local_inference.static_decoding import StaticDecoding, require_static_settings
from helpers.local_inference.token_generation import generate_tokens
from tiny_models import build_tiny_adapter, build_tiny_base

PROMPT = [5, 80, 17, 200, 33, 91] * 25
CONTEXT = 256


@pytest.fixture(autouse=True)
def nothing_stays_compiled() -> Iterator[None]:
    yield
    torch.compiler.reset()


def tokens(forward: Any, model: Any, state: TextState, prompt: list[int] = PROMPT) -> list[int]:
    settings = GenerationSettings.create(temperature=0)
    steps = generate_tokens(forward, model, prompt, settings, state, max_new_tokens=12, stop_ids=())
    return [step for step in steps if isinstance(step, int)]


@pytest.mark.parametrize(("family", "overrides"), [("llama", {}), ("mistral", {"sliding_window": 64})])
def test_greedy_tokens_are_those_of_the_growing_cache(
    family: str, overrides: dict[str, Any], tmp_path: Path, engine: Engine
) -> None:
    base = build_tiny_base(tmp_path / "base", family, **overrides)
    adapter = build_tiny_adapter(base, tmp_path / "adapter")
    list(engine.stream(request_for(base, adapter, max_new_tokens=1)))
    (loaded,) = engine.bases.loaded
    folder = read_adapter_folder(adapter)
    graphs: list[int] = []

    def backend(graph: torch.fx.GraphModule, _inputs: list[torch.Tensor]) -> Any:
        graphs.append(len(answers))
        return graph.forward

    static, answers = StaticDecoding(backend, None), list[tuple[int, ...]]()
    # Each form twice: the second answer uses what the first one compiled and wrote into.
    for strength in (None, 1.0, 0.5, None, 1.0, 0.5):
        forward = loaded.adapters.activate(folder if strength is not None else None, strength or 1.0)
        form = AdapterForm(folder.fingerprint, strength) if strength is not None else None
        wanted = tokens(forward, loaded.model, new_state(loaded.model.config))
        call, state = static.begin(loaded.model, forward, form, len(PROMPT) + 12, CONTEXT)
        assert tokens(call, loaded.model, state) == wanted
        answers.append(tuple(wanted))
    assert static.compiled_forms == len(set(answers)) == 3
    assert set(graphs) == {0, 1, 2}, "the same form is compiled once"


def test_one_cache_serves_every_text_that_fits(base: Path, engine: Engine) -> None:
    list(engine.stream(request_for(base, max_new_tokens=1)))
    (loaded,) = engine.bases.loaded
    static = StaticDecoding("eager", None)
    caches = [static.begin(loaded.model, loaded.model, None, size, 10_000)[1].cache for size in (20, 4096, 50, 4097)]
    assert caches[0] is caches[1] is caches[2] is not caches[3]
    assert [cache.layers[0].max_cache_len for cache in caches[2:]] == [4096, 8192]
    assert StaticDecoding().begin(loaded.model, loaded.model, None, 20, 64)[1].cache.layers[0].max_cache_len == 64


def test_contrastive_search_is_refused() -> None:
    with pytest.raises(SettingsError, match="penalty_alpha"):
        require_static_settings(GenerationSettings.create(temperature=0, top_k=4, penalty_alpha=0.6))
