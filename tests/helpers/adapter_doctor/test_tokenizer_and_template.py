"""Where tokenizer and template come from, and whether they fit the base."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adapter_bench import Bench, checkpoints, found
from helpers.adapter_validation import (
    Severity,
    validate_adapter,
)
from tiny_models import CHAT_TEMPLATE, build_tiny_adapter, build_tiny_base


def drop_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json"):
        (folder / name).unlink(missing_ok=True)


def test_a_missing_tokenizer_is_the_bases(bench: Bench) -> None:
    drop_tokenizer(bench.adapter)
    report = bench.check()
    found(report, "tokenizer_missing", Severity.INFO, "base model's is used")
    assert report.ok and report.adapter is not None and not report.adapter.has_tokenizer


def test_no_tokenizer_anywhere(bench: Bench) -> None:
    drop_tokenizer(bench.adapter)
    drop_tokenizer(bench.base)
    found(bench.check(), "tokenizer_missing", Severity.ERROR, bench.base, "tokenizer.json")


def test_the_runs_folder_may_hold_tokenizer_and_template(bench: Bench, tmp_path: Path) -> None:
    run = checkpoints(bench, 20)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (run / "checkpoint-20" / name).rename(run / name)
    codes = [finding.code for finding in validate_adapter(run / "checkpoint-20", within=run).findings]
    assert codes == ["checkpoint_folder"]


def test_a_missing_template(bench: Bench) -> None:
    (bench.adapter / "chat_template.jinja").unlink()
    found(bench.check(), "template_missing", Severity.INFO, "base model's is used")
    (bench.base / "chat_template.jinja").unlink()
    found(bench.check(), "template_missing", Severity.WARNING, "User:", "chat_template.jinja")


def test_a_template_inside_the_tokenizers_settings_counts(bench: Bench) -> None:
    (bench.adapter / "chat_template.jinja").unlink()
    path = bench.adapter / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "chat_template": CHAT_TEMPLATE}))
    assert bench.check().findings == ()


def edit_tokenizer(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "tokenizer.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_a_tokenizer_with_more_tokens_than_the_model(bench: Bench) -> None:
    token = {"id": 321, "content": "<|new|>", "special": True}
    edit_tokenizer(bench.adapter, lambda document: document["added_tokens"].append(token))
    report = bench.check()
    found(report, "tokenizer_vocabulary_differs", Severity.WARNING, "322 tokens", "for 320", "other 2")
    assert report.ok


def test_added_tokens_are_fine_with_saved_embeddings(bench: Bench, tmp_path: Path) -> None:
    large = build_tiny_base(tmp_path / "large", vocab_size=324)
    bench.adapter = build_tiny_adapter(
        large, tmp_path / "a", modules_to_save=["embed_tokens", "lm_head"], tokenizer=True
    )
    token = {"id": 321, "content": "<|new|>", "special": True}
    edit_tokenizer(bench.adapter, lambda document: document["added_tokens"].append(token))
    codes = [finding.code for finding in bench.check(bench.base).findings]
    assert codes == ["vocabulary_rows_differ", "base_differs"]


def test_a_tokenizer_with_fewer_tokens(bench: Bench) -> None:
    def shorten(document: dict[str, Any]) -> None:
        document["model"]["vocab"] = {k: v for k, v in document["model"]["vocab"].items() if v < 300}

    edit_tokenizer(bench.adapter, shorten)
    found(bench.check(), "tokenizer_vocabulary_differs", Severity.WARNING, "300 tokens", "320")


def test_a_tokenizer_of_the_same_size_with_other_tokens(bench: Bench) -> None:
    def swap(document: dict[str, Any]) -> None:
        vocabulary = document["model"]["vocab"]
        vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]

    edit_tokenizer(bench.adapter, swap)
    found(bench.check(), "tokenizer_vocabulary_differs", Severity.WARNING, "2 of the base model's 320 tokens")


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"model": {"vocab": {"a": "x"}}}'])
def test_a_damaged_tokenizer(bench: Bench, content: bytes) -> None:
    (bench.adapter / "tokenizer.json").write_bytes(content)
    found(bench.check(), "tokenizer_damaged", Severity.ERROR, bench.adapter, "tokenizer.json")
