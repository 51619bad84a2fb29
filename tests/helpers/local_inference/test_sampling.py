"""Every sampling parameter does what its definition says, and combinations that cannot work are refused in words."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, TopKLogitsWarper, TopPLogitsWarper

from engine_requests import request_for, result_of
from errors import SettingsError
from helpers.local_inference import EditableGenerationSettings, GenerationSettings, setting_range
from helpers.local_inference.engine import Engine
from helpers.local_inference.sampling import AnswerPenalties, DynamicTemperature, Sampler, TopP
from tiny_models import build_tiny_base

PROMPT = "Say hello to the sailor."


def prompt_ids(base: Path) -> torch.Tensor:
    tokenizer = AutoTokenizer.from_pretrained(base)
    ids: torch.Tensor = tokenizer.apply_chat_template(
        [{"role": "user", "content": PROMPT}], add_generation_prompt=True, return_tensors="pt"
    )["input_ids"]
    return ids


def generated(base: Path, new_tokens: int = 24, **options: Any) -> tuple[int, ...]:
    model: Any = AutoModelForCausalLM.from_pretrained(base)
    prompt = prompt_ids(base)
    answer = model.generate(
        input_ids=prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=new_tokens, **options
    )
    return tuple(answer[0, prompt.shape[1] :].tolist())


def answered(engine: Engine, base: Path, adapter: Path | None = None, **settings: Any) -> tuple[int, ...]:
    return result_of(engine.stream(request_for(base, adapter, PROMPT, **settings))).token_ids


def longest_repeat(ids: tuple[int, ...]) -> int:
    """Length of the longest run of tokens that comes twice in ``ids``."""
    lengths = range(1, len(ids))
    return max((n for n in lengths if max(Counter(ngrams(ids, n)).values()) > 1), default=0)


def ngrams(ids: tuple[int, ...], size: int) -> list[tuple[int, ...]]:
    return [ids[start : start + size] for start in range(len(ids) - size + 1)]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_no_repeat_ngrams_equal_generate(size: int, base: Path, engine: Engine) -> None:
    answer = answered(engine, base, no_repeat_ngram_size=size)
    assert answer == generated(base, do_sample=False, no_repeat_ngram_size=size)
    assert longest_repeat(answer) < size


@pytest.mark.parametrize(
    "sampling",
    [
        {"temperature": 1.0, "typical_p": 0.5},
        {"temperature": 1.6, "top_k": 40, "top_p": 0.95, "min_p": 0.02, "typical_p": 0.7},
        {"temperature": 1.2, "repetition_penalty": 1.3, "no_repeat_ngram_size": 2, "typical_p": 0.9},
    ],
    ids=str,
)
def test_sampled_answers_equal_generate_in_transformers_order(
    sampling: dict[str, Any], base: Path, engine: Engine
) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        expected = generated(base, do_sample=True, **({"top_k": 0} | sampling))
    assert answered(engine, base, seed=11, **sampling) == expected


@pytest.mark.parametrize(("frequency", "presence"), [(0.7, 0), (0, 1.5), (0.4, 0.9), (-0.3, 0)])
def test_frequency_and_presence_penalty_follow_the_formula(
    frequency: float, presence: float, base: Path, engine: Engine
) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(base)
    ids, answer = prompt_ids(base), Counter[int]()
    expected = []
    for _ in range(40):
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0, -1]
        for token, count in answer.items():
            logits[token] = logits[token] - count * frequency - (1 if count > 0 else 0) * presence
        expected.append(int(logits.argmax()))
        answer[expected[-1]] += 1
        ids = torch.cat([ids, torch.tensor([[expected[-1]]])], dim=1)
    assert answered(engine, base, frequency_penalty=frequency, presence_penalty=presence, max_new_tokens=40) == tuple(
        expected
    )


def test_penalties_do_not_count_the_prompt() -> None:
    penalties = AnswerPenalties(1.0, 1.0)
    assert penalties(torch.zeros(1, 4)).tolist() == [[0, 0, 0, 0]]
    for token in (2, 2, 0):
        penalties.record(token)
    assert penalties(torch.zeros(1, 4)).tolist() == [[-2, 0, -3, 0]]


@given(
    logits=st.lists(st.floats(-30, 30, width=32), min_size=2, max_size=12),
    middle=st.floats(0.1, 2),
    reach=st.floats(0.05, 2),
    exponent=st.floats(0.1, 4),
)
@hypothesis_settings(max_examples=150, deadline=None)
def test_the_dynamic_temperature_follows_the_entropy(
    logits: list[float], middle: float, reach: float, exponent: float
) -> None:
    shares = [math.exp(value - max(logits)) for value in logits]
    probabilities = [share / sum(shares) for share in shares]
    entropy = -sum(p * math.log(p) for p in probabilities if p > 0)
    low, high = max(0.0, middle - reach), middle + reach
    temperature = low + (high - low) * max(0.0, min(1.0, entropy / math.log(len(logits)))) ** exponent
    scaled = DynamicTemperature(middle, reach, exponent)(torch.tensor([logits]))
    found = torch.softmax(scaled, dim=-1)[0]
    assert torch.isfinite(found).all()
    if temperature > 0.01:
        weights = [math.exp((value - max(logits)) / temperature) for value in logits]
        expected = torch.tensor([weight / sum(weights) for weight in weights])
        assert torch.allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize("vocabulary", [50, 5000])
@pytest.mark.parametrize("spread", [0.01, 1.0, 4.0])
@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9, 0.999])
def test_top_p_keeps_the_tokens_that_transformers_keeps(vocabulary: int, spread: float, top_p: float) -> None:
    generator = torch.Generator().manual_seed(vocabulary)
    scores = torch.randn(1, vocabulary, generator=generator) * spread
    ids = torch.zeros(1, 1, dtype=torch.long)
    for cut in (scores, TopKLogitsWarper(20)(ids, scores)):  # type: ignore[arg-type]
        expected = TopPLogitsWarper(top_p)(ids, cut)  # type: ignore[arg-type]
        assert torch.equal(TopP(top_p)(ids, cut), expected)


def test_a_dynamic_temperature_that_reaches_zero_keeps_the_most_probable_token() -> None:
    sure = torch.tensor([[40.0, 0.0, -3.0, 39.0]])
    sampler = Sampler(
        GenerationSettings(temperature=0.5, dynatemp_range=0.5, dynatemp_exponent=10, seed=1),
        torch.device("cpu"),
    )
    assert {sampler.choose(torch.zeros(1, 1, dtype=torch.long), sure.clone()) for _ in range(20)} == {0}


def test_a_dynamic_temperature_changes_the_answer_and_keeps_the_seed(base: Path, engine: Engine) -> None:
    plain = answered(engine, base, temperature=1.0, seed=4)
    dynamic = answered(engine, base, temperature=1.0, seed=4, dynatemp_range=0.9)
    assert dynamic != plain
    assert dynamic == answered(engine, base, temperature=1.0, seed=4, dynatemp_range=0.9)


def contrastive_reference(base: Path, alpha: float, top_k: int, steps: int, penalty: float) -> tuple[int, ...]:
    """Equation 5 of Su et al. 2022, every step computed anew from the whole text."""
    model: Any = AutoModelForCausalLM.from_pretrained(base)

    def run(ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            output = model(input_ids=ids, output_hidden_states=True)
        return output.logits[0, -1], output.hidden_states[-1][0]

    ids = prompt_ids(base)
    answer: list[int] = []
    for _ in range(steps):
        logits, _ = run(ids)
        for token in set(ids[0].tolist()):
            logits[token] = logits[token] / penalty if logits[token] > 0 else logits[token] * penalty
        probabilities, candidates = torch.softmax(logits, -1).topk(top_k)
        scores = []
        for probability, candidate in zip(probabilities, candidates, strict=True):
            _, hidden = run(torch.cat([ids, candidate.view(1, 1)], dim=1))
            likeness = torch.cosine_similarity(hidden[-1:], hidden[:-1]).max()
            scores.append(float((1 - alpha) * probability - alpha * likeness))
        answer.append(int(candidates[scores.index(max(scores))]))
        ids = torch.cat([ids, torch.tensor([[answer[-1]]])], dim=1)
    return tuple(answer)


@pytest.mark.parametrize(
    ("family", "alpha", "top_k", "penalty", "overrides"),
    [
        ("llama", 0.6, 4, 1.0, {}),
        ("llama", 1.0, 2, 1.2, {}),
        ("gpt2", 0.4, 5, 1.0, {}),
        ("mistral", 0.6, 3, 1.0, {"sliding_window": 16}),
    ],
)
def test_contrastive_search_equals_its_definition(
    family: str, alpha: float, top_k: int, penalty: float, overrides: dict[str, Any], tmp_path: Path, engine: Engine
) -> None:
    # Small weights: the candidates' probabilities lie close together, so that the comparison decides.
    base = build_tiny_base(tmp_path / "base", family, initializer_range=0.1, **overrides)
    settings = {"penalty_alpha": alpha, "top_k": top_k, "repetition_penalty": penalty, "max_new_tokens": 14}
    answer = answered(engine, base, **settings)
    assert answer == contrastive_reference(base, alpha, top_k, len(answer), penalty)
    assert answer != answered(engine, base, max_new_tokens=14, repetition_penalty=penalty)


def test_contrastive_search_answers_under_an_adapter_and_streams_text(
    base: Path, adapter: Path, engine: Engine
) -> None:
    settings = {"penalty_alpha": 0.6, "top_k": 4}
    first = result_of(engine.stream(request_for(base, adapter, PROMPT, **settings)))
    assert first.new_tokens == 24 and first.text
    assert first.token_ids != answered(engine, base, **settings)
    assert first.token_ids == answered(engine, base, adapter, **settings)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"penalty_alpha": 0.6, "temperature": 0}, "top-k is 0"),
        ({"penalty_alpha": 0.6, "temperature": 0, "top_k": 1}, "top-k is 1"),
        ({"penalty_alpha": 0.6, "temperature": 0.7, "top_k": 4}, "temperature is 0.7"),
    ],
)
def test_contradictions_are_refused_with_what_to_change(values: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingsError, match=named) as caught:
        GenerationSettings.create(**values)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("typical_p", 0, "above 0 and at most 1"),
        ("top_p", 0, "above 0 and at most 1"),
        ("frequency_penalty", 2.5, "from -2 to 2"),
        ("presence_penalty", -3, "from -2 to 2"),
        ("dynatemp_range", 3, "from 0 to 2"),
        ("dynatemp_exponent", 0, "from 0.1 to 10"),
        ("no_repeat_ngram_size", 1.5, "a whole number from 0 to 100"),
        ("penalty_alpha", 2, "from 0 to 1"),
        ("seed", -1, "a whole number from 0 to 4294967295"),
    ],
)
def test_a_value_out_of_range_is_refused_with_the_range(name: str, value: float, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        GenerationSettings.create(**{name: value})


NUMBERS = [name for name in GenerationSettings.model_fields if name not in ("stop", "seed")]


@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_is_accepted_up_to_its_bounds_and_refused_beyond_them_with_both(name: str) -> None:
    known = setting_range(name)
    assert known.minimum is not None and known.maximum is not None
    # With what contrastive search needs beside it.
    others: dict[str, Any] = {"top_k": 4, "temperature": 0} if name == "penalty_alpha" else {}
    assert getattr(GenerationSettings.create(**{**others, name: known.maximum}), name) == known.maximum
    for value in (known.minimum - 1, known.maximum + 1, "many", math.nan, math.inf, None):
        with pytest.raises(SettingsError) as caught:
            GenerationSettings.create(**{**others, name: value})
        message = caught.value.message
        assert known.label in message and f"{known.minimum:g}" in message and caught.value.hint
        assert f"{known.maximum:.0f}" in message


@pytest.mark.parametrize("stop", ["", ["END", ""], [3], 3])
def test_stop_sequences_are_texts_that_are_not_empty(stop: Any) -> None:
    with pytest.raises(SettingsError, match="Stop sequences"):
        GenerationSettings.create(stop=stop)


def test_a_script_assigns_in_any_order_and_contradictions_show_when_it_asks() -> None:
    settings = EditableGenerationSettings()
    settings.penalty_alpha = 0.6
    with pytest.raises(SettingsError, match="top-k is 0"):
        settings.frozen()
    settings.top_k, settings.temperature = 4, 0
    assert settings.frozen().penalty_alpha == 0.6
