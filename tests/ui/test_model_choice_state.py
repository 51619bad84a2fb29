"""Choosing a run, a base and a folder: what is validated, what is refused, and what stays."""

import asyncio
import os
import shutil
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from db import settings, training_runs
from db.models import RunStatus
from errors import AdapterError, NotFoundError, SettingsError
from held_threads import HeldThreads
from helpers.local_inference import Quantization
from helpers.local_inference.adapter_files import read_adapter_folder
from helpers.local_inference.adapter_strength import require_scalable
from helpers.model_choice import choose_model, find_usable_run_or_raise
from tiny_models import build_tiny_adapter
from ui.inference.model_choice_state import ChoicePhase, ModelChoiceState
from ui_desk import WEIGHTS, Desk, until


async def choice(desk: Desk) -> tuple[ModelChoiceState, list[str]]:
    """The choice of a new window that has read the runs, and its snackbars."""
    window = desk.window()
    await window.state.model.load()
    return window.state.model, window.notices


def truncate(adapter: Path) -> None:
    weights = adapter / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-100])


async def test_choosing_a_run_validates_it_and_says_so_in_the_products_words(desk):
    run = desk.add_run("pirate", desk.models.first)
    model, notices = await choice(desk)
    assert (model.phase, model.status) == (ChoicePhase.IDLE, "Select a completed training run to load for inference.")
    assert model.base_model == "unsloth/Meta-Llama-3.1-8B-Instruct-bnb-4bit"
    seen = []

    def listen(_: object, field: str) -> None:
        if field == "phase":
            seen.append(model.phase)

    model.subscribe(listen)
    await model.select_run(run)
    assert seen == [ChoicePhase.VALIDATING, ChoicePhase.READY]
    assert model.status == "Adapter validated. Ready for inference."
    assert model.base_model == str(desk.models.base)
    assert model.report.ok and model.report.adapter.path == desk.models.first
    assert (model.run_id, model.run_name, notices) == (run, "pirate", [])


@pytest.mark.parametrize(
    ("status", "error", "reason"),
    [
        (RunStatus.PENDING, None, "not started"),
        (RunStatus.RUNNING, None, "still training"),
        (RunStatus.FAILED, "CUDA out of memory", "CUDA out of memory"),
    ],
)
async def test_an_unfinished_run_is_listed_refused_with_its_reason_and_the_earlier_choice_stays(
    desk, status, error, reason
):
    good = desk.add_run("good", desk.models.first)
    other = desk.add_run("other", desk.models.second, status=status, error=error)
    model, notices = await choice(desk)
    await model.select_run(good)
    await model.select_run(other)
    listed = next(run for run in model.runs if run.id == other)
    assert reason in listed.blocked and status.value in listed.label
    assert len(notices) == 1 and "other" in notices[0] and reason in notices[0]
    assert (model.run_id, model.phase, model.adapter_path) == (good, ChoicePhase.READY, str(desk.models.first))


async def test_a_run_whose_folder_is_gone_is_refused_also_when_it_went_after_the_list_was_read(desk):
    good = desk.add_run("good", desk.models.first)
    before, after = desk.adapter("gone before"), desk.adapter("gone after")
    runs = {folder: desk.add_run(folder.name, folder) for folder in (before, after)}
    shutil.rmtree(before)
    model, notices = await choice(desk)
    shutil.rmtree(after)
    await model.select_run(good)
    for folder, run in runs.items():
        await model.select_run(run)
        assert str(folder) in notices[-1] and folder.name in notices[-1]
    assert len(notices) == 2
    assert all(run.blocked for run in model.runs if run.id in runs.values())
    assert (model.run_id, model.phase) == (good, ChoicePhase.READY)


async def test_a_completed_run_whose_folder_is_no_adapter_is_listed_with_the_reason_and_never_the_latest(desk):
    good = desk.add_run("good", desk.models.first)
    broken = desk.adapter("broken")
    (broken / WEIGHTS).unlink()
    run = desk.add_run("broken", broken)
    model, notices = await choice(desk)
    listed = model.runs[0]
    assert listed.id == run and WEIGHTS in listed.blocked and "not usable" in listed.label
    await model.use_latest_run()
    assert (model.run_id, notices) == (good, [])
    await model.select_run(run)
    assert (model.run_id, model.phase) == (good, ChoicePhase.READY) and WEIGHTS in notices[0]


