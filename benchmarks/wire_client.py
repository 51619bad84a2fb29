"""A client of the app's browser view that speaks Flet's protocol: what a browser gets, without a browser.

A packet is one byte for its kind (0 = a protocol message) and a MessagePack list of action and body (Flet 1.0.5).
"""

import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import msgpack
from flet.messaging.protocol import MessageAction
from websockets.sync.client import ClientConnection, connect

MESSAGE = b"\x00"
WAIT_SECONDS = 60
RETRY_SECONDS = 0.005
WINDOW = {"route": "/", "width": 1440, "height": 900, "platform": "linux", "web": True}


def wait_for_answer(port: int) -> None:
    """Return once the server answers a request for the page; raises TimeoutError."""
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=WAIT_SECONDS) as answer:
                answer.read()
                return
        except (urllib.error.URLError, ConnectionError):
            # Nothing listens yet.
            time.sleep(RETRY_SECONDS)
    raise TimeoutError(f"nothing answered on port {port} within {WAIT_SECONDS} s")


@contextmanager
def registered_client(port: int) -> Iterator[ClientConnection]:
    """A client that has asked for its first screen."""
    request = {"session_id": "", "page_name": "", "page": WINDOW}
    with connect(f"ws://127.0.0.1:{port}/ws", max_size=None) as client:
        client.send(MESSAGE + msgpack.packb([MessageAction.REGISTER_CLIENT.value, request]))
        yield client


def wait_for_words(client: ClientConnection, words: str) -> None:
    """Return once ``words`` have arrived; raises TimeoutError, or RuntimeError when the app failed on the page."""
    wanted = words.encode()
    while True:
        packet = client.recv(timeout=WAIT_SECONDS)
        assert isinstance(packet, bytes)
        if wanted in packet:
            return
        action, body = msgpack.unpackb(packet[1:], strict_map_key=False)
        if action == MessageAction.SESSION_CRASHED.value:
            raise RuntimeError(f"the page failed: {body}")
