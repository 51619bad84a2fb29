"""The browser view: the app served to a browser on this machine."""

import asyncio
import contextlib
import secrets
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import flet as ft
import flet_web.fastapi
import uvicorn
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from errors import PlaygroundError
from ui.fallback_fonts import fallback_font
from ui.request_guard import RequestGuard, is_loopback

APP_TITLE = "Adapter Playground"
# A fixed port first, so that an open tab finds the app again after a restart.
USUAL_PORT = 8550
# Connections get this long to close when the app ends.
CLOSING_SECONDS = 2


@dataclass(frozen=True)
class FallbackFonts:
    """ASGI middleware that answers the browser view's requests for more fonts from ``fonts``."""

    app: ASGIApp
    fonts: Path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        font = None
        if scope["type"] == "http":
            font = await asyncio.to_thread(fallback_font, scope["path"], self.fonts)
        if font is None:
            await self.app(scope, receive, send)
            return
        headers = {"Cache-Control": "public, max-age=604800", "Cross-Origin-Resource-Policy": "same-origin"}
        await Response(font, media_type="font/woff2", headers=headers)(scope, receive, send)


def browser_app(main: Callable[[ft.Page], None], assets_dir: Path, token: str | None = None) -> ASGIApp:
    """The whole browser view as one ASGI app, guarded; see RequestGuard for ``token``."""
    app = flet_web.fastapi.app(
        main,
        assets_dir=str(assets_dir),
        app_name=APP_TITLE,
        app_short_name=APP_TITLE,
        app_description="Chat with your fine-tune and see whether it worked.",
        # The faster renderer for Flet, from this machine: nothing is fetched from elsewhere.
        web_renderer=ft.WebRenderer.CANVAS_KIT,
        no_cdn=True,
    )
    return RequestGuard(FallbackFonts(app, assets_dir / "fonts"), token)


class BrowserView:
    """Serves the app until :meth:`quit`. The port is bound by the constructor, so the address is known before.

    ``port`` None: the usual port, or a free one where that is taken. Where ``host`` is not this machine alone, a
    random token becomes part of the address. Raises PlaygroundError where the address cannot be used.
    """

    def __init__(self, host: str, port: int | None = None) -> None:
        self.token = None if is_loopback(host) else secrets.token_urlsafe(24)
        self._socket = _bind(host, port)
        self.port: int = self._socket.getsockname()[1]
        self._host = host
        self._server: _Server | None = None
        self._ended = False

    @property
    def address(self) -> str:
        """What to open in a browser, with the token where there is one."""
        host = _own_address(self._host)
        query = f"/?token={self.token}" if self.token else ""
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}{query}"

    def serve(self, main: Callable[[ft.Page], None], assets_dir: Path) -> None:
        """Answer browsers until :meth:`quit` is called."""
        config = uvicorn.Config(
            browser_app(main, assets_dir, self.token),
            ws="websockets-sansio",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=CLOSING_SECONDS,
        )
        self._server = _Server(config)
        if self._ended:
            self._socket.close()
        else:
            self._server.run(sockets=[self._socket])

    def quit(self) -> None:
        """End :meth:`serve` soon. May be called from any thread and from a signal handler."""
        self._ended = True
        if self._server is not None:
            self._server.should_exit = True


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to ``launch``; uvicorn would raise them again when it has ended."""
        yield


def _bind(host: str, port: int | None) -> socket.socket:
    candidates = (USUAL_PORT, 0) if port is None else (port,)
    for candidate in candidates[:-1]:
        with contextlib.suppress(OSError):
            return _listen(host, candidate)
    try:
        return _listen(host, candidates[-1])
    except socket.gaierror:
        raise PlaygroundError(
            f"There is no address called “{host}”.", "Give --host an address of this machine, such as 127.0.0.1."
        ) from None
    except (OSError, OverflowError) as error:
        raise PlaygroundError(
            f"Port {port} on {host} cannot be used: {_reason(error)}.",
            "Choose another with --port, or leave it out to get a free one.",
        ) from error


def _listen(host: str, port: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    return socket.create_server(address[:2], family=family)


def _reason(error: OSError | OverflowError) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text[:1].lower() + text[1:].rstrip(".")


def _own_address(host: str) -> str:
    """An address of this machine that others can open, where ``host`` stands for all of them."""
    if host not in ("0.0.0.0", "::", ""):
        return host.strip("[]")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Chooses a route and sends nothing; the address is one reserved for documentation.
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
