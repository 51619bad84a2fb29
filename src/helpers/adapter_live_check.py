"""The adapter doctor, live half: what an attached adapter does to its base, as findings beside the static ones."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from time import monotonic

from errors import ModelLoadError, NoEffectError, NoMatchingLayersError, PlaygroundError
from helpers.adapter_doctor.findings import Finding, ValidationReport, error, in_order, info, warning
from helpers.adapter_validation import validate_adapter
from helpers.base_models import BaseSource, resolve_base_model
from helpers.local_inference import (
    AdapterEffect,
    ChatMessage,
    GenerationFailed,
    GenerationHandle,
    GenerationRequest,
    GenerationSettings,
    ModelProcess,
    ModelReady,
    ModelSelection,
)

# Logits that move by at most d multiply no token's probability by more than exp(2 d): here 1.22, which no reader
# notices. On the demo base, three steps of Adam at a learning rate of 2e-4 move them by 0.09 and twenty by 0.7;
# rounding the base to bfloat16 moves them by 0.12.
WEAK_LOGIT_CHANGE = 0.1
# Reading a large base from a slow disk reports nothing in between.
PATIENCE_SECONDS = 900.0
_LOOK_EVERY_SECONDS = 0.1


def live_findings(effect: AdapterEffect) -> tuple[Finding, ...]:
    """What the measured effect means: none at all is an error, a very weak one a warning, else the numbers."""
    layers, change, tokens = effect.matched_layers, effect.largest_logit_change, effect.changed_top_tokens
    if not layers:
        message = "The adapter matches no layer of this base model, so the base answers as if it were not there."
        return (error("live_no_layers", message, "Pick the base model that it was trained on."),)
    if change is None or tokens is None:
        message = f"The adapter is attached to {layers} layers. It changes the base's own weights: no comparison."
        return (info("live_not_compared", message, "Nothing to do."),)
    if change == 0:
        message = f"The adapter has no effect: attached to {layers} layers, it changes no number the model computes."
        hint = "It was probably saved before the first training step. Pick a later checkpoint."
        return (error("live_no_effect", message, hint),)
    if change < WEAK_LOGIT_CHANGE and tokens == 0:
        message = (
            f"The adapter hardly has an effect: on a fixed prompt it changes logits by at most {change:.2g} and "
            "no most probable token, so answers will be almost those of the base."
        )
        return (
            warning(
                "live_weak_effect", message, "Pick a later checkpoint, train longer, or raise the learning rate."
            ),
        )
    message = (
        f"The adapter is attached to {layers} layers; on a fixed prompt it changes {tokens:.0%} of the most probable "
        f"tokens, logits by up to {change:.2g}."
    )
    return (info("live_effect", message, "Nothing to do."),)


def check_adapter(
    adapter: Path, base_model: str | None, locations: Mapping[str, str], *, live: bool
) -> ValidationReport:
    """What ``check`` says of an adapter folder; ``base_model`` None = the recorded one. ``live``: load it as well."""
    report = validate_adapter(adapter, base_model, locations)
    if not live or not report.ok or report.base_name is None:
        return report
    located = resolve_base_model(report.base_name, locations)
    base = str(located.path) if located.source is BaseSource.LOCATED else report.base_name
    return examine_live(ModelSelection(base, str(adapter.expanduser().resolve())), report)


def examine_live(
    selection: ModelSelection, static: ValidationReport | None = None, *, patience: float = PATIENCE_SECONDS
) -> ValidationReport:
    """Static findings and, where those have no error, the live ones after loading the model in its own process.

    ``static``: the report to extend, None = it is made here. The model process ends before this returns. An engine
    that cannot load the adapter, or reports nothing for ``patience`` seconds, is the finding ``live_failed``.
    Raises ValueError where ``selection`` has no adapter.
    """
    if selection.adapter_path is None:
        raise ValueError("a live check needs an adapter")
    if static is None:
        within = Path(selection.run_path) if selection.run_path else None
        static = validate_adapter(Path(selection.adapter_path), selection.base_model, within=within)
    if not static.ok:
        return static
    return replace(static, findings=in_order((*static.findings, *_loaded_findings(selection, patience))))


def _loaded_findings(selection: ModelSelection, patience: float) -> tuple[Finding, ...]:
    request = GenerationRequest(selection, (ChatMessage("user", "Hello"),), GenerationSettings(max_new_tokens=1))
    with closing(ModelProcess()) as process:
        try:
            effect = _measured_effect(process.submit(request), patience)
        except PlaygroundError as failure:
            return (_failed(failure),)
    return live_findings(effect)


def _measured_effect(handle: GenerationHandle, patience: float) -> AdapterEffect:
    """The effect, which the engine measures before the first token; raises PlaygroundError."""
    silent_since = monotonic()
    while True:
        ended = handle.wait(_LOOK_EVERY_SECONDS)
        for event in handle.drain():
            if isinstance(event, GenerationFailed):
                raise event.error
            if isinstance(event, ModelReady) and event.model.effect is not None:
                return event.model.effect
            silent_since = monotonic()
        if ended:
            raise ModelLoadError("The model did not load.", "Validate the adapter and its base model again.")
        if monotonic() - silent_since > patience:
            raise ModelLoadError(
                f"Loading the model gave no sign of life for {patience:g} seconds, so it was ended.",
                "Check the disk or network drive that the base model lies on, then try again.",
            )


def _failed(failure: PlaygroundError) -> Finding:
    match failure:
        case NoMatchingLayersError():
            code = "live_no_layers"
        case NoEffectError():
            code = "live_no_effect"
        case _:
            code = "live_failed"
    return error(code, failure.message, failure.hint)
