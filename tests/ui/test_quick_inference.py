"""Asking a run from its details, and taking it to the Inference tab, with real adapters and a real model process."""

import asyncio

from db.datasets import NewRow, create_with_rows
from ui.app_services import AppServices
from ui.app_state import WindowState
from ui.app_states import AppStates, ScreenPlace
from ui.datasets.datasets_state import DatasetsState
from ui.inference.model_choice_state import ChoicePhase
from ui.runs.quick_state import QuickState
from ui.runs.runs_state import RunsState
from ui.runs.scan_state import ScanState
from ui_desk import Desk, Window, until

LONG_ANSWER = 3000


def app_states(desk: Desk, window: Window) -> AppStates:
    """The states of one window, wired as the app wires them."""
    database, state = desk.database, window.state
    services = AppServices(database, desk.folder, desk.process, demo=False)
    quick = QuickState(services, window.notices.append)
    runs = RunsState(database, window.notices.append, quick.close, lambda: states.read_choices_again())
    datasets = DatasetsState(database, window.notices.append, on_change=state.prompt.load)
    states = AppStates(WindowState(database), state, datasets, runs, ScanState(database), quick)
    return states


async def test_a_quick_answer_ends_when_the_details_close(desk: Desk) -> None:
    window = desk.window()
    states = app_states(desk, window)
    run = desk.add_run("asked", desk.models.first)
    await states.runs.choose(run)
    await states.quick.start(run)
    quick = states.quick.desk
    assert quick is not None and quick.model.phase is ChoicePhase.READY
    quick.sampling.change(temperature=0, max_new_tokens=LONG_ANSWER)
    quick.prompt.set_text("Tell me everything.")
    answering = asyncio.create_task(quick.generate())
    await until(lambda: quick.chat.messages and quick.chat.messages[-1].new_tokens > 2)
    states.runs.close()
    assert await answering and not quick.chat.busy and states.quick.desk is None


async def test_a_quick_answer_meets_the_checks_of_the_tab(desk: Desk) -> None:
    window = desk.window()
    states = app_states(desk, window)
    adapter = desk.adapter("damaged")
    (adapter / "adapter_model.safetensors").write_bytes(b"0")
    await states.quick.start(desk.add_run("damaged", adapter))
    quick = states.quick.desk
    assert quick is not None and quick.model.phase is ChoicePhase.FAILED
    quick.prompt.set_text("Hi")
    assert not await quick.generate() and quick.chat.messages == []


async def test_no_run_takes_the_tab_over_while_it_writes_an_answer(desk: Desk) -> None:
    window = await desk.ready_window()
    states, state = app_states(desk, window), window.state
    other = desk.add_run("other", desk.models.second)
    states.window.open_screen(ScreenPlace.RUNS)
    state.sampling.change(max_new_tokens=LONG_ANSWER)
    state.prompt.set_text("Tell me everything.")
    answering = asyncio.create_task(state.generate())
    await until(lambda: state.chat.messages and state.chat.messages[-1].new_tokens > 2)
    await states.open_in_inference(other)
    assert (state.model.run_name, states.window.screen) == ("the run", ScreenPlace.RUNS)
    assert "being written" in window.notices[-1]
    state.chat.stop()
    await answering
    await states.open_in_inference(other)
    assert (state.model.run_name, states.window.screen) == ("other", ScreenPlace.INFERENCE)
    assert state.model.phase is ChoicePhase.READY


async def test_what_comes_in_on_the_runs_screen_is_offered_in_the_tab(desk: Desk) -> None:
    window = desk.window()
    states = app_states(desk, window)
    with desk.database.session_scope() as session:
        create_with_rows(session, name="fresh", format="chatml", source="x", rows=[NewRow("a", "b")])
    await states.runs.add_folder(str(desk.adapter("added")))
    assert "added" in [run.name for run in window.state.model.runs]
    assert "fresh" in [dataset.name for dataset in window.state.prompt.datasets]
