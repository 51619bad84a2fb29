"""The live half of the adapter doctor: does an attached adapter reach the model, and does it change what it says?"""

import math
from collections.abc import Sequence
from typing import Any

from errors import AdapterError, NoEffectError, NoMatchingLayersError
from helpers.local_inference.adapter_files import AdapterFolder
from helpers.local_inference.generation_events import AdapterEffect
from helpers.local_inference.sampling import no_numbers

# Two sentences of plain words: any tokenizer has tokens for them, and a forward pass over them costs little.
PROBE_TEXT = "Question: What is the capital of France, and how does a cat sound?\nAnswer: The capital of France is"
_MOST_TRAINED_TOKENS = 16


def probe_ids(tokenizer: Any, adapter: AdapterFolder, rows: int) -> list[int]:
    """The fixed prompt as ids below ``rows``, with tokens that the adapter trained by themselves."""
    trained = adapter.config.get("trainable_token_indices") or []
    if isinstance(trained, dict):
        trained = [token for tokens in trained.values() for token in tokens]
    ids = [*tokenizer(PROBE_TEXT)["input_ids"], *trained[:_MOST_TRAINED_TOKENS]]
    return [token for token in ids if 0 <= token < rows] or [0]


def measure_effect(
    with_adapter: Any, without: "Any | None", module_names: Sequence[str], ids: Sequence[int]
) -> AdapterEffect:
    """Compare ``with_adapter(ids)`` with ``without(ids)``; each gives logits (tokens, vocabulary) in float32.

    ``without`` None = the plain base is not in memory. ``module_names``: what the adapter is attached to. The change
    is NaN where the adapter makes the numbers NaN; raises ModelError where they are without it.
    """
    if without is None:
        return AdapterEffect(len(module_names), None, None)
    adapted, plain = with_adapter(ids), without(ids)
    if plain.isnan().any():
        raise no_numbers()
    changed = (adapted.argmax(dim=-1) != plain.argmax(dim=-1)).float().mean()
    # Tokens that a model never writes have minus infinity on both sides.
    largest = math.nan if adapted.isnan().any() else float((adapted - plain).abs().nan_to_num(0).amax())
    return AdapterEffect(len(module_names), largest, float(changed))


def require_effect(effect: AdapterEffect, adapter: AdapterFolder) -> None:
    """Raises NoMatchingLayersError where it is attached to no layer, NoEffectError where it changes nothing, and
    AdapterError where it makes the numbers NaN.
    """
    if not effect.matched_layers:
        raise NoMatchingLayersError(
            f"The adapter in “{adapter.path}” matches no layer of this base model.",
            "Pick the base model that it was trained on.",
        )
    if effect.largest_logit_change is not None and math.isnan(effect.largest_logit_change):
        raise AdapterError(
            f"With the adapter in “{adapter.path}” the model computes no valid numbers (NaN); the base alone does.",
            "Its training probably failed, with a loss of NaN. Pick an earlier checkpoint, or the base model alone.",
            "The adapter's weights are no numbers",
        )
    if effect.largest_logit_change == 0:
        raise NoEffectError(
            f"The adapter in “{adapter.path}” has no effect: it is attached to {effect.matched_layers} layers, "
            "but on a fixed prompt every number the model computes is the same with and without it.",
            "It was probably saved before the first training step, or its learning rate was 0. "
            "Pick a later checkpoint, or choose the base model alone.",
        )
