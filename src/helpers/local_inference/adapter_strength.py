"""How strongly an adapter acts: its layers' scaling, multiplied for one request and restored exactly."""

from collections.abc import Iterator, Mapping
from typing import Any

from errors import AdapterError, SettingsError
from helpers.local_inference.adapter_files import AdapterFolder

LEAST_STRENGTH, MOST_STRENGTH = 0.0, 2.0
# What these add is a product with a factor in front, kept in ``scaling`` of each layer by PEFT 0.21.
_SCALED_TYPES = {"LORA", "ADALORA", "LOHA", "LOKR"}
_UNSCALED_OPTIONS = {
    "use_dora": "DoRA also trains the length of each weight row",
    "modules_to_save": "it replaces whole layers, and a replaced layer has no strength",
    "trainable_token_indices": "it replaces the embeddings of single tokens",
    "target_parameters": "it changes parameters that are no layers",
    "layer_replication": "it repeats layers of the base",
    "arrow_config": "it mixes several adapters",
    "use_qalora": "it averages its inputs in groups",
}


def require_strength(strength: float) -> None:
    """Raises SettingsError where ``strength`` is not from 0 to 2."""
    if not LEAST_STRENGTH <= strength <= MOST_STRENGTH:
        raise SettingsError(
            f"Adapter strength is {strength!r}; it must be a number from 0 to 2.",
            "0 gives the base's answers, 1 is the adapter as it was trained.",
        )


def require_scalable(adapter: AdapterFolder, strength: float) -> None:
    """Raises AdapterError where ``strength`` is not 1 and has no meaning for this kind of adapter.

    An adapter that also saves whole layers is refused as a whole: scaling only its other half gives a model that
    nobody trained, and 0 would not be the base.
    """
    if strength == 1:
        return
    reason = why_not_scaled(adapter.peft_type, adapter.config, adapter.rewrites_base)
    if reason is not None:
        raise AdapterError(
            f"The adapter in “{adapter.path}” cannot have the strength {strength:g}: {reason}.",
            "Set the strength to 1. For the base's answers choose the base model alone.",
            "Strength does not apply to this adapter",
        )


def why_not_added(adapter: AdapterFolder) -> str | None:
    """Why the adapter is more than something added to the base's results; None = it is not more."""
    return _why_not_added(adapter.config, adapter.rewrites_base)


def why_not_scaled(peft_type: str, config: Mapping[str, Any], rewrites_base: bool) -> str | None:
    """Why the adapter has no strength but 1; None = it has. What a config and weight names say is enough."""
    reason = _why_not_added(config, rewrites_base)
    if reason is None and peft_type not in _SCALED_TYPES:
        reason = f"adapters of the type {peft_type} do not add to the base's results"
    return reason


def _why_not_added(config: Mapping[str, Any], rewrites_base: bool) -> str | None:
    if rewrites_base:
        return "it changes the base's own weights"
    return next((reason for option, reason in _UNSCALED_OPTIONS.items() if config.get(option)), None)


class Strength:
    """The strength of one attached adapter, on the layers that carry it."""

    def __init__(self, model: Any, name: str) -> None:
        """``model``: the PEFT model; ``name``: the adapter's name on it, at the strength 1."""
        self._name = name
        self._trained = [(scaling, scaling[name]) for scaling in _scalings(model, name)]

    def set(self, strength: float) -> None:
        """Scale what the adapter adds; 1 puts the numbers back that PEFT computed."""
        for scaling, trained in self._trained:
            scaling[self._name] = trained if strength == 1 else trained * strength


def _scalings(model: Any, name: str) -> Iterator[dict[str, float]]:
    for module in model.modules():
        scaling = getattr(module, "scaling", None)
        if isinstance(scaling, dict) and name in scaling:
            yield scaling
