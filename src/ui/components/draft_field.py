"""A text field that never loses fast keystrokes while its surroundings are drawn again."""

from collections.abc import Callable
from typing import Any

import flet as ft

from ui.background_tasks import guard, safe_component
from ui.theme import input_border


@safe_component
def DraftField(
    text: str,
    version: int,
    on_change: Callable[[str], Any] | None = None,
    on_commit: Callable[[str], Any] | None = None,
    on_submit: Callable[[str], Any] | None = None,
    **look: Any,
) -> ft.Control:
    """A TextField that keeps what was typed; ``text`` is taken over only when ``version`` changes.

    ``on_change`` gets each change, ``on_commit`` the text when the field loses the focus or Enter is pressed,
    ``on_submit`` the text on Enter alone.
    """
    field = ft.use_memo(lambda: ft.Ref[ft.TextField](), [])
    shown: ft.MutableRef[int | None] = ft.use_ref(None)
    typed = field.current.value if field.current is not None and shown.current == version else text
    shown.current = version

    def current() -> str:
        return str(field.current.value or "") if field.current is not None else ""

    def submitted() -> Any:
        return (on_submit or on_commit or (lambda _: None))(current())

    return ft.TextField(
        ref=field,
        value=typed,
        border=input_border(),
        on_change=guard(lambda e: on_change(e.control.value or "")) if on_change else None,
        on_blur=guard(lambda: on_commit(current())) if on_commit else None,
        on_submit=guard(submitted) if on_submit or on_commit else None,
        **look,
    )
