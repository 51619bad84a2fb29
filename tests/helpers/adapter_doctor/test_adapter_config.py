"""What is wrong with adapter_config.json."""

from typing import Any

import pytest

from adapter_bench import CONFIG, Bench, found
from errors import AdapterError
from helpers.adapter_validation import (
    Severity,
    folder_problem,
)


@pytest.mark.parametrize(
    ("content", "facts"),
    [
        (b"", ["0 bytes"]),
        (b'{"r": 4,', ["not readable JSON", "line 1 column"]),
        (b"\xff\xfe{\x00", ["not readable JSON"]),
        (b"[" * 100_000, ["not readable JSON"]),
        (b"[1, 2]", ["no JSON object"]),
        (b'{"r": 4}', ["peft_type"]),
    ],
)
def test_a_damaged_config(bench: Bench, content: bytes, facts: list[str]) -> None:
    (bench.adapter / CONFIG).write_bytes(content)
    found(bench.check(), "config_damaged", Severity.ERROR, CONFIG, *facts)
    assert (finding := folder_problem(bench.adapter)) is not None and finding.code == "config_damaged"


def test_an_unknown_adapter_type(bench: Bench) -> None:
    bench.edit_config(peft_type="HYPERLORA", peft_version="9.1.0")
    found(bench.check(), "config_unknown_type", Severity.ERROR, "HYPERLORA", "saved by PEFT 9.1.0", "Update PEFT")


def test_fields_of_a_newer_peft(bench: Bench) -> None:
    bench.edit_config(brand_new_option=True, other_new_option=None, peft_version="9.1.0")
    report = bench.check()
    finding = found(report, "config_unknown_fields", Severity.ERROR, "brand_new_option", "9.1.0")
    assert "other_new_option" not in finding.message
    bench.drop_from_config("brand_new_option")
    found(bench.check(), "config_unknown_fields", Severity.INFO, "other_new_option", "switched off")


@pytest.mark.parametrize(
    ("fields", "facts"),
    [
        ({"r": "16"}, ["'16'", "rank"]),
        ({"r": 0}, ["0", "above 0"]),
        ({"lora_alpha": "big"}, ["lora_alpha", "'big'"]),
        ({"target_modules": [1, 2]}, ["target_modules"]),
        ({"modules_to_save": "lm_head"}, ["modules_to_save"]),
        ({"rank_pattern": [1]}, ["rank_pattern"]),
        ({"base_model_name_or_path": 7}, ["7", "base model"]),
    ],
)
def test_a_wrong_value_in_the_config(bench: Bench, fields: dict[str, Any], facts: list[str]) -> None:
    bench.edit_config(**fields)
    found(bench.check(), "config_value", Severity.ERROR, *facts)


def test_an_adapter_for_another_task(bench: Bench) -> None:
    bench.edit_config(task_type="SEQ_CLS")
    found(bench.check(), "task_type", Severity.ERROR, "SEQ_CLS", "CAUSAL_LM")


@pytest.mark.parametrize(
    "fields",
    [
        {"peft_type": "XLORA"},
        {"peft_type": "PROMPT_TUNING"},
        {"alora_invocation_tokens": [5]},
        {"brand_new_option": 0},
        {"brand_new_option": {}},
        {"task_type": None},
        {"task_type": "SEQ_CLS"},
        {"task_type": "FEATURE_EXTRACTION"},
    ],
    ids=str,
)
def test_a_config_is_refused_exactly_where_the_engine_refuses_it(bench: Bench, fields: dict[str, Any]) -> None:
    from helpers.local_inference.adapter_files import peft_config, read_adapter_folder

    bench.edit_config(**fields)
    finding = folder_problem(bench.adapter)
    try:
        peft_config(read_adapter_folder(bench.adapter))
    except AdapterError:
        assert finding is not None
    else:
        assert finding is None


def test_what_is_known_of_peft_is_what_the_installed_one_says() -> None:
    from dataclasses import fields

    from peft import LoraConfig, PeftType

    from helpers.adapter_doctor.peft_facts import LORA_FIELDS, PEFT_TYPES

    assert {str(peft_type.value) for peft_type in PeftType} == PEFT_TYPES
    assert {field.name for field in fields(LoraConfig)} == LORA_FIELDS
