"""The bridge between page and background: failures become words, and drawing goes on."""

import asyncio
import functools
import gc
import logging
import threading
from dataclasses import dataclass

import flet as ft
import pytest

from errors import ExportError
from mounted_page import MountedPage
from ui.background_tasks import Debounced, guard, pump, run_blocking, safe_component
from ui_desk import until

FAILURE = ExportError("The disk is full.", "Free some space.")


@ft.observable
@dataclass(eq=False)
class Counter:
    value: int = 0


def fail() -> None:
    raise FAILURE


async def fail_later() -> None:
    await asyncio.sleep(0)
    raise FAILURE


class Verbs:
    """Handlers as methods of a state."""

    def __init__(self) -> None:
        self.seen: list[object] = []

    def plain(self) -> None:
        self.seen.append(None)

    async def later(self) -> None:
        await asyncio.sleep(0)
        self.seen.append(None)

    def with_event(self, event: ft.ControlEvent) -> None:
        self.seen.append(event.name)

    async def later_with_event(self, event: ft.ControlEvent) -> None:
        await asyncio.sleep(0)
        self.seen.append(event.name)


@safe_component
def OneButton(handler):
    return ft.Button("Go", on_click=guard(handler))


@safe_component
def ShowCounter(counter: Counter):
    return ft.Text(f"value {counter.value}")


@pytest.mark.parametrize("handler", [fail, fail_later, lambda: fail(), lambda: fail_later(), lambda event: fail()])
async def test_an_error_of_ours_becomes_a_snackbar_in_its_own_words(handler):
    page = MountedPage(OneButton, handler)
    await until(lambda: page.find(ft.Button))
    await page.press("Go")
    (snackbar,) = page.find(ft.SnackBar)
    assert snackbar.content.value == "The disk is full. Free some space." and snackbar.open
    assert not page.crashed


async def test_an_error_about_a_file_name_that_is_not_text_is_shown_too():
    name = "caf\udce9"  # as Linux gives a name that is not UTF-8

    def fail_on_a_name() -> None:
        raise ExportError(f"“{name}” cannot be read.")

    page = MountedPage(OneButton, fail_on_a_name)
    await until(lambda: page.find(ft.Button))
    await page.press("Go")
    (snackbar,) = page.find(ft.SnackBar)
    assert snackbar.content.value == "“caf?” cannot be read." and not page.crashed


async def test_any_other_error_is_named_logged_and_does_not_cover_the_app(caplog):
    def divide() -> None:
        print(1 / 0)

    page = MountedPage(OneButton, divide)
    await until(lambda: page.find(ft.Button))
    await page.press("Go")
    (snackbar,) = page.find(ft.SnackBar)
    assert "ZeroDivisionError: division by zero" in snackbar.content.value
    assert not page.crashed
    assert any(record.exc_info for record in caplog.records)


async def test_a_cancelled_handler_stays_cancelled():
    async def wait_for_ever() -> None:
        await asyncio.Event().wait()

    page = MountedPage(OneButton, wait_for_ever)
    await until(lambda: page.find(ft.Button))
    pressed = asyncio.ensure_future(guard(wait_for_ever)())
    await asyncio.sleep(0)
    pressed.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pressed
    assert not page.find(ft.SnackBar)


@pytest.mark.parametrize(
    ("name", "seen"), [("plain", None), ("later", None), ("with_event", "click"), ("later_with_event", "click")]
)
async def test_handlers_get_the_event_or_nothing_as_they_ask(name, seen):
    verbs = Verbs()
    handler = getattr(verbs, name)
    for form in (handler, functools.partial(handler), lambda *event: handler(*event) if seen else handler()):
        page = MountedPage(OneButton, form)
        await until(lambda page=page: page.find(ft.Button))
        await page.press("Go")
        assert not page.crashed and not page.find(ft.SnackBar)
    assert verbs.seen == [seen] * 3


async def test_a_component_that_fails_says_so_in_its_place_and_the_rest_stays_alive():
    counter = Counter()

    @safe_component
    def Fragile(counter: Counter):
        if counter.value == 1:
            raise ValueError("no one expects one")
        return ft.Text(f"fragile {counter.value}")

    page = MountedPage(lambda: ft.Column([Fragile(counter), ShowCounter(counter)]))
    await until(lambda: "fragile 0" in page.texts)
    counter.value = 1
    await until(lambda: "value 1" in page.texts)
    assert "This part could not be drawn: no one expects one" in page.texts and "fragile 1" not in page.texts
    counter.value = 2
    await until(lambda: {"fragile 2", "value 2"} <= set(page.texts))
    assert len(page.texts) == 2 and not page.crashed


