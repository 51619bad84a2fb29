"""The command line as a user or a script meets it: in a process of its own, on a workspace of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from helpers.local_inference import GenerationSettings
from helpers.run_tracking import track_run
from tiny_models import build_tiny_adapter, build_tiny_base

SOURCE = Path(__file__).resolve().parents[1] / "src"
# One line a column and a long path: what a terminal of 80 columns would fold.
LONG_NAME = "an-adapter-with-a-rather-long-name-" + "x" * 60


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on standard output."""
        return json.loads(self.out)


Run = Callable[..., Ran]


def command(workspace: Path, *arguments: str) -> tuple[list[str], dict[str, str]]:
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "ADAPTER_PLAYGROUND_DATA": str(workspace)}
    return [sys.executable, "-m", "main", *arguments], {**environment, "HF_HUB_OFFLINE": "1"}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs ``adapter-playground`` with arguments; nothing may ever print a stack trace."""

    def run_it(*arguments: str | Path, stdin: str = "") -> Ran:
        line, environment = command(tmp_path / "workspace", *map(str, arguments))
        done = subprocess.run(line, env=environment, input=stdin, capture_output=True, text=True, cwd=tmp_path)
        assert "Traceback" not in done.stderr, done.stderr
        return Ran(done.returncode, done.stdout, done.stderr)

    return run_it


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_base(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture(scope="module")
def adapter(base: Path) -> Path:
    return build_tiny_adapter(base, base.parent / LONG_NAME)


@pytest.fixture
def broken(tmp_path: Path, adapter: Path) -> Path:
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "adapter_config.json").write_bytes((adapter / "adapter_config.json").read_bytes())
    return folder


def test_runs_that_are_added_are_listed_and_shown(run: Run, adapter: Path) -> None:
    assert run("runs", "list", "--json").document == []
    added = run("runs", "add", adapter, "--json").document[0]
    assert added["status"] == "completed"
    assert added["adapter_path"] == str(adapter)
    assert run("runs", "list", "--json").document == [added]
    shown = run("runs", "show", str(added["id"]), "--json").document
    assert shown["hyperparameters"]["rank"] == 4
    assert {**shown, **added} == shown
    assert [event["kind"] for event in shown["events"]] == ["added"]
    told = run("runs", "show", added["name"]).out
    assert told.count(LONG_NAME) >= 2 and shown["events"][0]["text"] in told


def test_a_piped_list_has_one_line_a_run_without_colours_or_cuts(run: Run, adapter: Path) -> None:
    run("runs", "add", adapter)
    header, line = run("runs", "list").out.splitlines()
    assert header.split()[:3] == ["ID", "Name", "Status"]
    assert line.split()[:3] == ["1", LONG_NAME, "completed"]
    assert str(adapter) in line
    assert "\x1b" not in header + line


def test_a_scan_adds_what_is_new_and_says_what_it_skipped(run: Run, adapter: Path, broken: Path) -> None:
    found = run("runs", "scan", adapter.parent, "--json")
    assert [document["adapter_path"] for document in found.document] == [str(adapter)]
    again = run("runs", "scan", adapter.parent)
    assert again.code == 0
    assert again.out == ""
    assert "No new adapters found" in again.err


def test_datasets_are_added_and_listed(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "examples.jsonl"
    file.write_text('{"prompt": "Hi?", "response": "Ho."}\n{"prompt": "", "response": "x"}\n', encoding="utf-8")
    added = run("datasets", "add", file, "--name", "greetings", "--json")
    assert added.document[0]["rows"] == 1
    assert "Skipped" in added.err
    assert run("datasets", "list", "--json").document == added.document
    assert "greetings" in run("datasets", "list").out


def test_a_dataset_is_renamed_to_a_free_name_only(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "examples.jsonl"
    file.write_text('{"prompt": "Hi?", "response": "Ho."}\n', encoding="utf-8")
    for name in ("first", "second"):
        run("datasets", "add", file, "--name", name)
    assert run("datasets", "rename", "first", "best", "--json").document[0]["name"] == "best"
    taken = run("datasets", "rename", "best", "second")
    assert taken.code == 2 and "Another dataset is called “second”" in taken.err
    assert run("datasets", "rename", "nothing", "x").code == 1


def test_the_workspace_is_chosen_before_or_after_the_command(run: Run, adapter: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    run("--data-dir", elsewhere, "runs", "add", adapter)
    assert len(run("runs", "list", "--json", "--data-dir", elsewhere).document) == 1
    assert run("runs", "list", "--json").document == []


def test_check_says_what_is_wrong_and_fails(run: Run, adapter: Path, broken: Path) -> None:
    good = run("check", adapter, "--json")
    assert (good.code, good.document["ok"]) == (0, True)
    bad = run("check", broken, "--json")
    assert (bad.code, bad.document["ok"]) == (1, False)
    assert bad.err == ""
    readable = run("check", broken)
    assert readable.code == 1
    assert bad.document["findings"][0]["message"] in readable.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("runs", "show", "77"), "no training run"),
        (("runs", "add", "nowhere"), "nowhere"),
        (("datasets", "add", "nowhere.csv"), "nowhere.csv"),
        (("generate", "--run", "latest", "--prompt", "x"), "no completed run"),
        (("generate", "--no-adapter", "--base-model", "./nowhere", "--prompt", "x"), "nowhere"),
        (("generate", "--adapter", "nowhere", "--prompt", "x"), "nowhere"),
    ],
)
def test_what_does_not_exist_is_named_on_stderr_with_exit_code_1(
    run: Run, arguments: tuple[str, ...], words: str
) -> None:
    failed = run(*arguments, "--json")
    assert (failed.code, failed.out) == (1, "")
    assert words in failed.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("generate", "--run", "1"), "--prompt"),
        (("generate", "--prompt", "x"), "--run"),
        (("generate", "--run", "1", "--adapter", "a", "--prompt", "x"), "--run"),
        (("generate", "--run", "1", "--prompt", "x", "--temperature", "9"), "Temperature is 9.0"),
        (("generate", "--run", "1", "--prompt", "x", "--top-k", "some"), "--top-k"),
        (("generate", "--run", "1", "--prompt", "x", "--dtype", "float1"), "--dtype"),
        (("generate", "--run", "1", "--prompt", "x", "--strength", "2.5"), "--strength"),
        (("runs", "fly"), "fly"),
        (("--port", "99999"), "--port"),
        (("--web", "runs", "list"), "--web"),
    ],
)
def test_wrong_usage_is_explained_with_exit_code_2(run: Run, arguments: tuple[str, ...], words: str) -> None:
    wrong = run(*arguments)
    assert (wrong.code, wrong.out) == (2, "")
    assert words in wrong.err


def test_every_generation_setting_has_an_option_with_its_range(run: Run) -> None:
    text = " ".join(run("generate", "--help").out.replace("│", " ").split())
    for name in GenerationSettings.model_fields:
        assert f"--{name.replace('_', '-')}" in text
    assert "Range: 0 to 2." in text


def test_generate_streams_the_same_text_that_its_json_holds(run: Run, adapter: Path) -> None:
    how = ("--adapter", adapter, "--seed", "5", "--max-new-tokens", "12", "--preset", "creative", "--stop", "\n\n\n")
    as_json = run("generate", *how, "--prompt", "What is the capital of France?", "--json")
    assert as_json.code == 0
    document = as_json.document
    assert {"text", "finish_reason", "prompt_tokens", "new_tokens", "seconds", "time_to_first_token"} <= set(document)
    assert {"tokens_per_second", "seed", "model"} <= set(document)
    assert document["settings"] == {
        **document["settings"],
        "temperature": 1.1,
        "max_new_tokens": 12,
        "stop": ["\n\n\n"],
    }
    assert document["model"]["adapter_path"] == str(adapter)
    streamed = run("generate", *how, "--prompt", "-", stdin="What is the capital of France?\n")
    assert streamed.out == document["text"] + "\n"
    assert f"{document['new_tokens']} tokens in" in streamed.err
    assert "seed 5" in streamed.err


def test_the_base_of_a_run_answers_alone(run: Run, adapter: Path, base: Path) -> None:
    run("runs", "add", adapter)
    document = run("generate", "--run", "latest", "--no-adapter", "--prompt", "Hi", "--json").document
    assert document["model"]["adapter_path"] is None
    assert document["model"]["base_model"] == str(base)


def test_the_latest_run_answers_with_an_adapter_that_was_saved_after_its_training(
    run: Run, adapter: Path, base: Path, tmp_path: Path
) -> None:
    saved = tmp_path / "out"
    with track_run("late", str(base), output_dir=saved, data_dir=tmp_path / "workspace"):
        pass
    shutil.copytree(adapter, saved, copy_function=shutil.copyfile)
    how = ("generate", "--run", "latest", "--max-new-tokens", "1")
    assert run(*how, "--prompt", "Hi", "--json").document["model"]["adapter_path"] == str(saved)


def test_an_adapter_answers_weaker_or_merged(run: Run, adapter: Path) -> None:
    how = ("generate", "--adapter", adapter, "--preset", "deterministic", "--max-new-tokens", "12", "--prompt", "Hi")
    half = run(*how, "--strength", "0.5", "--json").document
    merged = run(*how, "--strength", "0.5", "--merge", "--json").document
    assert (half["model"]["adapter_strength"], half["model"]["merged"]) == (0.5, False)
    assert merged["model"]["merged"] and any("merged" in note for note in merged["model"]["notes"])
    assert merged["text"] == half["text"]


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl+C cannot be sent to one process on Windows")
def test_ctrl_c_keeps_what_was_written(tmp_path: Path, base: Path) -> None:
    endless = ("--max-new-tokens", "100000", "--temperature", "2", "--prompt", "Tell me")
    line, environment = command(tmp_path, "generate", "--no-adapter", "--base-model", str(base), *endless)
    with subprocess.Popen(
        line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path
    ) as process:
        assert process.stdout is not None
        first = process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert first
    assert out.endswith(b"\n")
    assert b"stopped" in err
    assert b"Traceback" not in err
