"""Real models and adapters that are small enough to build inside a test.

Every base is a transformers model made from its config with random weights and a byte-level BPE tokenizer trained on
the spot; every adapter is attached and saved by PEFT. The same arguments give the same weights.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
from peft import PEFT_TYPE_TO_CONFIG_MAPPING, PeftType, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL_TOKENS = ["<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>"]
VOCABULARY_SIZE = 320
FAMILIES = ("llama", "qwen2", "qwen3", "mistral", "gemma", "gpt2")

_TEXT = (
    "user assistant system What is the capital of France? The capital of France is Paris. "
    "How does a cat sound? A cat says meow. Say hello to the sailor. Ahoy, the answer is here, matey! "
    'Answer as JSON. {"answer": "Paris", "question": "capital"} Grüße, 東京, naïve. '
)
_LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
_GPT2_LINEARS = ["c_attn", "c_proj", "c_fc"]
_DECODER = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
}
_GPT2 = {"n_embd": 32, "n_inner": 64, "n_layer": 2, "n_head": 4, "n_positions": 256}
_PROMPT_LEARNING = {"prompt_tuning", "prefix_tuning", "p_tuning"}


@cache
def tiny_tokenizer(vocabulary_size: int = VOCABULARY_SIZE, chat_template: str | None = CHAT_TEMPLATE) -> Any:
    """A byte-level BPE tokenizer with a ChatML template; it encodes and decodes any text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([_TEXT], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=None,
        eos_token="<|im_end|>",
        pad_token="<|pad|>",
        chat_template=chat_template,
        clean_up_tokenization_spaces=False,
    )


def build_tiny_base(
    folder: Path,
    family: str = "llama",
    *,
    seed: int = 0,
    dtype: str = "float32",
    tokenizer: bool = True,
    chat_template: str | None = CHAT_TEMPLATE,
    max_shard_size: str = "5GB",
    **overrides: Any,
) -> Path:
    """Save a random causal model of ``family`` (one of FAMILIES) and its tokenizer in ``folder``; return ``folder``.

    ``overrides`` are fields of the family's config, such as ``hidden_size``, ``num_hidden_layers``, ``vocab_size``.
    """
    ids = tiny_tokenizer(chat_template=chat_template)
    values: dict[str, Any] = {
        "vocab_size": len(ids),
        # Wide logits: greedy choices do not hang on rounding.
        "initializer_range": 0.3,
        "bos_token_id": None,
        "eos_token_id": ids.eos_token_id,
        "pad_token_id": ids.pad_token_id,
        **(_GPT2 if family == "gpt2" else _DECODER),
        **overrides,
    }
    with _seeded(seed):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **values))
    model.to(getattr(torch, dtype)).save_pretrained(folder, max_shard_size=max_shard_size)
    if tokenizer:
        ids.save_pretrained(folder)
    return folder


def build_tiny_adapter(
    base: Path,
    folder: Path,
    peft_type: str = "lora",
    rank: int = 4,
    train: bool = True,
    *,
    seed: int = 1,
    strength: float = 0.2,
    tokenizer: bool = False,
    **config: Any,
) -> Path:
    """Attach an adapter to the model in ``base`` and let PEFT save it in ``folder``; return ``folder``.

    ``peft_type``: "lora", "ia3", "loha", "lokr", "adalora", "prompt_tuning" ... ``train`` moves every adapter weight
    by normal noise of deviation ``strength``, as training would; without it the adapter has no effect, as saved
    before the first step. ``config`` are fields of the PEFT config: ``use_dora``, ``modules_to_save`` ...
    """
    model = AutoModelForCausalLM.from_pretrained(base)
    values = {"task_type": "CAUSAL_LM", **_defaults(peft_type, rank, model.config.model_type), **config}
    with _seeded(seed):
        peft_config = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(peft_type.upper())](**values)
        model = _attach(model, peft_config)
        if train:
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.requires_grad:
                        parameter.add_(torch.randn_like(parameter) * strength)
    model.save_pretrained(folder)
    if tokenizer:
        AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder


def _defaults(peft_type: str, rank: int, model_type: str) -> dict[str, Any]:
    gpt2 = model_type == "gpt2"
    if peft_type in _PROMPT_LEARNING:
        return {"num_virtual_tokens": rank}
    if peft_type == "ia3":
        if gpt2:
            return {"target_modules": ["c_attn", "c_fc"], "feedforward_modules": ["c_fc"], "fan_in_fan_out": True}
        return {"target_modules": ["k_proj", "v_proj", "down_proj"], "feedforward_modules": ["down_proj"]}
    targets = list(_GPT2_LINEARS if gpt2 else _LINEARS)
    values: dict[str, Any] = {"target_modules": targets}
    if peft_type in ("lora", "adalora", "vera"):
        values["fan_in_fan_out"] = gpt2
    if peft_type == "adalora":
        return {**values, "init_r": rank, "target_r": rank, "total_step": 10}
    return {**values, "r": rank, **({"lora_alpha": 2 * rank} if peft_type == "lora" else {})}


def _attach(model: Any, peft_config: Any) -> Any:
    with warnings.catch_warnings():
        # PEFT 0.21 asks transformers 5.23 by a name that the latter retires.
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        return get_peft_model(model, peft_config)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