async def test_a_run_that_ended_after_the_list_was_read_can_be_chosen(desk):
    run = desk.add_run("fresh", desk.models.first, status=RunStatus.RUNNING)
    model, notices = await choice(desk)
    with desk.database.session_scope() as session:
        training_runs.set_status(session, run, RunStatus.COMPLETED)
    await model.select_run(run)
    assert (model.run_id, model.phase, notices) == (run, ChoicePhase.READY, [])


async def test_the_latest_completed_run_is_the_newest_that_can_be_used(desk):
    gone = desk.adapter("gone")
    desk.add_run("old", desk.models.first)
    wanted = desk.add_run("wanted", desk.models.second)
    desk.add_run("gone", gone)
    desk.add_run("failed", desk.models.first, status=RunStatus.FAILED)
    shutil.rmtree(gone)
    model, notices = await choice(desk)
    await model.use_latest_run()
    assert (model.run_id, model.phase, notices) == (wanted, ChoicePhase.READY, [])


async def test_latest_means_the_same_as_on_the_command_line(desk):
    def day(number: int) -> datetime:
        return datetime(2026, 1, number, tzinfo=UTC)

    desk.add_run("short", desk.models.first, finished_at=day(2))
    desk.add_run("long", desk.models.second, finished_at=day(9))
    desk.add_run("shorter", desk.models.first, finished_at=day(3))
    with desk.database.read_scope() as session:
        latest = find_usable_run_or_raise(session, "latest")
    model, _ = await choice(desk)
    await model.use_latest_run()
    assert (model.run_name, model.run_id) == ("long", latest.id)


async def test_a_hundred_newer_failures_do_not_hide_the_latest_completed_run(desk):
    wanted = desk.add_run("wanted", desk.models.first)
    for number in range(101):
        desk.add_run(f"failure {number}", status=RunStatus.FAILED)
    model, _ = await choice(desk)
    await model.use_latest_run()
    assert (model.run_id, model.run_name, model.phase) == (wanted, "wanted", ChoicePhase.READY)


async def test_without_any_usable_run_the_latest_is_not_chosen_and_the_next_step_is_said(desk):
    desk.add_run("failed", status=RunStatus.FAILED)
    model, notices = await choice(desk)
    await model.use_latest_run()
    assert model.phase is ChoicePhase.IDLE and model.run_id is None
    assert len(notices) == 1 and "Add an adapter folder" in notices[0]


async def test_a_damaged_adapter_fails_with_its_cause_and_the_next_step_and_tells_so(desk):
    damaged = desk.adapter("damaged")
    truncate(damaged)
    run = desk.add_run("damaged", damaged)
    model, notices = await choice(desk)
    await model.select_run(run)
    assert model.phase is ChoicePhase.FAILED
    assert model.status == model.report.first_error.message and model.hint == model.report.first_error.hint
    assert WEIGHTS in model.status or "weights" in model.status
    assert model.hint and notices == [f"{model.status} {model.hint}"]


@pytest.mark.parametrize("quick", ["first", "second"])
async def test_the_run_chosen_last_wins_whichever_validation_ends_first(desk, quick):
    adapters = {"first": desk.adapter("a"), "second": desk.adapter("b")}
    truncate(adapters["first"])
    model, notices = await choice(desk)
    threads = HeldThreads()
    asyncio.get_running_loop().set_default_executor(threads)
    holds = {name: ExitStack() for name in adapters}
    clicks = {}
    for name, adapter in adapters.items():
        holds[name].enter_context(threads.hold(adapter))
        clicks[name] = asyncio.ensure_future(model.select_run(desk.add_run(name, adapter)))
    await until(lambda: model.adapter_path == str(adapters["second"]))
    holds[quick].close()
    await clicks[quick]
    assert model.phase is (ChoicePhase.READY if quick == "second" else ChoicePhase.VALIDATING)
    holds["first" if quick == "second" else "second"].close()
    await asyncio.gather(*clicks.values())
    assert (model.run_name, model.phase, notices) == ("second", ChoicePhase.READY, [])
    assert model.report.adapter.path == adapters["second"]