async def test_a_component_that_fails_on_its_first_drawing_recovers_too():
    counter = Counter()

    @safe_component
    def Fragile(counter: Counter):
        doubled = ft.use_memo(lambda: 2 * counter.value, [counter.value])
        if counter.value == 0:
            raise ValueError("not yet")
        tripled, _ = ft.use_state(lambda: 3 * counter.value)
        return ft.Text(f"{doubled} {tripled}")

    page = MountedPage(Fragile, counter)
    await until(lambda: page.texts == ["This part could not be drawn: not yet"])
    counter.value = 1
    await until(lambda: page.texts == ["2 3"])


async def test_what_a_component_remembers_outlives_its_failure():
    counter = Counter()

    @safe_component
    def Fragile(counter: Counter):
        clicks, set_clicks = ft.use_state(0)
        if counter.value == 1:
            raise ValueError("broken")
        return ft.Column(
            [ft.Text(f"clicks {clicks}"), ft.Button("Go", on_click=guard(lambda: set_clicks(clicks + 1)))]
        )

    page = MountedPage(Fragile, counter)
    await until(lambda: page.find(ft.Button))
    await page.press("Go")
    await until(lambda: "clicks 1" in page.texts)
    counter.value = 1
    await until(lambda: "This part could not be drawn: broken" in page.texts)
    counter.value = 2
    await until(lambda: "clicks 1" in page.texts)


@safe_component
def RefusedValue(counter: Counter):
    return ft.TextField(min_lines=1 + counter.value, max_lines=1)


@safe_component
def HalfACharacter(counter: Counter):
    return ft.Text("\ud800" if counter.value else "whole")


@pytest.mark.parametrize("component", [RefusedValue, HalfACharacter])
@pytest.mark.parametrize("event", ["a click", "a step of an answer"])
async def test_a_value_that_cannot_be_sent_stops_the_drawing_only_until_something_happens(component, event):
    """Flet checks and packs values outside of every component; there a failure ends the page's updates."""
    broken, other = Counter(), Counter()
    page = MountedPage(lambda: ft.Column([component(broken), ShowCounter(other), OneButton(lambda: None)]))
    await until(lambda: "value 0" in page.texts)
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context["exception"]))
    broken.value = 1
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    if event == "a click":
        await page.press("Go")
    else:
        steps = iter([True, False])
        await pump(lambda: next(steps))
    other.value = 1
    await until(lambda: "value 1" in page.texts)
    assert not page.crashed
    gc.collect()
    assert len(failures) == 1 and isinstance(failures[0], ValueError), "the cause is in the log"


async def test_pump_goes_on_until_there_is_nothing_more_and_lets_others_work_between():
    left, others = [3], []

    async def other() -> None:
        while left[0]:
            others.append(left[0])
            await asyncio.sleep(0)

    def advance() -> bool:
        left[0] -= 1
        return left[0] > 0

    await asyncio.gather(pump(advance), other())
    assert left == [0] and set(others) == {2, 1}


async def test_blocking_work_leaves_the_loop_free_and_its_error_is_the_callers():
    release = threading.Event()
    waiting = asyncio.ensure_future(run_blocking(release.wait, 60))
    await asyncio.sleep(0)
    assert not waiting.done()
    release.set()
    assert await waiting
    with pytest.raises(ExportError):
        await run_blocking(fail)


async def test_only_the_newest_of_many_calls_runs_and_one_under_way_gives_way():
    ran: list[int] = []
    started = asyncio.Event()

    def action(number: int, wait: bool = False):
        async def run() -> None:
            started.set()
            if wait:
                await asyncio.Event().wait()
            ran.append(number)

        return run

    debounced = Debounced(0.01)
    for number in range(5):
        debounced.call(action(number))
    await until(lambda: ran)
    assert ran == [4]
    started.clear()
    debounced.call(action(5, wait=True))
    await started.wait()
    debounced.call(action(6))
    await until(lambda: 6 in ran)
    assert ran == [4, 6]


async def test_a_delayed_task_that_fails_is_logged_and_the_next_one_runs(caplog):
    debounced = Debounced(0)
    debounced.call(fail_later)
    await until(lambda: any(record.levelno == logging.ERROR for record in caplog.records))
    done = asyncio.Event()

    async def finish() -> None:
        done.set()

    debounced.call(finish)
    await asyncio.wait_for(done.wait(), 10)
