"""Whatever strangers put into the files, the doctor answers with findings that can be printed: it never raises."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from adapter_bench import CONFIG, WEIGHTS, Bench, found
from helpers.adapter_doctor.peft_facts import LORA_FIELDS, PEFT_TYPES
from helpers.adapter_validation import Severity, ValidationReport, validate_adapter

any_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**400), 10**400) | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
relaxed = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def printable(report: ValidationReport) -> bool:
    """A report with at least one finding or ok, that JSON and a terminal can take."""
    json.dumps(report.to_json(), allow_nan=False)
    words = [text for finding in report.findings for text in (finding.message, finding.hint)]
    unfit = set(map(chr, range(32))) | {"\x7f", "\x9b", "\u202e", "\ud800"}
    return all(text and not unfit & set(text) and len(text) < 2100 for text in words) and (report.ok or bool(words))


@given(
    fields=st.dictionaries(st.sampled_from(sorted(LORA_FIELDS)), any_json, max_size=4),
    peft_type=st.sampled_from(sorted(PEFT_TYPES)),
)
@relaxed
def test_any_config(bench: Bench, fields: dict[str, Any], peft_type: str) -> None:
    sound = (bench.adapter / CONFIG).read_text()
    bench.edit_config(**{"peft_type": peft_type, **fields})
    assert printable(bench.check())
    (bench.adapter / CONFIG).write_text(sound)


@given(
    st.dictionaries(
        st.sampled_from(
            ["lora_A.weight", "lora_B.weight", "lokr_w1", "lokr_w2_a", "ia3_l", "hada_w1_a", "weight", "x"]
        ),
        st.lists(st.integers(0, 3), max_size=4),
        max_size=4,
    ),
    st.sampled_from(["LORA", "IA3", "LOKR", "LOHA", "VERA", "ADALORA", "PROMPT_TUNING"]),
)
@relaxed
def test_weights_of_any_shape(bench: Bench, shapes: dict[str, list[int]], peft_type: str) -> None:
    import numpy as np

    name = "base_model.model.model.layers.0.self_attn.q_proj."
    bench.edit_config(peft_type=peft_type)
    save_file({name + part: np.ones(shape, np.float32) for part, shape in shapes.items()}, bench.adapter / WEIGHTS)
    assert printable(bench.check())


@given(st.sampled_from(["config.json", "tokenizer.json", "tokenizer_config.json"]), any_json, any_json, any_json)
@relaxed
def test_any_json_beside_it(bench: Bench, name: str, one: Any, two: Any, three: Any) -> None:
    folder = bench.base if name == "config.json" else bench.adapter
    sound = (folder / name).read_text()
    model = {"vocab": two, "model_type": "llama", "text_config": one, "hidden_size": three, "num_hidden_layers": two}
    for document in (one, {**json.loads(sound), "model": one, "added_tokens": two}, {"model": model, **model}):
        (folder / name).write_text(json.dumps(document))
        assert printable(bench.check())
    (folder / name).write_text(sound)


@given(st.binary(max_size=200), st.sampled_from([b"", b"\x80\x02", b"\x80\x04", b"PK\x03\x04"]))
@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")
@relaxed
def test_any_pickle(bench: Bench, content: bytes, start: bytes) -> None:
    (bench.adapter / WEIGHTS).unlink(missing_ok=True)
    (bench.adapter / "adapter_model.bin").write_bytes(start + content)
    assert printable(bench.check())


def test_names_cannot_send_commands_to_a_terminal(bench: Bench) -> None:
    bench.edit_config(base_model_name_or_path="/models/\x1b[2J\x1b]0;owned\x07\nfoo")
    finding = found(bench.check(), "base_not_found", Severity.ERROR, "owned")
    assert finding.message.isprintable()


def test_a_folder_whose_name_is_no_text(bench: Bench) -> None:
    odd = Path(str(bench.adapter.parent) + "/\udcff\udcfe")
    try:
        shutil.copytree(bench.adapter, odd)
    except OSError:
        pytest.skip("this file system takes only text")
    (odd / WEIGHTS).unlink()
    assert printable(validate_adapter(odd))


def test_a_config_of_enormous_size_is_not_read(bench: Bench) -> None:
    with (bench.adapter / CONFIG).open("ab") as file:
        file.truncate(10 << 30)
    found(bench.check(), "config_damaged", Severity.ERROR, "larger than 32 MiB")


def test_very_long_names_are_cut(bench: Bench) -> None:
    tensors = {f"{name}{'x' * 5_000}": tensor for name, tensor in load_file(bench.adapter / WEIGHTS).items()}
    save_file(tensors, bench.adapter / WEIGHTS)
    assert printable(bench.check())