async def test_the_run_chosen_last_wins_when_its_record_is_read_first(desk):
    slow = desk.add_run("slow", desk.models.first)
    last = desk.add_run("last", desk.models.second)
    model, _ = await choice(desk)
    threads = HeldThreads()
    asyncio.get_running_loop().set_default_executor(threads)
    with threads.hold(slow):
        clicks = [asyncio.ensure_future(model.select_run(run)) for run in (slow, last)]
        # The second may end before the first or wait for it; neither may let the first have the last word.
        await asyncio.wait(clicks, timeout=0.3, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.gather(*clicks)
    assert (model.run_id, model.adapter_path) == (last, str(desk.models.second))
    assert model.phase is ChoicePhase.READY and model.report.adapter.path == desk.models.second


async def test_many_quick_choices_end_with_the_last(desk):
    runs = [desk.add_run(name, desk.adapter(name)) for name in "abcd"]
    model, notices = await choice(desk)
    for last in runs:
        await asyncio.gather(*(model.select_run(run) for run in [*runs, last]))
        assert (model.run_id, model.phase) == (last, ChoicePhase.READY)
        assert model.report.adapter.path == Path(model.adapter_path)
    assert notices == []


async def test_a_validation_that_cannot_run_does_not_leave_a_spinner_for_ever(desk):
    run = desk.add_run("run", desk.models.first)
    model, _ = await choice(desk)
    await model.select_run(run)
    threads = HeldThreads()
    asyncio.get_running_loop().set_default_executor(threads)
    threads.shutdown()
    with pytest.raises(RuntimeError):
        await model.change_base_model(str(desk.models.other_base))
    assert model.phase is ChoicePhase.FAILED and model.status and model.hint


async def test_another_base_model_is_validated_again_and_the_first_one_too(desk):
    run = desk.add_run("run", desk.models.first)
    model, notices = await choice(desk)
    await model.select_run(run)
    await model.change_base_model(str(desk.models.other_base))
    assert model.phase is ChoicePhase.FAILED and len(notices) == 1
    await model.change_base_model(f"  {desk.models.base} ")
    assert (model.phase, model.base_model) == (ChoicePhase.READY, str(desk.models.base))
    report = model.report
    for unchanged in (str(desk.models.base), "", "   "):
        await model.change_base_model(unchanged)
        assert model.report is report, "nothing changed, so nothing is read again"


async def test_a_located_base_is_remembered_over_a_restart(desk):
    run = desk.add_run("moved", desk.models.first, base_model="/training/machine/base")
    model, notices = await choice(desk)
    await model.select_run(run)
    assert model.phase is ChoicePhase.FAILED and model.base_is_missing and len(notices) == 1
    await model.locate_base_model(str(desk.models.base))
    assert model.phase is ChoicePhase.READY and not model.base_is_missing
    restarted, notices = await choice(desk)
    await restarted.select_run(run)
    assert (restarted.phase, notices) == (ChoicePhase.READY, [])
    assert restarted.base_model == "/training/machine/base"
    assert restarted.selection.base_model == str(desk.models.base)


async def test_one_location_serves_every_run_of_that_base_also_on_the_command_line_until_it_is_forgotten(desk):
    recorded = "/home/alice/models/base"
    first, second = (desk.add_run(name, desk.models.first, base_model=recorded) for name in ("one", "two"))
    model, _ = await choice(desk)
    await model.select_run(first)
    await model.locate_base_model(str(desk.models.base))
    await model.select_run(second)
    assert model.phase is ChoicePhase.READY
    with desk.database.read_scope() as session:
        chosen = choose_model(session, run="two", adapter=None, use_adapter=True, base_model=None)
    assert chosen.base_model == model.selection.base_model == str(desk.models.base)
    await model.forget_base_location(recorded)
    assert model.phase is ChoicePhase.FAILED and model.base_is_missing
    restarted, _ = await choice(desk)
    assert restarted.locations == {}
    with desk.database.read_scope() as session, pytest.raises(AdapterError, match="does not exist on this machine"):
        choose_model(session, run="two", adapter=None, use_adapter=True, base_model=None)


async def test_a_base_that_is_not_downloaded_can_be_located(desk):
    run = desk.add_run("hub", desk.models.first, base_model="no-such-owner/no-such-model")
    model, _ = await choice(desk)
    await model.select_run(run)
    assert model.phase is ChoicePhase.READY and model.base_is_missing
    await model.locate_base_model(str(desk.models.base))
    assert model.phase is ChoicePhase.READY and not model.base_is_missing


async def test_a_wrong_folder_for_a_base_can_be_corrected(desk):
    run = desk.add_run("moved", desk.models.first, base_model="/training/machine/base")
    model, _ = await choice(desk)
    await model.select_run(run)
    await model.locate_base_model(str(desk.models.other_base))
    assert model.phase is ChoicePhase.FAILED and model.base_is_missing
    await model.locate_base_model(str(desk.models.base))
    assert model.phase is ChoicePhase.READY


async def test_bases_located_in_two_windows_are_both_remembered(desk):
    run = {name: desk.add_run(name, desk.models.first, base_model=f"/elsewhere/{name}") for name in ("one", "two")}
    windows = [(await choice(desk))[0] for _ in run]
    for model, number in zip(windows, run.values(), strict=True):
        await model.select_run(number)
        await model.locate_base_model(str(desk.models.base))
    restarted, notices = await choice(desk)
    for number in run.values():
        await restarted.select_run(number)
        assert restarted.phase is ChoicePhase.READY
    assert notices == []


async def test_a_base_located_in_one_window_is_found_in_another_that_was_open_before(desk):
    run = desk.add_run("moved", desk.models.first, base_model="/training/machine/base")
    here, there = [(await choice(desk))[0] for _ in range(2)]
    for model in (here, there):
        await model.select_run(run)
    await here.locate_base_model(str(desk.models.base))
    await there.select_run(run)
    assert there.phase is ChoicePhase.READY and there.locations == here.locations


@pytest.mark.parametrize("folder", ["no such folder", "~no-such-user-here/base", ""])
async def test_a_folder_without_a_base_is_refused_and_nothing_is_remembered(desk, folder):
    run = desk.add_run("moved", desk.models.first, base_model="/training/machine/base")
    model, _ = await choice(desk)
    await model.select_run(run)
    with pytest.raises(NotFoundError, match=r"config\.json"):
        await model.locate_base_model(folder)
    assert not model.locations and model.phase is ChoicePhase.FAILED


async def test_a_folder_is_remembered_whole_so_that_it_is_found_from_anywhere(desk, monkeypatch):
    run = desk.add_run("moved", desk.models.first, base_model="/training/machine/base")
    model, _ = await choice(desk)
    await model.select_run(run)
    monkeypatch.chdir(desk.models.base.parent)
    await model.locate_base_model("base")
    monkeypatch.chdir(desk.folder)
    await model.validate()
    assert model.phase is ChoicePhase.READY


async def test_an_adapter_folder_becomes_an_imported_run_that_is_chosen(desk):
    adapter = desk.adapter("from a friend")
    model, notices = await choice(desk)
    await model.add_adapter_folder(str(adapter))
    assert (model.phase, model.run_name, notices) == (ChoicePhase.READY, "from a friend", [])
    assert [run.id for run in model.runs] == [model.run_id]
    await model.add_adapter_folder(str(adapter))
    assert len(model.runs) == 1, "the same folder is the same run"


@pytest.mark.parametrize("folder", ["no such folder", "~no-such-user-here/adapter"])
async def test_a_folder_without_an_adapter_is_refused_and_the_earlier_choice_stays(desk, folder):
    run = desk.add_run("run", desk.models.first)
    model, _ = await choice(desk)
    await model.select_run(run)
    with pytest.raises(AdapterError):
        await model.add_adapter_folder(folder)
    assert (model.run_id, model.phase, len(model.runs)) == (run, ChoicePhase.READY, 1)


async def test_the_strength_stays_until_another_adapter_is_chosen(desk):
    first, second = desk.add_run("first", desk.models.first), desk.add_run("second", desk.models.second)
    model, _ = await choice(desk)
    await model.select_run(first)
    assert model.selection.adapter_strength == 1 and model.fixed_strength is None
    model.choose_strength(0.35)
    for wrong in (-0.1, 2.1, float("nan")):
        with pytest.raises(SettingsError, match="from 0 to 2"):
            model.choose_strength(wrong)
    await model.select_run(first)
    assert model.selection.adapter_strength == 0.35
    await model.select_run(second)
    assert model.selection.adapter_strength == 1


@pytest.mark.parametrize(
    ("kind", "config", "reason"),
    [
        ("ia3", {}, "IA3"),
        ("lora", {"use_dora": True}, "DoRA"),
        ("lora", {"modules_to_save": ["lm_head"]}, "whole layers"),
        ("lora", {"bias": "all"}, "the base's own weights"),
    ],
)
async def test_an_adapter_without_a_strength_says_why_and_keeps_1(desk, kind, config, reason):
    """As the engine does, which would refuse the answer."""
    adapter = build_tiny_adapter(desk.models.base, desk.folder / "fixed", kind, **config)
    run = desk.add_run("fixed", adapter)
    model, _ = await choice(desk)
    await model.select_run(run)
    model.choose_strength(0.5)
    assert model.phase is ChoicePhase.READY
    assert reason in model.fixed_strength and model.selection.adapter_strength == 1
    with pytest.raises(AdapterError, match=reason):
        require_scalable(read_adapter_folder(adapter), 0.5)


async def test_the_quantisation_is_remembered(desk):
    model, _ = await choice(desk)
    assert model.quantization is Quantization.AUTO
    await model.choose_quantization(Quantization.NF4)
    restarted, _ = await choice(desk)
    assert restarted.quantization is Quantization.NF4 and restarted.selection.quantization is Quantization.NF4


async def test_a_setting_of_a_newer_version_does_not_keep_the_runs_from_being_listed(desk):
    desk.add_run("run", desk.models.first)
    with desk.database.session_scope() as session:
        settings.set(session, "quantization", "int2-of-next-year")
    model, _ = await choice(desk)
    assert model.quantization is Quantization.AUTO and [run.name for run in model.runs] == ["run"]


async def test_an_unchanged_adapter_is_not_read_again(desk):
    run = desk.add_run("run", desk.models.first)
    model, _ = await choice(desk)
    await model.select_run(run)
    report = model.report
    assert await model.check_still_valid() and model.report is report


async def test_an_adapter_replaced_by_other_bytes_of_the_same_size_and_time_is_validated_again(desk):
    adapter = desk.adapter("replaced")
    run = desk.add_run("run", adapter)
    model, _ = await choice(desk)
    await model.select_run(run)
    report, weights = model.report, adapter / WEIGHTS
    times = weights.stat()
    shutil.copyfile(desk.models.second / WEIGHTS, weights)
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert weights.stat().st_size == times.st_size
    assert await model.check_still_valid()
    assert model.report.adapter.fingerprint != report.adapter.fingerprint


async def test_a_run_chosen_while_the_other_is_checked_is_not_taken_for_validated(desk):
    runs = {name: desk.add_run(name, desk.adapter(name)) for name in ("checked", "chosen")}
    truncate(desk.folder / "chosen")
    model, _ = await choice(desk)
    await model.select_run(runs["checked"])
    threads = HeldThreads()
    asyncio.get_running_loop().set_default_executor(threads)
    with threads.hold(desk.folder / "chosen"), threads.hold(desk.folder / "checked"):
        check = asyncio.ensure_future(model.check_still_valid())
        await asyncio.sleep(0)
        click = asyncio.ensure_future(model.select_run(runs["chosen"]))
        await until(lambda: model.phase is ChoicePhase.VALIDATING)
    assert not await check
    await click
    assert model.phase is ChoicePhase.FAILED


async def test_the_runs_own_folder_counts_as_in_the_command_line(desk):
    """A link from the adapter into the run's folder is the run's own file, not one that may change unnoticed."""
    adapter = desk.adapter("run/adapter")
    (adapter / WEIGHTS).rename(desk.folder / "run" / WEIGHTS)
    (adapter / WEIGHTS).symlink_to(desk.folder / "run" / WEIGHTS)
    run = desk.add_run("linked", adapter, output_dir=str(desk.folder / "run"))
    model, _ = await choice(desk)
    await model.select_run(run)
    assert model.phase is ChoicePhase.READY
    assert "link_outside" not in {finding.code for finding in model.remarks}


async def test_runs_added_in_one_window_appear_in_the_other_after_a_refresh(desk):
    here, _ = await choice(desk)
    there, _ = await choice(desk)
    await here.add_adapter_folder(str(desk.adapter("shared")))
    assert there.runs == []
    await there.refresh_runs()
    assert there.runs == here.runs and there.run_id is None and there.phase is ChoicePhase.IDLE
