"""What goes wrong in the real app: a message with the next step, and nothing that was there is lost."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from db import training_runs
from db.database import Database
from db.models import RunStatus
from e2e.app_driver import AppPage
from e2e.app_server import AppServer
from e2e.inference_steps import DONE, READY, ask, choose_run, generate
from helpers.app_paths import database_path, demo_assets_dir
from tiny_models import build_tiny_adapter, build_tiny_base

Register = Callable[..., Path]
MANY_TOKENS = 1900
# Random weights of this seed write thousands of tokens before one that ends the turn.
ENDLESS = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "head_dim": 32,
    "max_position_embeddings": 8192,
    "seed": 4,
}


@pytest.fixture
def register(server: AppServer) -> Register:
    """Records a run whose adapter folder is a copy of the demo's, from another process than the app's."""

    def add(name: str, base_model: str = "demo/tiny-chat") -> Path:
        folder = server.workspace / "copies" / name
        shutil.copytree(server.workspace / "runs" / "json-answers", folder)
        record_run(server, name, base_model, folder)
        return folder

    return add


@pytest.fixture(scope="module")
def endless(server: AppServer, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A run whose model goes on and on."""
    folder = tmp_path_factory.mktemp("endless")
    base = build_tiny_base(folder / "base", **ENDLESS)
    record_run(server, "endless", str(base), build_tiny_adapter(base, folder / "adapter"))


def record_run(server: AppServer, name: str, base_model: str, folder: Path) -> None:
    with Database.open(database_path(server.workspace)) as database, database.session_scope() as session:
        training_runs.create(
            session, name=name, base_model=base_model, status=RunStatus.COMPLETED, adapter_path=str(folder)
        )


def test_a_damaged_run_locks_the_prompt_and_says_why(app: AppPage) -> None:
    app.choose("Training run", re.compile("^pirate-speak-interrupted ·"))
    app.see("adapter_model.safetensors")
    assert app.button("Generate").get_attribute("aria-disabled") == "true"
    assert app.field("Prompt").is_disabled()
    choose_run(app, "json-answers")
    assert app.button("Generate").get_attribute("aria-disabled") is None


@pytest.mark.parametrize("status", ["running", "pending", "failed"])
def test_a_run_that_is_not_completed_cannot_be_chosen(app: AppPage, status: str) -> None:
    app.open_menu("Training run")
    entry = app.option(re.compile(rf" · {status} · "))
    assert entry.get_attribute("aria-disabled") == "true"
    app.press(entry)
    app.page.keyboard.press("Escape")
    app.see("Select a completed training run to load for inference.")


def test_an_adapter_deleted_after_validation_is_noticed_and_the_history_stays(
    app: AppPage, register: Register
) -> None:
    folder = register("doomed")
    app.click("Refresh the list of runs")
    choose_run(app, "doomed")
    ask(app, "What is the capital of France?")
    shutil.rmtree(folder)
    app.click("Generate")
    app.see_no_more(READY)
    app.see("doomed")
    assert DONE in app.words() and "Paris" in app.words()


@pytest.mark.parametrize("prompt", ["", "   "])
def test_an_empty_prompt_is_refused(app: AppPage, prompt: str) -> None:
    choose_run(app, "pirate-speak")
    if prompt:
        app.type("Prompt", prompt)
    app.click("Generate")
    app.see("The prompt is empty.")


def test_a_prompt_longer_than_the_context_is_refused_with_the_numbers(app: AppPage) -> None:
    choose_run(app, "pirate-speak")
    app.paste("Prompt", "capital of France " * 900)
    app.see("too long for this model")
    app.click("Generate")
    app.see("tokens")
    app.wait_until(lambda screen: "1,024" in screen or "1024" in screen, "the context's length")
    ask(app, "What is the capital of France?")


def test_a_base_that_is_nowhere_is_explained_and_can_be_located(app: AppPage, register: Register) -> None:
    register("far-away", base_model="/home/trainer/models/tiny-chat")
    app.click("Refresh the list of runs")
    app.choose("Training run", re.compile("^far-away ·"))
    app.see("Locate base model...")
    app.click("Locate base model...")
    app.see("It is remembered.")
    app.type("Folder", str(demo_assets_dir() / "tiny-chat"))
    app.click("Use folder")
    app.see(READY)
    ask(app, "What is the capital of France?")


def test_a_base_without_network_is_explained(app: AppPage, register: Register) -> None:
    register("hub-only", base_model="someone/not-downloaded-model")
    app.click("Refresh the list of runs")
    app.choose("Training run", re.compile("^hub-only ·"))
    app.see(READY)
    app.type("Prompt", "Hello")
    app.click("Generate")
    app.see("“someone/not-downloaded-model” is not on this machine, and HF_HUB_OFFLINE forbids to download it.")
    app.see("choose “Locate base model…” and pick its folder")
    assert app.value("Prompt") == "Hello"


@pytest.mark.usefixtures("endless")
def test_the_model_process_killed_in_mid_answer(app: AppPage, server: AppServer) -> None:
    generate_at_length(app)
    app.wait_until(lambda screen: tokens_written(screen) > 20, "text to stream")
    process = server.model_process()
    assert process is not None
    process.kill()
    app.see("The model process")
    assert tokens_written(app.words()) > 20, "the text so far stays"
    choose_run(app, "pirate-speak")
    ask(app, "What is the capital of France?")


@pytest.mark.usefixtures("endless")
def test_stop_in_mid_answer_keeps_the_text(app: AppPage) -> None:
    generate_at_length(app)
    app.wait_until(lambda screen: tokens_written(screen) > 20, "text to stream")
    app.page.keyboard.press("Escape")
    app.see("stopped")
    app.see(DONE)
    assert 20 < tokens_written(app.words()) < MANY_TOKENS


def test_two_windows_on_one_workspace_keep_their_own_conversations(open_window: Callable[..., AppPage]) -> None:
    first, second = open_window(), open_window()
    choose_run(first, "pirate-speak")
    choose_run(second, "json-answers")
    ask(first, "What is the capital of France?")
    ask(second, "What is the capital of Japan?")
    assert "Japan" not in first.words() and "France" not in second.words()


def test_two_app_processes_share_a_workspace(open_window: Callable[..., AppPage], server: AppServer, browser) -> None:
    with AppServer(server.workspace) as other:
        window = AppPage.opened(browser, other.url)
        choose_run(window, "pirate-speak")
        window.click("Save as preset")
        window.see("Name")
        window.type("Name", "Shared by two")
        window.click("Save")
        window.see("Delete this preset")
        window.page.context.close()
    here = open_window()
    here.open_menu("Preset")
    here.see("Shared by two")


def generate_at_length(app: AppPage) -> None:
    """An answer that takes many seconds."""
    app.click("Refresh the list of runs")
    choose_run(app, "endless")
    app.choose("Preset", "Deterministic")
    app.type("Repetition penalty value", "1")
    app.type("Max new tokens value", str(MANY_TOKENS))
    app.type("Prompt", "Tell me a story.")
    generate(app)


def tokens_written(screen: str) -> int:
    """The token count shown under the newest answer."""
    found = re.findall(r"(\d+) tokens(?! of)", screen)
    return int(found[-1]) if found else 0
