"""Settings, datasets and numbers that the training tools left beside an adapter."""

import datetime as dt
import json
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from db import run_records, training_runs
from db.database import Database
from db.datasets import NewRow, create_with_rows
from db.models import EventKind, RunSource, RunStatus, utc_now
from helpers.run_import import add_adapter_folder, register_found, scan_for_adapters
from helpers.training_files import MOST_YAML_BYTES, TrainingFiles, read_training_files

AXOLOTL = """base_model: org/base
load_in_4bit: true
datasets:
  - path: org/pirates
    type: alpaca
  - path: ./more.jsonl
output_dir: ./outputs/pirate
sequence_len: 2048
adapter: qlora
lora_r: 16
micro_batch_size: 2
num_epochs: 3
optimizer: adamw_bnb_8bit
lr_scheduler: cosine
learning_rate: 2e-4
wandb_project:
"""
CARD = f"""---
library_name: peft
base_model: org/base
tags:
- axolotl
- generated_from_trainer
datasets:
- org/pirates
---

<details><summary>See axolotl config</summary>

axolotl version: `0.8.0`
```yaml
{AXOLOTL}
```

</details><br>

### Training hyperparameters

The following hyperparameters were used during training:
- learning_rate: 0.0002
- train_batch_size: 2
- seed: 42
- optimizer: Use adamw_bnb_8bit with betas=(0.9,0.999)

### Training results
"""
LLAMA_FACTORY = """cutoff_len: 1024
dataset: identity,alpaca_en_demo
finetuning_type: lora
gradient_accumulation_steps: 8
learning_rate: 1.0e-04
lora_rank: 8
lr_scheduler_type: cosine
model_name_or_path: org/base
per_device_train_batch_size: 1
quantization_bit: 4
stage: sft
template: qwen
hub_token: secret
"""
LOG = """{"current_steps": 10, "total_steps": 20, "loss": 1.5, "lr": 0.0001, "epoch": 0.5, "elapsed_time": "0:00:09"}
{"current_steps": 10, "total_steps": 20, "eval_loss": 1.25, "epoch": 0.5, "elapsed_time": "0:00:10"}
{"current_steps": 20, "total_steps": 20, "loss": 1.0, "lr": 0.0, "epoch": 1.0, "elapsed_time": "0:00:19"}
{"current_steps": 20, "total_ste"""


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database.open(tmp_path / "workspace" / "playground.db") as opened:
        yield opened


def _adapter(folder: Path, **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    values = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, **config}
    (folder / "adapter_config.json").write_text(json.dumps(values), encoding="utf-8")
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    return folder


def _read(folder: Path, **files: str) -> TrainingFiles:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return read_training_files([folder], folder)


@pytest.mark.parametrize("place", ["pirate/config.yml", "pirate.yml", "pirate/README.md"])
def test_axolotl_tells_its_settings_from_its_config_or_its_card(tmp_path: Path, place: str) -> None:
    folder = tmp_path / "pirate"
    folder.mkdir()
    (tmp_path / place).write_text(CARD if place.endswith("md") else AXOLOTL, encoding="utf-8")
    found = read_training_files([folder], folder)
    assert found.base_model == "org/base" and found.datasets[0] == "org/pirates" and found.notes == ()
    settings = found.hyperparameters
    assert settings["trained_with"] == "Axolotl"
    assert (settings["learning_rate"], settings["num_train_epochs"], settings["max_length"]) == (2e-4, 3, 2048)
    assert (settings["per_device_train_batch_size"], settings["optim"]) == (2, "adamw_bnb_8bit")
    assert settings["load_in_4bit"] is True


def test_a_config_above_that_writes_elsewhere_is_not_this_runs(tmp_path: Path) -> None:
    (tmp_path / "other.yml").write_text(AXOLOTL.replace("outputs/pirate", "outputs/sailor"), encoding="utf-8")
    (tmp_path / "broken.yml").write_text("a: [", encoding="utf-8")
    assert _read(tmp_path / "pirate") == TrainingFiles()


def test_llama_factory_tells_its_settings_and_numbers(tmp_path: Path) -> None:
    found = _read(tmp_path / "pirate", training_args__yaml=LLAMA_FACTORY, trainer_log__jsonl=LOG)
    assert (found.base_model, found.datasets) == ("org/base", ("identity", "alpaca_en_demo"))
    settings = found.hyperparameters
    assert settings["trained_with"] == "LLaMA-Factory" and settings["max_length"] == 1024
    assert (settings["learning_rate"], settings["chat_template"], settings["quantization_bit"]) == (1e-4, "qwen", 4)
    assert "secret" not in json.dumps(settings)
    numbers = {(row.name, row.step): row.value for row in found.metrics}
    assert numbers[("loss", 10)] == 1.5 and numbers[("eval_loss", 10)] == 1.25
    assert numbers[("learning_rate", 20)] == 0.0 and len(numbers) == 5


