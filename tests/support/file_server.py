"""A web server of a folder that gives parts of files, as object stores do; it can also refuse to, or refuse a file."""

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from serving import serving

_RANGE = re.compile(r"bytes=(\d+)-(\d+)")

Part = Callable[[int, int, bytes], tuple[int, dict[str, str], bytes]]
"""Status, headers and body of the answer to a request for the bytes from one offset to another."""


class FileServer:
    """Serves the files below `folder`. `asked` lists each request as method, path and query, and range."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[tuple[str, str, str]] = []
        self.gives_ranges = True
        self.part: Part | None = None
        """How a part is answered, if not as it should be."""
        self.statuses: dict[str, int] = {}
        """The status that a path is refused with."""
        self.signature = ""
        """What the query of every URL has to be; anything else is refused as expired."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.files = self  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    @contextmanager
    def running(self) -> Iterator["FileServer"]:
        """The server while the block lasts."""
        with serving(self._server):
            yield self


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        files: FileServer = self.server.files  # type: ignore[attr-defined]
        parts = urlsplit(self.path)
        files.asked.append((self.command, self.path, self.headers.get("Range", "")))
        path = files.folder / unquote(parts.path).lstrip("/")
        status = files.statuses.get(parts.path, 200)
        if parts.query != files.signature:
            status = 403
        if status == 200 and not path.exists():
            status = 404
        if status != 200:
            self._answer(status, {}, b"<Error>Request has expired</Error>")
            return
        if path.is_dir():
            links = "".join(
                f'<a href="{one.name}{"/" if one.is_dir() else ""}">x</a>' for one in sorted(path.iterdir())
            )
            self._answer(200, {"Content-Type": "text/html"}, links.encode())
            return
        data = path.read_bytes()
        etag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
        headers = {"ETag": etag, "Accept-Ranges": "bytes" if files.gives_ranges else "none"}
        if self.headers.get("If-Match", etag) != etag:
            self._answer(412, headers, b"")
            return
        asked = _RANGE.fullmatch(self.headers.get("Range", ""))
        if asked and files.gives_ranges:
            start, stop = int(asked[1]), min(int(asked[2]) + 1, len(data))
            if files.part is not None:
                status, told, body = files.part(start, stop, data)
                self._answer(status, headers | told, body)
                return
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
            self._answer(206, headers, data[start:stop])
            return
        self._answer(200, headers, data)

    do_HEAD = do_GET  # noqa: N815 -- the library's name

    def _answer(self, status: int, headers: dict[str, str], data: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *words: Any) -> None:
        """Keeps the test's output clean."""
