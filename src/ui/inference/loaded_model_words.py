"""What is known of a loaded model, as names and values to show."""

from helpers.local_inference import LoadedModel, Quantization
from helpers.local_inference.generation_events import AdapterEffect
from ui.components.doctor_report import peft_words

__all__ = ["QUANTIZATION_WORDS", "effect_words", "loaded_model_pairs", "peft_words", "strength_words"]

QUANTIZATION_WORDS = {
    Quantization.AUTO: "Automatic: chosen from device, memory and model",
    Quantization.NONE: "None: standard weights",
    Quantization.INT8: "int8: Fast 8-bit",
    Quantization.INT4: "int4: 4-bit, plain fp4",
    Quantization.NF4: "nf4: 4-bit, made for normally distributed weights",
}


def loaded_model_pairs(model: LoadedModel) -> list[tuple[str, str]]:
    """How it runs and why, where its template comes from, and what the adapter does to the base."""
    runs_as = f"{model.dtype} on {model.device}" + (f", {model.kernel}" if model.kernel else "")
    return [
        ("Runs as", runs_as),
        ("Quantisation", f"{model.quantization}. {model.quantization_reason}"),
        ("Tokenizer", model.tokenizer_source),
        ("Chat template", model.template_source),
        *([("Effect", effect_words(model.effect))] if model.effect is not None else []),
        *(("Note", note) for note in model.notes),
    ]


def strength_words(strength: float) -> str:
    """How strongly an adapter acted."""
    if strength == 0:
        return "0, as the base alone"
    return "1, as trained" if strength == 1 else f"{strength:g} times what it was trained to add"


def effect_words(effect: AdapterEffect) -> str:
    """What the adapter was measured to do right after it was attached."""
    layers = f"attached to {effect.matched_layers} layers of the base"
    if effect.largest_logit_change is None or effect.changed_top_tokens is None:
        return f"{layers}; it changes the base's own weights, so there is nothing to compare with"
    return (
        f"{layers}; on a fixed prompt it changes {effect.changed_top_tokens:.0%} of the most probable tokens, "
        f"logits by up to {effect.largest_logit_change:.1f}"
    )
