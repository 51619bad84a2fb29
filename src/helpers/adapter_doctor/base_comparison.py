"""Does the adapter fit the base: layers, modules, shapes, vocabulary."""

from collections import Counter
from collections.abc import Mapping

from helpers.adapter_doctor.adapter_config import AdapterConfig
from helpers.adapter_doctor.base_shapes import (
    EMBEDDING_NAMES,
    HEAD_NAMES,
    BaseShapes,
    layer_number,
    leaf,
    tail,
)
from helpers.adapter_doctor.findings import Finding, Severity, count_of, error, info, some_of, warning
from helpers.adapter_doctor.module_shapes import AdaptedModule, Shape, adapted_modules
from helpers.adapter_doctor.peft_facts import RESHAPING_FIELDS, parse_key
from helpers.base_models import BaseSummary

_SPECIAL_TARGETS = ("layers_to_transform", "exclude_modules", "layers_pattern", *RESHAPING_FIELDS)
# Modules whose input is the hidden state itself.
_READS_HIDDEN = frozenset(str.split("q_proj k_proj v_proj qkv_proj gate_proj up_proj gate_up_proj c_attn c_fc"))


def compare_with_base(config: AdapterConfig, tensors: Mapping[str, Shape], shapes: BaseShapes) -> list[Finding]:
    """Findings on adapter weights (shape by tensor name) against the base's shapes."""
    if config.is_prompt_learning:
        return _prompt_width(config, tensors, shapes.summary)
    modules = adapted_modules(config, tensors)
    findings = _too_many_layers(config, modules, shapes.summary)
    if findings:
        return findings
    findings = _absent_modules(config, modules, shapes)
    findings += _other_shapes(config, modules, tensors, shapes)
    findings += _vocabulary_rows(tensors, shapes)
    findings += _saved_modules(config, tensors)
    if not any(finding.severity is Severity.ERROR for finding in findings):
        findings += _uncovered_modules(config, modules, shapes)
    return findings


def vocabulary_rows(tensors: Mapping[str, Shape]) -> int | None:
    """Rows of the embeddings or head that the adapter saved with it, None = it saved none."""
    rows = [shape[0] for _, shape in _vocabulary_tensors(tensors)]
    return max(rows, default=None)


def _vocabulary_tensors(tensors: Mapping[str, Shape]) -> list[tuple[str, Shape]]:
    found: list[tuple[str, Shape]] = []
    for name, shape in tensors.items():
        key = parse_key(name)
        if key and key.part is None and len(shape) == 2 and leaf(key.module) in (*EMBEDDING_NAMES, *HEAD_NAMES):
            found.append((key.module, shape))
    return found


def _too_many_layers(config: AdapterConfig, modules: list[AdaptedModule], base: BaseSummary) -> list[Finding]:
    last = max((number for module in modules if (number := layer_number(module.name)) is not None), default=-1)
    repeated = config.switched_on("layer_replication")
    if base.num_layers is None or base.is_composite or repeated or last < base.num_layers:
        return []
    return [error("layers_differ", _layers_message(last, base, "larger"), _right_base(config, base))]


def _absent_modules(config: AdapterConfig, modules: list[AdaptedModule], shapes: BaseShapes) -> list[Finding]:
    absent = [module.name for module in modules if shapes.has_module(module.name) is False]
    if not absent:
        return []
    base = shapes.summary
    # Experts are stored one by one and joined on loading, and a wrapped model may load in part: names can differ.
    renamed = base.has_experts or base.is_composite or config.switched_on("target_parameters")
    if renamed and len(absent) < len(modules):
        message = (
            f"“{base.name}” stores {count_of(len(absent), 'module')} that the adapter changes under other names, "
            f"such as {some_of(absent, 1)}: whether they fit shows only when it is loaded."
        )
        return [info("modules_not_compared", message, "Nothing to do.")]
    leaves = sorted({leaf(name) for name in absent})
    message = f"The base “{base.name}” has no module {some_of(leaves, 6)}, which the adapter changes."
    hint = f"{_right_base(config, base)} This one has {some_of(shapes.leaves(), 10)}."
    return [error("target_modules_missing", message, hint)]


def _other_shapes(
    config: AdapterConfig, modules: list[AdaptedModule], tensors: Mapping[str, Shape], shapes: BaseShapes
) -> list[Finding]:
    if config.switched_on(*RESHAPING_FIELDS):
        return []
    wrong = []
    for module in modules:
        known = shapes.shapes_of(module.name)
        if known and not any(module.fits(shape) for shape in known):
            wrong.append((module.name, module.described(), known[0]))
    for name, shape in _saved_tensors(config, tensors):
        known = shapes.shapes_of(name)
        # Another number of rows in the vocabulary has its own finding.
        same = [have == shape or (_is_vocabulary(name) and have[1:] == shape[1:]) for have in known]
        if known and not any(same):
            wrong.append((name, _words(shape), known[0]))
    if not wrong:
        return []
    base = shapes.summary
    name, held, expected = wrong[0]
    own_width = _hidden_size(modules)
    if own_width and base.hidden_size and own_width != base.hidden_size:
        start = (
            f"The adapter was trained on a model of hidden size {own_width}, but “{base.name}” has {base.hidden_size}"
        )
    else:
        start = f"The adapter was trained on a model of other shapes than “{base.name}”"
    count = count_of(len(wrong), "module")
    message = f"{start}. It does not fit {count}, such as “{name}” ({held} against {_words(expected)})."
    return [error("shapes_differ", message, _right_base(config, base))]


