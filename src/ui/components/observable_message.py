"""A message that is drawn; what grows while it is written is apart from it, so that a token redraws one text."""

from dataclasses import dataclass, field

import flet as ft

from helpers.chat_session import Message


@ft.observable
@dataclass(eq=False)
class GrowingAnswer:
    """An answer as far as it is written."""

    text: str = ""
    new_tokens: int = 0


@ft.observable
@dataclass(eq=False)
class ObservableMessage(Message):
    """A message that redraws alone. ``growing`` is drawn instead of ``text`` until the answer has ended."""

    growing: GrowingAnswer = field(default_factory=GrowingAnswer)

    def grow(self, text: str, new_tokens: int) -> None:
        """Add ``text`` to a running answer of ``new_tokens`` tokens."""
        # Written past the notification, which would redraw the whole row.
        object.__setattr__(self, "text", self.text + text)
        object.__setattr__(self, "new_tokens", new_tokens)
        self.growing.text, self.growing.new_tokens = self.text, new_tokens
