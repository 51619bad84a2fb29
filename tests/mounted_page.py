"""A page in this process: a real Flet session whose client is a list of what it was sent."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import flet as ft
import msgpack
from flet.controls.base_control import BaseControl
from flet.controls.context import _context_page
from flet.messaging.connection import Connection
from flet.messaging.protocol import Message, MessageAction, configure_encode_object_for_msgpack
from flet.messaging.session import Session
from flet.pubsub.pubsub_hub import PubSubHub

Control = TypeVar("Control", bound=BaseControl)


class _Client(Connection):
    """Takes messages as the real connections do: packed at once, so that what cannot be packed fails here too."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.get_running_loop()
        self.pubsubhub = PubSubHub(loop=self.loop)
        self.received: list[MessageAction] = []

    def send_message(self, message: Message) -> None:
        encode = configure_encode_object_for_msgpack(BaseControl)
        msgpack.packb([message.action, message.body], default=encode)
        self.received.append(message.action)

    def dispose(self) -> None:
        """Nothing to close."""


class MountedPage:
    """``component`` with its arguments on a page of its own."""

    def __init__(self, component: Callable[..., Any], *arguments: Any) -> None:
        self._client = _Client()
        self.session = Session(self._client)
        self.session.apply_page_patch({"route": "/", "width": 1000, "height": 800, "platform": "linux"})
        self._client.send_message(Message(MessageAction.REGISTER_CLIENT, self.session.get_page_patch()))
        _context_page.set(self.session.page)
        self.session.page.render(component, *arguments)

    @property
    def crashed(self) -> bool:
        """Whether the client was told to cover the app with an error screen."""
        return MessageAction.SESSION_CRASHED in self._client.received

    def find(self, kind: type[Control]) -> list[Control]:
        """The controls of this kind that are on the page."""
        return [control for control in self.session.index.values() if isinstance(control, kind)]

    @property
    def texts(self) -> list[str]:
        """What the page says, in no order."""
        return [str(text.value) for text in self.find(ft.Text)]

    async def press(self, label: str) -> None:
        """Click the button that says ``label``, as its client would."""
        (button,) = [button for button in self.find(ft.Button) if button.content == label]
        await self.session.dispatch_event(button._i, "click", None)
