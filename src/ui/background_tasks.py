"""The only bridge from threads and processes to the page's event loop, and the place where failures surface.

Flet covers the whole app when an event handler raises, and stops drawing for good when a component raises while it
is drawn again (1.0.5). So every handler goes through :func:`guard` and every component is a :func:`safe_component`.
"""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import flet as ft

from errors import PlaygroundError

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
Notify = Callable[[str], None]

# Text arrives faster than eyes read; 20 redraws a second look continuous and cost next to nothing.
REDRAW_SECONDS = 0.05


async def run_blocking(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run ``function`` on a thread; the loop goes on. It must not write observable state."""
    return await asyncio.to_thread(function, *args, **kwargs)


async def pump(advance: Callable[[], bool]) -> None:
    """Call ``advance`` on the loop about 20 times a second until it returns False."""
    while advance():
        keep_drawing()
        await asyncio.sleep(REDRAW_SECONDS)


def keep_drawing() -> None:
    """Start the page's updates again where they ended: a value that Flet refuses while it sends it, outside of any
    component, ends them for good (1.0.5). What it refused stays undrawn until it changes.
    """
    try:
        session = ft.context.page.session
    except RuntimeError:
        return  # There is no page, or it was closed.
    session.start_updates_scheduler()  # type: ignore[no-untyped-call]


def show_notice(text: str) -> None:
    """A snackbar on the current page."""
    # A file name that is not UTF-8 has half characters in it, which cannot be sent.
    text = text.encode("utf-8", "replace").decode("utf-8")
    ft.context.page.show_dialog(
        ft.SnackBar(ft.Text(text), show_close_icon=True, behavior=ft.SnackBarBehavior.FLOATING, width=560)
    )


def guard(handler: Callable[..., Any]) -> Callable[..., Any]:
    """An event handler whose failure becomes a snackbar. Takes the event or nothing, plain or async."""
    takes_event = bool(inspect.signature(handler).parameters)

    @wraps(handler)
    async def guarded(event: Any = None) -> None:
        try:
            outcome = handler(event) if takes_event else handler()
            if inspect.isawaitable(outcome):
                await outcome
        except PlaygroundError as error:
            show_notice(str(error))
        except Exception as error:
            log.exception("a handler failed")
            show_notice(f"That did not work: {type(error).__name__}: {error}. The log has the details.")
        finally:
            keep_drawing()

    # functools.wraps would show Flet the inner signature; it decides by the parameter whether to pass the event.
    del guarded.__wrapped__
    return guarded


def safe_component(body: Callable[P, Any]) -> Callable[..., ft.Control]:
    """A component that shows its own failure in place instead of ending the page's updates."""

    @wraps(body)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Any:
        try:
            return body(*args, **kwargs)
        except Exception as error:
            log.exception("drawing %s failed", body.__name__)
            return ft.Text(f"This part could not be drawn: {error}", color=ft.Colors.ERROR)

    component: Callable[..., ft.Control] = ft.component(drawn)
    return component


class Debounced:
    """Runs the newest of many calls once they pause for ``seconds``."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._task: asyncio.Task[None] | None = None

    def call(self, action: Callable[[], Awaitable[None]]) -> None:
        """Forget the call that waits and wait for this one. Must be called on the loop."""
        if self._task is not None:
            self._task.cancel()
        self._task = asyncio.get_running_loop().create_task(self._later(action))

    async def _later(self, action: Callable[[], Awaitable[None]]) -> None:
        await asyncio.sleep(self._seconds)
        try:
            await action()
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("a delayed task failed")
