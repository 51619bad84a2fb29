"""What PEFT 0.21 knows, written down because importing it costs seconds and loads torch.

Tests compare the names with the installed PEFT.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

PEFT_TYPES = frozenset(
    str.split("""
    ADALORA ADAMSS ADAPTION_PROMPT BEFT BOFT C3A CARTRIDGE CPT DEFT DELORA FOURIERFT FROD GLORA GRALORA HIRA HRA IA3
    LILY LN_TUNING LOHA LOKR LORA MISS MULTITASK_PROMPT_TUNING OFT OSF PEANUT POLY PREFIX_TUNING PROMPT_TUNING PSOFT
    PVERA P_TUNING RANDLORA ROAD SHADOW SHIRA SUPERTUNING TINYLORA TRAINABLE_TOKENS UNILORA VBLORA VERA WAVEFT XLORA
    """)
)
PROMPT_LEARNING = frozenset({"PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "MULTITASK_PROMPT_TUNING", "CPT"})

# What the engine does not load, though PEFT does.
NOT_LOADABLE = PROMPT_LEARNING | {"ADAPTION_PROMPT", "CARTRIDGE", "POLY", "XLORA"}

# Fields of LoraConfig; for the other types the doctor does not judge unknown fields.
LORA_FIELDS = frozenset(
    str.split("""
    alora_invocation_tokens alpha_pattern arrow_config auto_mapping base_model_name_or_path bias corda_config
    ensure_weight_tying eva_config exclude_modules fan_in_fan_out inference_mode init_lora_weights kasa_config
    layer_replication layers_pattern layers_to_transform loftq_config lora_alpha lora_bias lora_dropout lora_ga_config
    megatron_config megatron_core modules_to_save monteclora_config peft_type peft_version qalora_group_size r
    rank_pattern revision runtime_config target_modules target_parameters task_type trainable_token_indices
    use_bdlora use_dora use_qalora use_rslora velora_config
    """)
)

# Fields that change what the weights mean, so that ranks and shapes follow other rules.
RESHAPING_FIELDS = ("target_parameters", "use_qalora", "use_bdlora", "layer_replication", "megatron_config")

# The part of each type whose weights start at zero (IA3: at one) and so have no effect before the first step;
# the source is each tuner's own initialisation in peft/tuners/*/layer.py.
STARTS_WITHOUT_EFFECT = {
    "LORA": ("lora_B", "lora_embedding_B"),
    "ADALORA": ("lora_E",),
    "LOHA": ("hada_w2_b",),
    "LOKR": ("lokr_w1", "lokr_w1_a"),
    "VERA": ("vera_lambda_b",),
    "IA3": ("ia3_l",),
}

_PARTS = (
    "lora_A|lora_B|lora_embedding_A|lora_embedding_B|lora_magnitude_vector|lora_E|lora_ranknum"
    "|ia3_l|hada_[tw][12](?:_[ab])?|lokr_(?:w[12](?:_[ab])?|t2)|vera_lambda_[bd]"
)
_KEY = re.compile(rf"(?:base_model\.model\.)?(?P<module>.+)\.(?P<part>{_PARTS})(?P<kind>\.weight|\.bias)?")
_SAVED = re.compile(r"(?:base_model\.model\.)?(?P<module>.+?)(?:\.(?:base_layer|modules_to_save))?\.weight")


@dataclass(frozen=True)
class AdapterKey:
    """A tensor name of an adapter, taken apart. ``part``: "lora_A" ...; None = a whole module saved with it."""

    module: str
    part: str | None
    is_bias: bool = False


@lru_cache(maxsize=8192)
def parse_key(name: str) -> AdapterKey | None:
    """Take a tensor name apart; None = of a form that the doctor does not judge."""
    match = _KEY.fullmatch(name)
    if match:
        return AdapterKey(match["module"], match["part"], match["kind"] == ".bias")
    saved = _SAVED.fullmatch(name)
    return AdapterKey(saved["module"], None) if saved else None
