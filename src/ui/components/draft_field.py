"""A text field that never loses fast keystrokes while its surroundings are drawn again."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flet as ft

from ui.background_tasks import guard, safe_component
from ui.theme import input_border

TextHandler = Callable[[str], Any]


@dataclass
class _Handlers:
    """The newest handlers; the field itself is not drawn again for new ones."""

    on_change: TextHandler | None = None
    on_commit: TextHandler | None = None
    on_submit: TextHandler | None = None


@safe_component
def DraftField(
    text: str,
    version: int,
    on_change: TextHandler | None = None,
    on_commit: TextHandler | None = None,
    on_submit: TextHandler | None = None,
    **look: Any,
) -> ft.Control:
    """A TextField that keeps what was typed; ``text`` is taken over only when ``version`` changes.

    ``on_change`` gets each change, ``on_commit`` the text when the field loses the focus or Enter is pressed,
    ``on_submit`` the text on Enter alone.
    """
    handlers = ft.use_memo(_Handlers, [])
    handlers.on_change, handlers.on_commit, handlers.on_submit = on_change, on_commit, on_submit
    shown = ft.use_memo(lambda: text, [version])
    field: ft.Control = _MemoField(shown, version, handlers, **look)
    return field


@safe_component
def _Field(text: str, version: int, handlers: _Handlers, **look: Any) -> ft.Control:
    field = ft.use_memo(lambda: ft.Ref[ft.TextField](), [])
    shown: ft.MutableRef[int | None] = ft.use_ref(None)
    value = field.current.value if field.current is not None and shown.current == version else text
    shown.current = version

    def current() -> str:
        return str(field.current.value or "") if field.current is not None else ""

    def changed(e: ft.Event[ft.TextField]) -> Any:
        return handlers.on_change(e.control.value or "") if handlers.on_change else None

    def committed() -> Any:
        return handlers.on_commit(current()) if handlers.on_commit else None

    def submitted() -> Any:
        return handlers.on_submit(current()) if handlers.on_submit else committed()

    return ft.TextField(
        ref=field,
        value=value,
        border=input_border(),
        on_change=guard(changed),
        on_blur=guard(committed),
        on_submit=guard(submitted),
        **look,
    )


# Drawn again only for another version or look: while it is being typed into, nothing may touch it.
_MemoField = ft.memo(_Field)  # type: ignore[no-untyped-call]
