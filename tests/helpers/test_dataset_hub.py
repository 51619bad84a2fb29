"""Datasets of the Hugging Face hub, asked of a real server on this machine by the real command."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from errors import ImportFormatError
from fake_hub import serve_hub
from helpers.dataset_hub import HubDataset, choose_split, hub_dataset_of

SOURCE = Path(__file__).resolve().parents[2] / "src"
NAME = "some-owner/some-data"
TOKEN = "hf_" + "SecretOfThisTest"


def _rows(count: int) -> str:
    return "".join(json.dumps({"prompt": f"p{number}", "response": "r"}) + "\n" for number in range(count))


@dataclass(frozen=True)
class Hub:
    """Runs the command against the server at ``endpoint``."""

    folder: Path
    endpoint: str

    def add(self, *arguments: str, **variables: str) -> tuple[int, str]:
        """The exit code and all that was printed."""
        settings = {
            "PYTHONPATH": str(SOURCE),
            "ADAPTER_PLAYGROUND_DATA": str(self.folder / "workspace"),
            "HF_HOME": str(self.folder / "hub"),
            "HF_ENDPOINT": self.endpoint,
        }
        done = subprocess.run(
            [sys.executable, "-m", "main", "datasets", "add", *arguments, "--json"],
            env={**os.environ, **settings, **variables},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout + done.stderr


def _repository(folder: Path, files: dict[str, str]) -> Path:
    repository = folder / "repository"
    for name, content in files.items():
        path = repository / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return repository


def _everything_on_disk(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_split_is_read_from_the_hub_and_what_is_missing_is_named(tmp_path: Path) -> None:
    files = {"README.md": "# Data\n", "train.jsonl": _rows(3), "test.jsonl": _rows(2) + "{}\n"}
    with serve_hub(NAME, _repository(tmp_path, files), "datasets") as server:
        hub = Hub(tmp_path, server.endpoint)
        code, printed = hub.add(NAME)
        assert code == 0, printed
        saved = json.loads(printed)[0]
        assert (saved["rows"], saved["name"], saved["source"]) == (3, "some-data", f"{NAME} (train)")
        code, printed = hub.add(NAME, "--split", "test")
        assert code == 0 and '"rows": 2' in printed and "the prompt is empty" in printed
        code, printed = hub.add(f"{NAME}:french")
        assert code == 1 and "no configuration “french”" in printed and "default" in printed
        code, printed = hub.add("some-owner/nothing")
        assert code == 1 and "no dataset of this name on Hugging Face" in printed
        code, printed = hub.add(NAME, HF_HUB_OFFLINE="1")
        assert code == 1 and "HF_HUB_OFFLINE" in printed
    # The hub is gone now.
    code, printed = hub.add(NAME)
    assert code == 1 and "cannot be reached" in printed


CARD = """---
configs:
- config_name: en
  data_files: [{split: validation, path: "en/validation*"}, {split: test, path: "en/test*"}]
- config_name: fr
  data_files: [{split: test, path: "fr/test*"}]
---
"""


def test_configurations_are_named_and_chosen(tmp_path: Path) -> None:
    files = {"README.md": CARD, "en/validation.jsonl": _rows(2), "en/test.jsonl": _rows(3), "fr/test.jsonl": _rows(4)}
    with serve_hub(NAME, _repository(tmp_path, files), "datasets") as server:
        hub = Hub(tmp_path, server.endpoint)
        code, printed = hub.add(NAME)
        assert code == 1 and "several configurations" in printed and "en, fr" in printed
        code, printed = hub.add(f"{NAME}:en")
        assert code == 1 and "several splits" in printed and "validation, test" in printed
        code, printed = hub.add(f"{NAME}:fr")
        assert code == 0 and '"rows": 4' in printed and f"{NAME}:fr (test)" in printed


def test_a_token_opens_a_private_dataset_and_is_kept_nowhere(tmp_path: Path) -> None:
    with serve_hub(NAME, _repository(tmp_path, {"train.jsonl": _rows(3)}), "datasets", token=TOKEN) as server:
        hub = Hub(tmp_path, server.endpoint)
        code, printed = hub.add(NAME, "--hf-key", TOKEN)
        assert code == 0 and TOKEN not in printed
        code, printed = hub.add(NAME, HF_TOKEN=TOKEN)
        assert code == 0 and TOKEN not in printed
        code, printed = hub.add(NAME, "--hf-key", TOKEN + "Wrong")
        assert code == 1 and "private" in printed and TOKEN not in printed
    assert TOKEN.encode() not in _everything_on_disk(tmp_path)


@pytest.mark.parametrize(
    ("files", "gated", "words"),
    [
        ({"train.jsonl": _rows(1)}, True, "gated"),
        ({"README.md": "Nothing yet."}, False, "no file of examples"),
        ({"train.jsonl": '{"prompt": "a", "response": "b"}\n{broken\n'}, False, "cannot be read"),
    ],
)
def test_a_dataset_that_gives_no_examples_says_why(
    tmp_path: Path, files: dict[str, str], gated: bool, words: str
) -> None:
    with serve_hub(NAME, _repository(tmp_path, files), "datasets", gated=gated) as server:
        code, printed = Hub(tmp_path, server.endpoint).add(NAME)
    assert code == 1 and words in printed, printed


def test_a_path_is_told_from_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here" / "folder").mkdir(parents=True)
    assert hub_dataset_of("owner/name") == hub_dataset_of(Path("owner/name")) == HubDataset("owner/name")
    assert hub_dataset_of(" owner/na.me-2:config_1 ") == HubDataset("owner/na.me-2", "config_1")
    for path in (
        "here/folder",
        "data/rows.jsonl",
        "data/rows.CSV",
        "name",
        "a/b/c",
        "/a/b",
        "./a",
        "../a",
        "C:\\a",
        "",
    ):
        assert hub_dataset_of(path) is None, path


def test_the_split_is_train_or_the_only_one_else_it_is_asked_for() -> None:
    assert choose_split("x", ["test", "train"], None) == "train"
    assert choose_split("x", ["dev"], None) == "dev"
    assert choose_split("x", ["dev", "train"], "dev") == "dev"
    with pytest.raises(ImportFormatError, match="dev, test"):
        choose_split("x", ["dev", "test"], None)
    with pytest.raises(ImportFormatError, match="no split"):
        choose_split("x", [], "dev")
