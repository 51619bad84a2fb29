"""An adapter computed into the weights of a base of its own, which then decodes as fast as a plain one.

The merged weights belong to a private copy of the base, read anew from its files. Nothing is ever taken out again by
arithmetic: the plain base in memory, its other adapters and its texts are not touched.
"""

from dataclasses import dataclass
from typing import Any

from errors import AdapterError
from helpers.local_inference.adapter_files import AdapterFolder
from helpers.local_inference.adapter_strength import why_not_added
from helpers.local_inference.attached_adapters import AttachedAdapters
from helpers.local_inference.generation_events import AdapterEffect
from helpers.local_inference.quantization_policy import WeightsChoice
from helpers.local_inference.requests import Dtype, Quantization

_LIVE = "Choose the live adapter, without merging."


@dataclass(frozen=True)
class Merge:
    """What is merged: ``adapter`` at ``strength``. ``probe_ids``: the prompt that its effect is measured on."""

    adapter: AdapterFolder
    strength: float
    probe_ids: tuple[int, ...]


def require_mergeable(adapter: AdapterFolder, choice: WeightsChoice) -> None:
    """Raises AdapterError where the adapter or the form of the weights does not allow merging."""
    if choice.quantization is not Quantization.NONE or choice.dtype is Dtype.FLOAT16:
        raise AdapterError(
            f"The adapter is not merged: the base's weights are {choice.label} in {choice.dtype}, and merging would "
            "round the adapter away.",
            f"Choose quantization “none” with float32 or bfloat16. {_LIVE}",
            "Merging needs full weights",
        )
    reason = why_not_added(adapter)
    if reason is None and adapter.peft_type != "LORA":
        reason = f"only LoRA is merged, and this is {adapter.peft_type}"
    if reason is None and adapter.config.get("lora_bias"):
        reason = "it trains biases beside its weights"
    if reason is not None:
        raise AdapterError(f"The adapter in “{adapter.path}” cannot be merged: {reason}.", _LIVE)


def merge_into(model: Any, merge: Merge) -> AdapterEffect:
    """Compute the adapter into the weights of ``model``, which nobody else uses; its effect at strength 1.

    Raises AdapterError; ``model`` is then not to be used.
    """
    import torch

    adapters = AttachedAdapters(model)
    peft: Any = adapters.activate(merge.adapter, merge.strength)
    effect = adapters.effect(merge.adapter, merge.probe_ids)
    (name,) = peft.peft_config
    with torch.no_grad():
        for module in peft.modules():
            # Attention layers have a scaling too, which is a number.
            if isinstance(getattr(module, "scaling", None), dict) and name in module.scaling:
                _merge_layer(module, name, merge.adapter)
    adapters.detach_all()
    return effect


def _merge_layer(layer: Any, name: str, adapter: AdapterFolder) -> None:
    import torch

    if getattr(layer, "lora_variant", {}).get(name) is not None:
        raise AdapterError(f"The adapter in “{adapter.path}” is a kind of LoRA that cannot be merged.", _LIVE)
    base = layer.get_base_layer()
    if name in layer.lora_embedding_A:
        first, second = layer.lora_embedding_A[name].T, layer.lora_embedding_B[name].T
    else:
        first, second = layer.lora_B[name].weight, layer.lora_A[name].weight
        if layer.fan_in_fan_out:
            first, second = second.T, first.T
    if base.weight.dim() != first.dim():
        raise AdapterError(f"The adapter in “{adapter.path}” changes layers that cannot be merged.", _LIVE)
    # In float32 and rounded once. A new tensor, because the old one may be the file itself or shared with a layer.
    merged = torch.addmm(base.weight.float(), first.float(), second.float(), alpha=layer.scaling[name])
    base.weight = torch.nn.Parameter(merged.to(base.weight.dtype), requires_grad=False)
