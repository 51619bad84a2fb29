"""A Hugging Face hub on this machine that serves one model folder: the real one cannot be reached from tests."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "a" * 40


class FakeHub(ThreadingHTTPServer):
    """Serves ``folder`` as the repository ``name``; ``asked`` lists the files that were downloaded."""

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.name = name
        self.folder = folder
        self.asked: list[str] = []
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        self.sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths}

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Answers(BaseHTTPRequestHandler):
    server: FakeHub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path, name = self.path.partition("?")[0], self.server.name
        if path.startswith(f"/api/models/{name}/tree/"):
            files = self.server.sizes.items()
            self._json([{"type": "file", "path": file, "size": size, "oid": _id(file)} for file, size in files])
        elif path == f"/api/models/{name}" or path.startswith(f"/api/models/{name}/revision/"):
            files = self.server.sizes.items()
            siblings = [{"rfilename": file, "size": size, "blobId": _id(file)} for file, size in files]
            self._json({"id": name, "sha": COMMIT, "siblings": siblings})
        elif path.startswith(f"/{name}/resolve/"):
            self._file(path.partition("/resolve/")[2].partition("/")[2])
        else:
            self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})

    def _file(self, file: str) -> None:
        if self.command == "GET":
            self.server.asked.append(file)
        headers = {"ETag": f'"{_id(file)}"', "X-Repo-Commit": COMMIT}
        self._send((self.server.folder / file).read_bytes(), 200, headers)

    def _json(self, document: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(json.dumps(document).encode(), status, {"Content-Type": "application/json", **(headers or {})})

    def _send(self, body: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_arguments: Any) -> None:
        """Keep the test's output clean."""


def _id(file: str) -> str:
    return hashlib.sha1(file.encode()).hexdigest()


@contextmanager
def serve_hub(name: str, folder: Path) -> Iterator[FakeHub]:
    """The hub, until the block ends."""
    hub = FakeHub(name, folder)
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
