"""The doctor, which loads nothing, comes to the same verdict as PEFT, which loads everything."""

import warnings
from pathlib import Path
from typing import Any

import pytest
from peft import PeftModel
from transformers import AutoModelForCausalLM

from helpers.adapter_validation import validate_adapter
from tiny_models import build_tiny_adapter, build_tiny_base

BASES: dict[str, tuple[str, dict[str, Any]]] = {
    "own": ("llama", {}),
    "twin": ("qwen2", {}),
    "wide": ("llama", {"hidden_size": 64}),
    "heads": ("llama", {"num_key_value_heads": 4}),
    "inner": ("llama", {"intermediate_size": 96}),
    "deep": ("llama", {"num_hidden_layers": 3}),
    "shallow": ("llama", {"num_hidden_layers": 1}),
    "tied": ("llama", {"tie_word_embeddings": True}),
    "gpt2": ("gpt2", {}),
    "phi3": ("phi3", {"num_key_value_heads": 2}),
}
ADAPTERS: dict[str, dict[str, Any]] = {
    "lora": {},
    "attention": {"target_modules": ["q_proj", "v_proj"]},
    "down": {"target_modules": ["down_proj"]},
    "dora": {"use_dora": True},
    "first layer": {"layers_to_transform": [0]},
    "norm": {"modules_to_save": ["norm"]},
    "ia3": {"peft_type": "ia3"},
    "loha": {"peft_type": "loha"},
    "lokr": {"peft_type": "lokr"},
    "prompt": {"peft_type": "prompt_tuning"},
}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bases")
    return {name: build_tiny_base(folder / name, family, **config) for name, (family, config) in BASES.items()}


@pytest.fixture(scope="module")
def adapters(bases: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return {name: build_tiny_adapter(bases["own"], folder / name, **config) for name, config in ADAPTERS.items()}


def peft_loads_it_whole(adapter: Path, base: Path) -> bool:
    """True where PEFT attaches the adapter without missing or unexpected keys and the model then runs."""
    model = AutoModelForCausalLM.from_pretrained(base)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        try:
            loaded = PeftModel.from_pretrained(model, adapter)
            loaded(input_ids=model.dummy_inputs["input_ids"])
        except (ValueError, RuntimeError, KeyError, UserWarning):
            return False
    # Keys of layers that the base lacks are not reported: count what arrived.
    held = sum(1 for name, _ in loaded.named_parameters() if ".default" in name)
    return held == validate_adapter(adapter, str(base)).to_json()["adapter"]["tensor_count"]


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_the_verdict_is_that_of_peft(
    adapter: str, base: str, adapters: dict[str, Path], bases: dict[str, Path]
) -> None:
    report = validate_adapter(adapters[adapter], str(bases[base]))
    # The app's own engine does not load all that PEFT does.
    fits = not [finding for finding in report.errors if finding.code != "type_not_supported"]
    assert fits == peft_loads_it_whole(adapters[adapter], bases[base]), report.first_error