def test_llama_board_writes_its_settings_as_texts(tmp_path: Path) -> None:
    board = "top.quantization_bit: none\ntop.template: qwen\ntrain.batch_size: 2\ntrain.learning_rate: 5e-5\n"
    board += "train.num_train_epochs: '3.0'\ntrain.dataset:\n- identity\n"
    found = _read(tmp_path / "pirate", llamaboard_config__yaml=board)
    assert found.datasets == ("identity",) and "quantization_bit" not in found.hyperparameters
    settings = found.hyperparameters
    assert (settings["learning_rate"], settings["num_train_epochs"]) == (5e-5, 3.0)
    assert settings["per_device_train_batch_size"] == 2


def test_a_card_of_trl_or_unsloth_names_base_datasets_and_tool(tmp_path: Path) -> None:
    card = "---\nbase_model: unsloth/base\ndatasets: org/pirates\ntags:\n- unsloth\n- trl\n- sft\n---\n# Mine\n"
    found = _read(tmp_path / "pirate", README__md=card, all_results__json='{"epoch": 1.0, "train_loss": 0.5}')
    assert (found.base_model, found.datasets) == ("unsloth/base", ("org/pirates",))
    assert found.hyperparameters["trained_with"] == "Unsloth" and found.hyperparameters["train_loss"] == 0.5


DAMAGED = {
    "trainer_state.json": "{",
    "training_args.yaml": "a: [",
    "llamaboard_config.yaml": "- list",
    "trainer_log.jsonl": "nothing",
    "all_results.json": "3",
    "README.md": "---\na: [\n---\n",
    "config.yaml": "!!python/object/apply:os.system ['true']",
}


def test_what_is_damaged_too_large_or_no_file_is_left_out_and_noted(database: Database, tmp_path: Path) -> None:
    damaged, large, odd = (_adapter(tmp_path / "runs" / name) for name in ("damaged", "large", "odd"))
    for name, text in DAMAGED.items():
        (damaged / name).write_text(text, encoding="utf-8")
        if name != "trainer_log.jsonl" and name != "trainer_state.json":
            (large / name).write_text("#" * (MOST_YAML_BYTES + 1), encoding="utf-8")
        os.mkfifo(odd / name)
    for folder in (damaged, large, odd):
        (folder / "training_args.bin").write_bytes(pickle.dumps(os.system))
        with database.read_scope() as session:
            before = training_runs.count(session)
        run = add_adapter_folder(database, folder)
        with database.read_scope() as session:
            assert training_runs.count(session) == before + 1
            texts = [event.text for event in run_records.list_events(session, run.id)]
        left_out = [name for name in DAMAGED if any(text.startswith("Left out") and name in text for text in texts)]
        assert len(left_out) == (5 if folder is large else 7), texts


@pytest.mark.parametrize("bomb", ["[" * 100_000, "a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n", "\x00", "2024-99-99: x"])
def test_no_yaml_stops_a_scan(tmp_path: Path, bomb: str) -> None:
    _adapter(tmp_path / "runs" / "pirate")
    (tmp_path / "runs" / "pirate" / "training_args.yaml").write_text(bomb, encoding="utf-8")
    assert read_training_files([tmp_path / "runs" / "pirate"], tmp_path / "runs" / "pirate").metrics == ()


def test_a_scanned_run_has_base_dataset_and_settings_from_the_files(database: Database, tmp_path: Path) -> None:
    with database.session_scope() as session:
        saved = create_with_rows(session, name="identity", source="s", format="f", rows=[NewRow("a", "b")])
    folder = _adapter(tmp_path / "runs" / "pirate")
    (folder / "training_args.yaml").write_text(LLAMA_FACTORY, encoding="utf-8")
    (folder / "trainer_log.jsonl").write_text(LOG, encoding="utf-8")
    (run,) = register_found(database, scan_for_adapters(tmp_path / "runs").found)
    assert (run.base_model, run.dataset_id, run.hyperparameters["rank"]) == ("org/base", saved.id, 8)
    with database.read_scope() as session:
        assert run_records.metric_series(session, run.id, "loss", 10) == [(10, 1.5), (20, 1.0)]
        (event,) = run_records.list_events(session, run.id)
        assert event.kind == EventKind.ADDED and str(folder) in event.text


def test_a_training_that_recorded_itself_is_not_registered_again(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "pirate"
    with database.session_scope() as session:
        mine = training_runs.create(
            session, name="mine", base_model="b", status=RunStatus.COMPLETED, output_dir=str(folder),
            adapter_path=str(folder / "checkpoint-5"), started_at=utc_now() - dt.timedelta(hours=1),
        )  # fmt: skip
    _adapter(folder)
    _adapter(folder / "checkpoint-5")
    assert register_found(database, scan_for_adapters(tmp_path / "runs").found) == []
    with database.read_scope() as session:
        now = training_runs.find_or_raise(session, mine.id)
        assert (now.adapter_path, now.source) == (str(folder), RunSource.TRACKED)
        assert [saved.step for saved in run_records.list_checkpoints(session, mine.id)] == [5]