def _right_base(config: AdapterConfig, base: BaseSummary) -> str:
    if config.base_model and config.base_model != base.name:
        return f"Pick the base model “{config.base_model}”, which the adapter names."
    return "Pick the base model it was trained on; the one it names has been replaced or recorded wrongly."


def _hidden_size(modules: list[AdaptedModule]) -> int | None:
    widths = Counter(module.inputs for module in modules if leaf(module.name) in _READS_HIDDEN and module.inputs)
    return widths.most_common(1)[0][0] if widths else None


def _words(shape: Shape) -> str:
    return " × ".join(str(size) for size in shape)


def _vocabulary_rows(tensors: Mapping[str, Shape], shapes: BaseShapes) -> list[Finding]:
    saved = _vocabulary_tensors(tensors)
    counts = sorted({shape[0] for _, shape in saved})
    if len(counts) > 1:
        listed = ", ".join(f"{leaf(name)} {shape[0]:,}" for name, shape in saved)
        message = f"The adapter saved vocabularies of different sizes ({listed} rows); they must be equal."
        return [error("vocabulary_rows_differ", message, "Save the adapter again after resizing both.")]
    base_rows = {shape[0] for name, _ in saved for shape in shapes.shapes_of(name)}
    if not counts or not base_rows or counts[0] in base_rows:
        return []
    have = max(base_rows)
    message = (
        f"The adapter saved {counts[0]:,} vocabulary rows, but the base has {have:,}: "
        f"the vocabulary is resized by {counts[0] - have:+,} rows while the adapter is loaded."
    )
    hint = "Expected if tokens were added for the training; otherwise pick the base model it was trained on."
    return [warning("vocabulary_rows_differ", message, hint)]


def _saved_tensors(config: AdapterConfig, tensors: Mapping[str, Shape]) -> list[tuple[str, Shape]]:
    keys = [(key.module, shape) for name, shape in tensors.items() if (key := parse_key(name)) and key.part is None]
    return [
        (module, shape) for module, shape in keys if _is_vocabulary(module) or leaf(module) in config.modules_to_save
    ]


def _is_vocabulary(module: str) -> bool:
    return leaf(module) in (*EMBEDDING_NAMES, *HEAD_NAMES)


def _saved_modules(config: AdapterConfig, tensors: Mapping[str, Shape]) -> list[Finding]:
    lacking = [name for name in config.modules_to_save if not any(f"{name}." in tensor for tensor in tensors)]
    # Tied matrices may be saved once, under either name.
    tied = config.switched_on("ensure_weight_tying") and vocabulary_rows(tensors)
    if not lacking or tied:
        return []
    message = f"The config says that {some_of(lacking)} was trained as a whole and saved, but the weights lack it."
    hint = "Save the adapter again with the PEFT model's own save_pretrained(), or copy the complete file."
    return [error("saved_modules_missing", message, hint)]


def _uncovered_modules(config: AdapterConfig, modules: list[AdaptedModule], shapes: BaseShapes) -> list[Finding]:
    """Modules that PEFT will adapt, because the config names them, but for which there are no weights."""
    base = shapes.summary
    names = config.target_modules
    unclear = config.targets_are_pattern or not names or base.is_composite or base.has_experts
    if unclear or config.switched_on(*_SPECIAL_TARGETS) or not modules:
        return []
    held = {tail(module.name) for module in modules}
    lacking = []
    for module in shapes.modules:
        layer = layer_number(module)
        # Layers past the last one (multi-token prediction) are stored with some models, but not loaded.
        if layer is None or tail(module) in held or layer >= (base.num_layers or layer + 1):
            continue
        if any(module.endswith(f".{target}") for target in names):
            lacking.append(module)
    if not lacking:
        return []
    last = max((layer_number(module.name) or 0 for module in modules), default=0)
    if min(layer_number(module) or 0 for module in lacking) > last:
        message = _layers_message(last, base, "smaller")
        return [error("layers_differ", message, _right_base(config, base))]
    count = count_of(len(lacking), "module")
    message = f"The adapter has no weights for {count} that its config names, such as {some_of(lacking)}."
    return [error("weights_incomplete", message, "Save or copy the adapter again; it is not whole.")]


def _layers_message(last: int, base: BaseSummary, size: str) -> str:
    held = count_of(last + 1, "layer")
    return (
        f"The adapter has weights for {held}, but the base “{base.name}” has {base.num_layers}: "
        f"it was trained on a {size} model."
    )


def _prompt_width(config: AdapterConfig, tensors: Mapping[str, Shape], base: BaseSummary) -> list[Finding]:
    shape = tensors.get("prompt_embeddings")
    if shape is None or len(shape) != 2:
        return []
    tokens = config.raw.get("num_virtual_tokens")
    if type(tokens) is int and shape[0] != tokens:
        message = f"adapter_config.json says {tokens} virtual tokens, but the weights have {shape[0]}."
        return [error("rank_differs", message, "Copy config and weights from the same training output.")]
    if config.peft_type not in ("PROMPT_TUNING", "P_TUNING") or base.hidden_size in (None, shape[1]):
        return []
    message = (
        f"The virtual tokens were trained for a model of hidden size {shape[1]}, "
        f"but “{base.name}” has {base.hidden_size}."
    )
    return [error("shapes_differ", message, _right_base(config, base))]
