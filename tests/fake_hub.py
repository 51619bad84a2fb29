"""A Hugging Face hub on this machine that serves one folder: the real one cannot be reached from tests."""

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
    """Serves ``folder`` as the repository ``name``; ``asked`` lists the files that were downloaded.

    ``kind``: “models” or “datasets”. ``token``: what must be given to see the repository; None = it is public.
    ``gated``: its files may not be read.
    """

    def __init__(
        self, name: str, folder: Path, kind: str = "models", token: str | None = None, gated: bool = False
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.name = name
        self.folder = folder
        self.kind = kind
        self.token = token
        self.gated = gated
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
        path, name, kind = self.path.partition("?")[0], self.server.name, self.server.kind
        files_at = f"/{name}/resolve/" if kind == "models" else f"/{kind}/{name}/resolve/"
        if self.server.token is not None and self.headers.get("Authorization") != f"Bearer {self.server.token}":
            self._json({"error": "Repository not found"}, 401, {"X-Error-Code": "RepoNotFound"})
        elif path.startswith(f"/api/{kind}/{name}/tree/"):
            self._tree(path.partition("/tree/")[2].partition("/")[2])
        elif path == f"/api/{kind}/{name}" or path.startswith(f"/api/{kind}/{name}/revision/"):
            files = self.server.sizes.items()
            siblings = [{"rfilename": file, "size": size, "blobId": _id(file)} for file, size in files]
            self._json({"id": name, "sha": COMMIT, "siblings": siblings})
        elif path.startswith(files_at):
            self._file(path.partition("/resolve/")[2].partition("/")[2])
        else:
            self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})

    def _tree(self, folder: str) -> None:
        """The files below a folder or, unless all are asked for, its own files and folders."""
        start = f"{folder}/" if folder else ""
        sizes = {file: size for file, size in self.server.sizes.items() if file.startswith(start)}
        listed = [{"type": "file", "path": file, "size": size, "oid": _id(file)} for file, size in sizes.items()]
        if "recursive=true" not in self.path.lower():
            inner = {start + file.removeprefix(start).partition("/")[0] for file in sizes} - sizes.keys()
            listed = [entry for entry in listed if "/" not in str(entry["path"]).removeprefix(start)]
            listed += [{"type": "directory", "path": path, "size": 0, "oid": _id(path)} for path in sorted(inner)]
        if listed:
            self._json(listed)
        else:
            self._json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})

    def _file(self, file: str) -> None:
        if self.server.gated:
            self._json({"error": "Access is restricted"}, 403, {"X-Error-Code": "GatedRepo"})
            return
        if file not in self.server.sizes:
            self._json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
            return
        if self.command == "GET":
            self.server.asked.append(file)
        headers = {"ETag": f'"{_id(file)}"', "X-Repo-Commit": COMMIT}
        content, part = (self.server.folder / file).read_bytes(), self.headers.get("Range")
        if part is None:
            self._send(content, 200, headers)
            return
        first, _, last = part.removeprefix("bytes=").partition("-")
        chosen = content[int(first) : int(last) + 1 if last else None]
        headers["Content-Range"] = f"bytes {first}-{int(first) + len(chosen) - 1}/{len(content)}"
        self._send(chosen, 206, headers)

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
def serve_hub(
    name: str, folder: Path, kind: str = "models", token: str | None = None, gated: bool = False
) -> Iterator[FakeHub]:
    """The hub, until the block ends."""
    hub = FakeHub(name, folder, kind, token, gated)
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
