"""The engine's answers are those of plain transformers and PEFT, token by token."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from engine_requests import request_for, result_of
from errors import ModelLoadError, SettingsError
from helpers.local_inference import ChatMessage, FinishReason, GenerationRequest, GenerationSettings
from helpers.local_inference.engine import Engine
from tiny_models import FAMILIES, build_tiny_adapter, build_tiny_base


def plain_answer(base: Path, adapter: Path | None, request: GenerationRequest, **options: Any) -> tuple[int, ...]:
    """What a few lines of transformers and PEFT answer to the same request."""
    model: Any = AutoModelForCausalLM.from_pretrained(base)
    if adapter is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            model = PeftModel.from_pretrained(model, adapter)
    tokenizer = AutoTokenizer.from_pretrained(base)
    prompt = tokenizer.apply_chat_template(
        [{"role": message.role, "content": message.content} for message in request.messages],
        add_generation_prompt=True,
        return_tensors="pt",
    )["input_ids"]
    answer = model.generate(
        input_ids=prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=request.settings.max_new_tokens,
        **({"do_sample": False} | options),
    )
    return tuple(answer[0, prompt.shape[1] :].tolist())


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_answers_equal_transformers_and_peft_in_every_family(
    family: str, tmp_path: Path, engine: Engine
) -> None:
    base = build_tiny_base(tmp_path / "base", family)
    adapter = build_tiny_adapter(base, tmp_path / "adapter")
    for path in (adapter, None):
        request = request_for(base, path)
        assert result_of(engine.stream(request)).token_ids == plain_answer(base, path, request)


@pytest.mark.parametrize(
    "config",
    [
        {"use_rslora": True},
        {"use_dora": True},
        {"bias": "all"},
        {"target_modules": ["q_proj", "v_proj"], "layers_to_transform": [1]},
        {"target_modules": "all-linear"},
        {"modules_to_save": ["lm_head", "embed_tokens"]},
        {"target_modules": ["embed_tokens", "q_proj"]},
        {"trainable_token_indices": [40, 41, 42]},
        {"init_lora_weights": "olora"},
        {"peft_type": "ia3"},
        {"peft_type": "loha"},
    ],
    ids=lambda config: "-".join(str(key) for key in config) + f"-{next(iter(config.values()))}"[:14],
)
@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`")
@pytest.mark.filterwarnings("ignore:.*bias:UserWarning")
def test_greedy_answers_equal_plain_peft_for_every_kind_of_adapter(
    config: dict[str, Any], base: Path, adapter: Path, tmp_path: Path, engine: Engine
) -> None:
    special = build_tiny_adapter(base, tmp_path / "special", **config)
    alone = request_for(base)
    before = result_of(engine.stream(alone)).token_ids
    result_of(engine.stream(request_for(base, adapter)))

    request = request_for(base, special)
    assert result_of(engine.stream(request)).token_ids == plain_answer(base, special, request)
    assert result_of(engine.stream(alone)).token_ids == before == plain_answer(base, None, alone)


# The linears of each family's attention, and all of its model in one word.
ATTENTION = {"gpt2": ["c_attn"], "default": ["q_proj", "v_proj"]}


@pytest.mark.parametrize("family", ["qwen2", "mistral", "gemma", "gpt2"])
@pytest.mark.filterwarnings("ignore:.*tie_word_embeddings", "ignore:.*tied", "ignore:Setting `save_embedding_layers`")
def test_every_kind_of_adapter_is_exact_in_the_other_families_too(
    family: str, tmp_path: Path, engine: Engine
) -> None:
    window = {"sliding_window": 16} if family == "mistral" else {}
    base = build_tiny_base(tmp_path / "base", family, **window)
    attention = ATTENTION.get(family, ATTENTION["default"])
    kinds: dict[str, dict[str, Any]] = {
        "rslora": {"use_rslora": True},
        "dora": {"use_dora": True},
        "ia3": {"peft_type": "ia3"},
        "bias": {"bias": "lora_only"},
        "attention": {"target_modules": attention},
        "all-linear": {"target_modules": "all-linear"},
        "saved": {"target_modules": attention, "modules_to_save": ["wte" if family == "gpt2" else "embed_tokens"]},
        "tokens": {"target_modules": attention, "trainable_token_indices": [40, 41, 42]},
    }
    alone = request_for(base)
    before = result_of(engine.stream(alone)).token_ids
    for name, config in kinds.items():
        request = request_for(base, build_tiny_adapter(base, tmp_path / name, **config))
        answer = result_of(engine.stream(request)).token_ids
        assert answer == plain_answer(base, tmp_path / name, request), name
        assert answer != before, name
    assert result_of(engine.stream(alone)).token_ids == before


def test_a_prompt_of_several_chunks_is_answered_as_in_one_piece(base: Path, adapter: Path, engine: Engine) -> None:
    request = request_for(base, adapter, prompt="Say hello to the sailor. " * 60)
    result = result_of(engine.stream(request))
    assert result.prompt_tokens > 512
    assert result.token_ids == plain_answer(base, adapter, request)


def test_a_sliding_window_is_honoured_over_several_chunks(tmp_path: Path, engine: Engine) -> None:
    base = build_tiny_base(tmp_path / "base", "mistral", sliding_window=64, max_position_embeddings=4096)
    request = request_for(base, prompt="Say hello to the sailor. " * 40)
    assert result_of(engine.stream(request)).token_ids == plain_answer(base, None, request)


RECURRENT: dict[str, dict[str, Any]] = {
    # It goes on from its state one token at a time only, so a prompt in chunks would be answered wrongly in silence.
    "jamba": {
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "num_experts": 2,
        "num_experts_per_tok": 1,
        "mamba_d_state": 8,
        "use_mamba_kernels": False,
    },
    "qwen3_next": {
        "layer_types": ["linear_attention", "full_attention"],
        "num_experts": 2,
        "num_experts_per_tok": 1,
        "moe_intermediate_size": 32,
        "shared_expert_intermediate_size": 32,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
    },
    # It counts positions wrongly from its cache, so they have to be said.
    "bamba": {
        "attn_layer_indices": [1],
        "mamba_n_heads": 4,
        "mamba_d_head": 16,
        "mamba_n_groups": 1,
        "mamba_d_state": 8,
        "mamba_expand": 2,
    },
}


@pytest.mark.parametrize("family", RECURRENT)
def test_recurrent_layers_answer_over_turns_as_transformers_does(family: str, tmp_path: Path, engine: Engine) -> None:
    base = build_tiny_base(tmp_path / "base", family, max_position_embeddings=4096, **RECURRENT[family])
    request = request_for(base, prompt="Say hello to the sailor. " * 30)
    first = result_of(engine.stream(request))
    assert first.prompt_tokens > 256 and first.token_ids == plain_answer(base, None, request)
    following = (ChatMessage("assistant", first.text), ChatMessage("user", "And then?"))
    request = replace(request, messages=(*request.messages, *following))
    assert result_of(engine.stream(request)).token_ids == plain_answer(base, None, request)
    with pytest.raises(SettingsError, match="recurrent"):
        list(engine.stream(request_for(base, penalty_alpha=0.6, top_k=4)))


def test_a_model_without_keys_and_values_is_refused_by_its_type(tmp_path: Path, engine: Engine) -> None:
    base = build_tiny_base(tmp_path / "base", "mamba", state_size=4)
    with pytest.raises(ModelLoadError, match="mamba"):
        list(engine.stream(request_for(base)))


def test_added_tokens_resize_the_embeddings_to_the_rows_the_adapter_brings(
    base: Path, tmp_path: Path, engine: Engine
) -> None:
    wide = build_tiny_base(tmp_path / "wide", vocab_size=333, max_position_embeddings=100_000)
    grown = build_tiny_adapter(wide, tmp_path / "grown", modules_to_save=["lm_head", "embed_tokens"])
    resized = AutoModelForCausalLM.from_pretrained(base)
    resized.resize_token_embeddings(333, mean_resizing=False)
    resized.save_pretrained(tmp_path / "resized")
    AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path / "resized")

    alone = result_of(engine.stream(request_for(base))).token_ids
    answer = result_of(engine.stream(request_for(base, grown))).token_ids
    assert answer == plain_answer(tmp_path / "resized", grown, request_for(tmp_path / "resized"))
    assert result_of(engine.stream(request_for(base))).token_ids == alone


def test_tokens_that_an_adapter_adds_with_its_tokenizer_and_embeddings_are_used(
    base: Path, adapter: Path, tmp_path: Path, engine: Engine
) -> None:
    grown = AutoModelForCausalLM.from_pretrained(base)
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|sailor|>", "<|ahoy|>"]})
    grown.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    grown.save_pretrained(tmp_path / "grown")
    tokenizer.save_pretrained(tmp_path / "grown")
    trained = build_tiny_adapter(
        tmp_path / "grown", tmp_path / "trained", modules_to_save=["lm_head", "embed_tokens"], tokenizer=True
    )
    before = result_of(engine.stream(request_for(base, adapter))).token_ids

    request = request_for(base, trained, "<|sailor|>Say hello.<|ahoy|>")
    result = result_of(engine.stream(request))
    assert result.token_ids == plain_answer(tmp_path / "grown", trained, request)
    assert result.model.tokenizer_source == "adapter folder"
    split = result_of(engine.stream(request_for(base, adapter, "<|sailor|>Say hello.<|ahoy|>")))
    assert split.prompt_tokens > result.prompt_tokens
    assert result_of(engine.stream(request_for(base, adapter))).token_ids == before


def test_the_repetition_penalty_covers_prompt_and_answer(base: Path, adapter: Path, engine: Engine) -> None:
    request = request_for(base, adapter, repetition_penalty=1.3)
    answer = result_of(engine.stream(request)).token_ids
    assert answer == plain_answer(base, adapter, request, repetition_penalty=1.3)
    assert answer != result_of(engine.stream(request_for(base, adapter))).token_ids


@pytest.mark.parametrize(
    "sampling",
    [
        {"temperature": 1.0},
        {"temperature": 0.7, "top_k": 20},
        {"temperature": 1.5, "top_p": 0.8, "repetition_penalty": 1.2},
        {"temperature": 1.3, "top_k": 30, "top_p": 0.9, "min_p": 0.05},
    ],
    ids=str,
)
def test_sampled_answers_equal_generate_with_the_same_seed(
    sampling: dict[str, float], base: Path, engine: Engine
) -> None:
    request = request_for(base, seed=7, **sampling)
    # generate() has no seed of its own and draws from torch's global generator.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        expected = plain_answer(base, None, request, do_sample=True, **({"top_k": 0} | sampling))
    assert result_of(engine.stream(request)).token_ids == expected


def test_nothing_leaks_in_from_the_models_generation_config(tmp_path: Path, engine: Engine) -> None:
    base = build_tiny_base(tmp_path / "base")
    request = request_for(base)
    before = result_of(engine.stream(request)).token_ids
    (base / "generation_config.json").write_text(
        '{"do_sample": true, "temperature": 1.9, "repetition_penalty": 1.9, "top_k": 3, "eos_token_id": 3}'
    )
    assert result_of(engine.stream(request)).token_ids == before


def test_an_answer_ends_at_a_stop_id_of_the_generation_config(tmp_path: Path, engine: Engine) -> None:
    base = build_tiny_base(tmp_path / "base")
    free = result_of(engine.stream(request_for(base)))
    stop_id = free.token_ids[5]
    (base / "generation_config.json").write_text(f'{{"eos_token_id": [3, {stop_id}]}}')
    ended = result_of(engine.stream(request_for(base)))
    assert ended.finish_reason is FinishReason.STOP
    assert ended.token_ids == free.token_ids[: free.token_ids.index(stop_id) + 1]


def test_same_seed_same_text_other_seed_other_text(base: Path, adapter: Path, engine: Engine) -> None:
    def text(seed: int | None) -> str:
        return result_of(engine.stream(request_for(base, adapter, temperature=1.2, seed=seed))).text

    assert text(5) == text(5) != text(6)


def test_a_drawn_seed_is_recorded_and_repeats_the_answer(base: Path, engine: Engine) -> None:
    first = result_of(engine.stream(request_for(base, temperature=1.5)))
    assert first.settings.seed == first.seed
    again = result_of(engine.stream(request_for(base, temperature=1.5, seed=first.seed)))
    assert again.text == first.text


def test_a_result_records_the_settings_that_made_it(base: Path, engine: Engine) -> None:
    request = request_for(base, temperature=0.9, top_k=11, stop=("§",), seed=1)
    expected = GenerationSettings(temperature=0.9, max_new_tokens=24, top_k=11, stop=("§",), seed=1)
    assert result_of(engine.stream(request)).settings == expected
