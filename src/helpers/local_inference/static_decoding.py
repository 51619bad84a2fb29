"""Decoding over a cache of fixed size, compiled: an opt-in on CUDA for unquantised weights.

transformers' StaticCache keeps the shapes of one-token steps constant, so that torch.compile can record them as a
CUDA graph. Prompts, whose lengths differ, run as they are.
"""

from typing import Any

from errors import SettingsError
from helpers.local_inference.prefix_cache import TextState
from helpers.local_inference.quantization_policy import WeightsChoice
from helpers.local_inference.requests import Quantization

# Longer texts get the next multiple, so that most answers share one compiled step.
_CACHE_STEP_TOKENS = 1024


def require_static_device(device: str) -> None:
    """Raises SettingsError on anything but CUDA."""
    if device != "cuda":
        raise SettingsError(
            f"The static cache compiles decoding for a CUDA GPU, and this model computes on {device.upper()}.",
            "Switch the static cache off.",
            "The static cache needs a CUDA GPU",
        )


def require_static_weights(choice: WeightsChoice) -> None:
    """Raises SettingsError for quantised weights, whose kernels cannot be compiled."""
    if choice.quantization is not Quantization.NONE:
        raise SettingsError(
            f"The static cache needs unquantised weights, and these are {choice.label}.",
            "Choose quantization “none”, or switch the static cache off.",
        )


def static_state(config: Any, tokens: int) -> TextState:
    """Nothing computed yet, in a cache for at least ``tokens`` tokens."""
    from transformers import StaticCache

    length = -(-tokens // _CACHE_STEP_TOKENS) * _CACHE_STEP_TOKENS
    return TextState(StaticCache(config=config, max_cache_len=length))


class CompiledDecoding:
    """Calls ``module`` as it is for several tokens and compiled for one."""

    def __init__(self, module: Any) -> None:
        import torch

        self._module = module
        self._decode = torch.compile(module, mode="reduce-overhead", dynamic=False)

    def __call__(self, input_ids: Any, **options: Any) -> Any:
        """What ``module`` gives."""
        return (self._decode if input_ids.shape[1] == 1 else self._module)(input_ids=input_ids, **options)
