"""A base model's name leads to its folder, wherever it lies, and to plain words where it does not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from errors import ModelError
from helpers import app_paths
from helpers.base_models import (
    BaseSource,
    is_hub_id,
    missing_base_message,
    missing_weights,
    read_base_config,
    resolve_base_model,
)
from tiny_models import FAMILIES, build_tiny_base


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_base(tmp_path_factory.mktemp("bases") / "tiny")


def cached_snapshot(cache: Path, name: str, revision: str, base: Path, main: bool) -> Path:
    """``base`` as the Hugging Face cache keeps a download: files in blobs, linked from snapshots/<revision>."""
    repository = cache / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / revision
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir(exist_ok=True)
    for file in base.iterdir():
        blob = repository / "blobs" / f"{revision}-{file.name}"
        blob.write_bytes(file.read_bytes())
        (snapshot / file.name).symlink_to(os.path.relpath(blob, snapshot))
    if main:
        (repository / "refs").mkdir(exist_ok=True)
        (repository / "refs" / "main").write_text(revision)
    return snapshot


def test_a_folder_is_found_as_itself(base: Path) -> None:
    found = resolve_base_model(str(base))
    assert (found.path, found.source) == (base, BaseSource.FOLDER)


def test_a_located_folder_comes_before_everything_else(base: Path, tmp_path: Path) -> None:
    recorded = r"C:\models\llama"
    found = resolve_base_model(recorded, {recorded: str(base)})
    assert (found.name, found.path, found.source) == (recorded, base, BaseSource.LOCATED)
    other = build_tiny_base(tmp_path / "other")
    assert resolve_base_model(str(base), {str(base): str(other)}).path == other


def test_a_located_folder_that_is_gone_is_no_longer_used(base: Path, tmp_path: Path) -> None:
    assert resolve_base_model("/far/away", {"/far/away": str(tmp_path / "gone")}).source is BaseSource.ELSEWHERE
    assert resolve_base_model(str(base), {str(base): str(tmp_path / "gone")}).path == base


def test_a_bundled_model_is_found_by_its_demo_name(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_paths, "assets_dir", lambda: tmp_path)
    build_tiny_base(tmp_path / "demo" / "tiny-chat")
    found = resolve_base_model("demo/tiny-chat")
    assert (found.path, found.source) == (tmp_path / "demo" / "tiny-chat", BaseSource.BUNDLED)
    assert resolve_base_model("demo/unknown", cache_dir=tmp_path).source is BaseSource.HUB
    assert resolve_base_model("demo/../..").path is None


def test_a_cached_model_is_found_by_its_id(base: Path, tmp_path: Path) -> None:
    snapshot = cached_snapshot(tmp_path, "owner/model", "abc", base, main=True)
    found = resolve_base_model("owner/model", cache_dir=tmp_path)
    assert (found.path, found.source) == (snapshot, BaseSource.CACHE)
    assert resolve_base_model("owner/other", cache_dir=tmp_path).source is BaseSource.HUB


def test_the_newest_complete_snapshot_is_used_where_the_main_one_was_not_downloaded_whole(
    base: Path, tmp_path: Path
) -> None:
    partial = cached_snapshot(tmp_path, "owner/model", "new", base, main=True)
    (partial / "model.safetensors").unlink()
    assert resolve_base_model("owner/model", cache_dir=tmp_path).source is BaseSource.HUB
    older = cached_snapshot(tmp_path, "owner/model", "old", base, main=False)
    newer = cached_snapshot(tmp_path, "owner/model", "newer", base, main=False)
    os.utime(older, (1000, 1000))
    os.utime(newer, (2000, 2000))
    assert resolve_base_model("owner/model", cache_dir=tmp_path).path == newer


def test_the_cache_of_hf_home_is_searched_and_no_torch_is_loaded(base: Path, tmp_path: Path) -> None:
    snapshot = cached_snapshot(tmp_path / "hub", "owner/model", "abc", base, main=True)
    program = (
        "import sys; from helpers.base_models import *; print(resolve_base_model('owner/model').path); "
        "read_base_config(resolve_base_model('owner/model').path); "
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE")}
    environment |= {"HF_HOME": str(tmp_path), "PYTHONPATH": str(app_paths.assets_dir().parent)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, str(snapshot)), done.stderr


def test_a_folder_named_like_a_hub_id_hides_the_hub_only_where_it_holds_a_model(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gpt2").mkdir()
    assert resolve_base_model("gpt2", cache_dir=tmp_path).source is BaseSource.HUB
    (tmp_path / "gpt2" / "config.json").write_text("{}")
    assert resolve_base_model("gpt2", cache_dir=tmp_path).source is BaseSource.FOLDER


@pytest.mark.parametrize(
    "name",
    [
        r"C:\Users\ann\llama",
        r"D:/models/llama",
        r"\\server\share\llama",
        "/home/ann/llama",
        "~/no/such/llama",
        "./no",
    ],
)
def test_a_path_of_another_machine_is_recognised(name: str) -> None:
    found = resolve_base_model(name)
    assert (found.path, found.source) == (None, BaseSource.ELSEWHERE)
    message, hint = missing_base_message(name)
    assert name in message and "not exist on this machine" in message and "Locate base model…" in hint


@pytest.mark.parametrize(
    "name", ["a/b/c", "no spaces", "-x", "x" * 97, "a--b", "bad\0name", "~someone-unknown", "ä/b"]
)
def test_a_name_that_can_be_no_id_is_said_to_be_none(name: str) -> None:
    assert resolve_base_model(name).source is BaseSource.ELSEWHERE
    assert "Locate base model…" in missing_base_message(name)[1]


def test_hub_ids_are_those_that_huggingface_hub_accepts() -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    names = [
        "gpt2",
        "o/m",
        "unsloth/Meta-Llama-3.1-8B-Instruct-bnb-4bit",
        "a",
        "a.b",
        ".a",
        "a.",
        "a-",
        "o/-m",
        "x.git",
    ]
    names += ["o/m/n", "a..b", "a--b", "_a", "a_", "", "é", "a b", "x" * 96, "x" * 97, "o/" + "x" * 94, "a/b."]
    for name in names:
        try:
            validate_repo_id(name)
            accepted = bool(name)
        except HFValidationError:
            accepted = False
        assert is_hub_id(name) == accepted, name


def test_an_id_that_is_not_here_says_it_will_be_downloaded() -> None:
    message, hint = missing_base_message("owner/model")
    assert "owner/model" in message and "downloaded" in hint


@pytest.mark.parametrize("family", FAMILIES)
def test_the_config_of_every_family_is_summarised(family: str, tmp_path: Path) -> None:
    summary = read_base_config(build_tiny_base(tmp_path, family), "owner/model")
    assert (summary.name, summary.path, summary.model_type) == ("owner/model", tmp_path, family)
    assert (summary.hidden_size, summary.num_layers, summary.num_attention_heads) == (32, 2, 4)
    assert (summary.vocabulary_size, summary.context_length, summary.head_dim) == (320, 256, 8)
    assert summary.size_bytes == (tmp_path / "model.safetensors").stat().st_size
    assert summary.quantization is None
    assert summary.tied_embeddings == (family in ("gemma", "gpt2"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, "bitsandbytes nf4"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "bitsandbytes int8"),
        ({"quant_method": "gptq", "bits": 4}, "gptq 4-bit"),
        ({"quant_method": "fp8"}, "fp8"),
    ],
)
def test_the_quantisation_of_the_stored_weights_is_named(
    settings: dict[str, object], words: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "quantization_config": settings}))
    assert read_base_config(tmp_path).quantization == words


def test_the_text_part_of_a_vision_model_is_read(tmp_path: Path) -> None:
    config = {"model_type": "gemma3", "text_config": {"model_type": "gemma3_text", "hidden_size": 640}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    summary = read_base_config(tmp_path)
    assert (summary.model_type, summary.hidden_size, summary.is_composite) == ("gemma3_text", 640, True)
    assert summary.num_layers is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "damaged"),
        (b"{", "damaged"),
        (b"[]", "no JSON object"),
        (b"\xff\xfe", "damaged"),
        (b"[" * 100_000, "damaged"),
        (b"{}", "names no model type"),
        (None, "has no config.json"),
    ],
)
def test_a_damaged_config_is_named(content: bytes | None, words: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ModelError) as caught:
        read_base_config(tmp_path)
    assert words in caught.value.message and str(tmp_path) in caught.value.message and caught.value.hint


def test_an_adapter_is_not_taken_for_a_base(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="holds an adapter, not a base model"):
        read_base_config(tmp_path)


def test_missing_weight_files_are_listed(base: Path, tmp_path: Path) -> None:
    assert missing_weights(base) == ()
    sharded = build_tiny_base(tmp_path / "sharded", max_shard_size="50KB")
    assert missing_weights(sharded) == ()
    shards = sorted(path.name for path in sharded.glob("model-*.safetensors"))
    assert len(shards) > 2
    (sharded / shards[1]).unlink()
    assert missing_weights(sharded) == (shards[1],)
    (tmp_path / "empty").mkdir()
    assert missing_weights(tmp_path / "empty") is None


def test_an_index_that_points_out_of_the_folder_is_refused(base: Path, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../../etc/passwd"}}))
    with pytest.raises(ModelError, match="does not list weight files"):
        missing_weights(tmp_path)
