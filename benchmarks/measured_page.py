"""The app's window without a client: a real Flet session whose patches are packed, noted and thrown away."""

import asyncio
import inspect
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import flet as ft
import msgpack
from flet.components.component import Component
from flet.controls.base_control import BaseControl
from flet.controls.context import _context_page, context
from flet.messaging.connection import Connection
from flet.messaging.protocol import Message, MessageAction, configure_encode_object_for_msgpack
from flet.messaging.session import Session
from flet.pubsub.pubsub_hub import PubSubHub

WAIT_SECONDS = 60
POLL_SECONDS = 0.005

T = TypeVar("T")


@dataclass(frozen=True)
class Patch:
    """One patch on its way to the client. Seconds: of the clock, of the loop's CPU time, and of all threads'."""

    at: float
    loop_cpu: float
    cpu: float
    body: bytes


class PackingConnection(Connection):
    """Takes the place of a browser: packs each message as the real connection does, and keeps it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.loop = loop
        self.executor = ThreadPoolExecutor(max_workers=4)
        self.pubsubhub = PubSubHub(loop=loop, executor=self.executor)
        self.patches: list[Patch] = []
        self.on_patch: Callable[[Patch], None] = lambda patch: None
        self._encode = configure_encode_object_for_msgpack(BaseControl)

    def send_message(self, message: Message) -> None:
        """Pack ``message``; raises RuntimeError when the app has failed on this page."""
        body = msgpack.packb([message.action, message.body], default=self._encode)
        if message.action is MessageAction.SESSION_CRASHED:
            raise RuntimeError(f"the page failed: {message.body}")
        patch = Patch(time.perf_counter(), time.thread_time(), time.process_time(), body)
        self.patches.append(patch)
        self.on_patch(patch)


class MeasuredPage:
    """One page of the app in this process. Make it with :meth:`opened`, on the loop that it lives on."""

    def __init__(self, session: Session, connection: PackingConnection) -> None:
        self.session = session
        self.connection = connection

    @classmethod
    async def opened(cls, main: Callable[[ft.Page], Any], width: int = 1440, height: int = 900) -> "MeasuredPage":
        """Let ``main`` draw a new page, as the server does when a client registers."""
        connection = PackingConnection(asyncio.get_running_loop())
        session = Session(connection)
        session.apply_page_patch({"route": "/", "width": width, "height": height, "platform": "linux", "web": True})
        connection.send_message(Message(MessageAction.REGISTER_CLIENT, session.get_page_patch()))
        _context_page.set(session.page)
        context.reset_auto_update()
        outcome = main(session.page)
        if inspect.isawaitable(outcome):
            await outcome
        await session.after_event(session.page)
        return cls(session, connection)

    def close(self) -> None:
        """End the page."""
        self.session.close()
        self.connection.executor.shutdown(wait=False)

    def component_argument(self, kind: type[T]) -> T:
        """The state object of ``kind`` that some component on the page draws."""
        for control in list(self.session.index.values()):
            if isinstance(control, Component):
                for argument in control.args:
                    if isinstance(argument, kind):
                        return argument
        raise LookupError(f"no component draws a {kind.__name__}")

    async def confirm_closed_dialogs(self) -> None:
        """Tell the app that its closed dialogs are gone, as a client does when the closing is drawn."""
        for control in list(self.session.index.values()):
            if isinstance(control, ft.DialogControl) and not control.open:
                await self.session.dispatch_event(control._i, "dismiss", None)

    def has_sent(self, words: str) -> bool:
        """Whether ``words`` have gone to the client."""
        return any(words.encode() in patch.body for patch in self.connection.patches)

    async def settle(self) -> None:
        """Let everything that is due be drawn; raises what has ended the page's drawing for good, if anything has."""
        for _ in range(20):
            await asyncio.sleep(0)
        drawing: asyncio.Task[None] = self.session._Session__updates_task
        if drawing.done():
            await drawing
            raise RuntimeError("the page is not drawn any more")


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for ``condition``; raises TimeoutError naming ``what``."""
    end = time.monotonic() + WAIT_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {WAIT_SECONDS} s for {what}")
        await asyncio.sleep(POLL_SECONDS)
