"""Run as a program: speaks enough of Flet's protocol to be the window or a browser tab.

The real program of the window is downloaded and needs a screen.

    stand_in_client.py ADDRESS PID_FILE ASSETS      as Flet starts it; $STAND_IN says how it behaves:
        closes  registers, waits for the first screen, and ends, as a window that the user closes
        stays   registers and stays open until it is killed
"""

import os
import socket
import sys
from typing import Any

import msgpack

REGISTER_CLIENT, PATCH_CONTROL = 1, 2
PAGE = {"route": "/", "width": 1000, "height": 800, "platform": "linux", "web": False}


def registration() -> bytes:
    """The client's first message."""
    return b"\0" + bytes(msgpack.packb([REGISTER_CLIENT, {"session_id": "", "page_name": "", "page": PAGE}]))


def _read_exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        chunk = connection.recv(count - len(data))
        if not chunk:
            raise EOFError
        data += chunk
    return data


def _next_message(connection: socket.socket) -> list[Any]:
    size = int.from_bytes(_read_exactly(connection, 4), "little")
    message: list[Any] = msgpack.unpackb(
        _read_exactly(connection, size)[1:], ext_hook=msgpack.ExtType, strict_map_key=False
    )
    return message


def main() -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(sys.argv[1])
        first = registration()
        connection.sendall(len(first).to_bytes(4, "little") + first)
        while _next_message(connection)[0] != PATCH_CONTROL:
            pass
        if os.environ["STAND_IN"] == "stays":
            while True:
                _next_message(connection)


if __name__ == "__main__":
    main()
