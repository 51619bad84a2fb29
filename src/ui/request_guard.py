"""Keeps the browser view private: who may talk to it, and that its page talks to nobody else.

Flet checks neither Host nor Origin nor any password (1.0.5). A page of another site, open in the same browser, could
open the app's WebSocket and read every chat; and by DNS rebinding it could do so as the "same" site.
"""

import ipaddress
import secrets
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOKEN_COOKIE = "adapter_playground_token"


def is_loopback(host: str) -> bool:
    """Whether ``host`` (a name or an address) reaches this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class RequestGuard:
    """ASGI middleware around the whole app.

    ``token`` None: only requests addressed to this machine are answered. With a token, any address may be used by
    who knows it: once in the query, from then on in a cookie.
    """

    app: ASGIApp
    token: str | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        answer = self._answer_instead(scope)
        if answer is None:
            await self.app(scope, receive, _with_privacy_headers(send))
        elif scope["type"] == "http":
            await answer(scope, receive, send)
        else:
            await receive()
            await send({"type": "websocket.close", "code": 1008})

    def _answer_instead(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            return PlainTextResponse("Requests from other sites are not answered.", 403)
        if self.token is None:
            if is_loopback(_without_port(host)):
                return None
            return PlainTextResponse("Open this app by its address 127.0.0.1 or localhost.", 403)
        return self._check_token(scope, headers, self.token)

    def _check_token(self, scope: Scope, headers: Headers, token: str) -> Response | None:
        if _same(_cookie(headers), token):
            return None
        query = parse_qsl(scope["query_string"].decode("latin-1"))
        if scope["type"] == "http" and any(key == "token" and _same(value, token) for key, value in query):
            # Without the token, so that it stays out of the browser's history.
            rest = urlencode([(key, value) for key, value in query if key != "token"])
            response = RedirectResponse(scope["path"] + (f"?{rest}" if rest else ""), 303)
            # Lax, because Strict would not be sent after following a link from a mail or chat.
            response.set_cookie(TOKEN_COOKIE, token, httponly=True, samesite="lax")
            return response
        return PlainTextResponse("Open the whole address that the app printed, with its token.", 403)


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


def _same(given: str, token: str) -> bool:
    return secrets.compare_digest(given.encode(), token.encode())


def _cookie(headers: Headers) -> str:
    try:
        cookies = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return ""
    return cookies[TOKEN_COOKIE].value if TOKEN_COOKIE in cookies else ""


# The page may load from and talk to its own server only: a picture link in a model's answer must not be fetched,
# and Flet's client would otherwise load a script from elsewhere. 'wasm-unsafe-eval' is for the renderer.
_CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'wasm-unsafe-eval' blob:",
        "worker-src 'self' blob:",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self' data: blob:",
        "frame-ancestors 'none'",
        "base-uri 'self'",
        "form-action 'none'",
        "object-src 'none'",
    )
)


def _with_privacy_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["Content-Security-Policy"] = _CONTENT_SECURITY_POLICY
            headers["Referrer-Policy"] = "no-referrer"
            headers["X-Content-Type-Options"] = "nosniff"
            # Flet allows every site to read the answers.
            del headers["Access-Control-Allow-Origin"]
        await send(message)

    return send_with_headers
