"""The cases the doctor tells apart, at a glance: how an adapter is broken -> code -> severity."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from adapter_bench import CONFIG, WEIGHTS, Bench, checkpoints, found
from helpers.adapter_validation import Severity, validate_adapter
from tiny_models import build_tiny_adapter, build_tiny_base
from unprivileged import without_privileges

Break = Callable[[Bench], Path | None]
ERROR, WARNING, INFO = Severity.ERROR, Severity.WARNING, Severity.INFO


def remove(*names: str) -> Break:
    def broken(bench: Bench) -> None:
        for name in names:
            (bench.adapter / name).unlink()

    return broken


def write(name: str, content: bytes) -> Break:
    return lambda bench: (bench.adapter / name).write_bytes(content) and None


def config(**fields: object) -> Break:
    return lambda bench: bench.edit_config(**fields)


def cut(bench: Bench) -> None:
    path = bench.adapter / WEIGHTS
    path.write_bytes(path.read_bytes()[:-100])


def fill(value: float, part: str) -> Break:
    def changed(name: str, tensor: np.ndarray) -> np.ndarray:
        return np.full_like(tensor, value) if part in name else tensor

    return lambda bench: bench.edit_weights(changed)


def on_a_base(**overrides: int) -> Break:
    def moved(bench: Bench) -> None:
        other = build_tiny_base(bench.adapter.parent / "other", **overrides)
        bench.edit_config(base_model_name_or_path=str(other))

    return moved


def on_gpt2(bench: Bench) -> None:
    other = build_tiny_base(bench.adapter.parent / "other", "gpt2")
    bench.edit_config(base_model_name_or_path=str(other))


def without_tokenizer(bench: Bench) -> None:
    for folder in (bench.adapter, bench.base):
        for path in folder.glob("*token*"):
            path.unlink()


def without_template(bench: Bench) -> None:
    for folder in (bench.adapter, bench.base):
        for path in folder.glob("chat_template*"):
            path.unlink()


def more_tokens(bench: Bench) -> None:
    path = bench.adapter / "tokenizer.json"
    document = json.loads(path.read_text())
    document["added_tokens"].append({"id": 321, "content": "<|new|>", "special": True})
    path.write_text(json.dumps(document))


def more_rows(bench: Bench) -> None:
    saved = ["embed_tokens", "lm_head"]
    bench.adapter = build_tiny_adapter(bench.base, bench.adapter.parent / "rows", modules_to_save=saved)
    on_a_base(vocab_size=300)(bench)


def link_out(bench: Bench) -> None:
    outside = bench.adapter.parent / "outside.safetensors"
    shutil.move(bench.adapter / WEIGHTS, outside)
    (bench.adapter / WEIGHTS).symlink_to(outside)


def code_in_a_pickle(bench: Bench) -> None:
    (bench.adapter / WEIGHTS).unlink()
    (bench.adapter / "adapter_model.bin").write_bytes(b"cos\nsystem\n(S'true'\ntR.")


# fmt: off
CASES: dict[str, tuple[Break, str, Severity]] = {
    "no such folder": (lambda bench: bench.adapter / "none", "no_such_folder", ERROR),
    "not an adapter": (remove(CONFIG, WEIGHTS), "not_an_adapter", ERROR),
    "config only": (remove(WEIGHTS), "weights_missing", ERROR),
    "weights only": (remove(CONFIG), "config_missing", ERROR),
    "config damaged": (write(CONFIG, b'{"peft_type": '), "config_damaged", ERROR),
    "config of an unknown type": (config(peft_type="NEW"), "config_unknown_type", ERROR),
    "weights truncated": (cut, "weights_truncated", ERROR),
    "weights empty": (write(WEIGHTS, b""), "weights_empty", ERROR),
    "weights of zero tensors": (lambda b: save_file({}, b.adapter / WEIGHTS), "weights_no_tensors", ERROR),
    "NaN": (fill(float("nan"), "lora_A"), "weights_not_finite", ERROR),
    "Inf": (fill(float("inf"), "lora_A"), "weights_not_finite", ERROR),
    "lora_B all zero": (fill(0, "lora_B"), "never_trained", ERROR),
    "base unknown": (config(base_model_name_or_path=None), "base_unknown", ERROR),
    "base not on disk": (config(base_model_name_or_path="/home/alice/models/x"), "base_not_found", ERROR),
    "base of other shapes": (on_a_base(hidden_size=64), "shapes_differ", ERROR),
    "target modules that the base lacks": (on_gpt2, "target_modules_missing", ERROR),
    "rank differing": (config(r=8), "rank_differs", ERROR),
    "vocabulary rows differing": (more_rows, "vocabulary_rows_differ", WARNING),
    "tokenizer of another vocabulary": (more_tokens, "tokenizer_vocabulary_differs", WARNING),
    "tokenizer missing": (without_tokenizer, "tokenizer_missing", ERROR),
    "template missing": (without_template, "template_missing", WARNING),
    "a full model": (lambda bench: bench.base, "full_model", ERROR),
    "the run instead of a checkpoint": (lambda bench: checkpoints(bench, 5, 10), "checkpoint_parent", ERROR),
    "a checkpoint instead of the run": (
        lambda bench: checkpoints(bench, 5, 10) / "checkpoint-5", "checkpoint_folder", INFO),
    "a pickle that would run code": (code_in_a_pickle, "pickle_runs_code", ERROR),
    "a link out of the folder": (link_out, "link_outside", WARNING),
}
# fmt: on


@pytest.mark.parametrize("case", CASES)
def test_each_case_has_its_own_finding(case: str, bench: Bench) -> None:
    damage, code, severity = CASES[case]
    folder = damage(bench) or bench.adapter
    found(validate_adapter(folder), code, severity)


def test_a_folder_on_which_permission_is_denied(bench: Bench) -> None:
    bench.adapter.chmod(0)
    with without_privileges(bench.adapter.parent):
        report = validate_adapter(bench.adapter)
    bench.adapter.chmod(0o755)
    found(report, "permission_denied", ERROR)
