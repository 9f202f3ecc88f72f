"""An HTTP proxy in front of a server that is well, which makes a share of the requests fail as networks do."""

import random
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from serving import serving

FAULTS = ("500", "503", "cut before", "cut within", "stalled")
"""The server says so, the connection ends before or within the answer (after the server has done what was asked),
or nothing comes for longer than the client waits."""

_XML = b"<?xml version='1.0'?><Error><Code>%s</Code><Message>of the test</Message></Error>"


class FailingProxy:
    """Set `share` to what part of the requests fails, chosen by a seed; `happened` counts them by kind."""

    def __init__(self, target: str, *, stall_seconds: float) -> None:
        self.share = 0.0
        self.stall_seconds = stall_seconds
        self.happened: Counter[str] = Counter()
        self._rng = random.Random(0)
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.proxy, self._server.target = self, target.removeprefix("http://")  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def seed(self, seed: int) -> None:
        """Choose anew."""
        self._rng = random.Random(seed)
        self.happened.clear()

    def next(self) -> str:
        """What befalls the next request; "" for nothing."""
        with self._lock:
            fault = self._rng.choice(FAULTS) if self._rng.random() < self.share else ""
            self.happened[fault] += 1
            return fault

    @contextmanager
    def running(self) -> Iterator["FailingProxy"]:
        """The proxy while the block lasts."""
        with serving(self._server):
            yield self


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        proxy: FailingProxy = self.server.proxy  # type: ignore[attr-defined]
        fault = proxy.next()
        if fault in ("500", "503"):
            self._answer(int(fault), [], _XML % (b"InternalError" if fault == "500" else b"SlowDown"))
            return
        upstream = HTTPConnection(self.server.target)  # type: ignore[attr-defined]
        upstream.request(self.command, self.path, body, dict(self.headers))
        answer = upstream.getresponse()
        data = answer.read()
        upstream.close()
        if fault == "stalled":
            threading.Event().wait(proxy.stall_seconds)
        if fault in ("stalled", "cut before"):
            self.close_connection = True
            return
        skipped = ("transfer-encoding", "connection", "content-length", "date", "server")
        headers = [(name, value) for name, value in answer.getheaders() if name.lower() not in skipped]
        length = answer.getheader("Content-Length") if self.command == "HEAD" else None
        self._answer(answer.status, headers, data, length=length, cut=fault == "cut within")

    do_PUT = do_POST = do_DELETE = do_HEAD = do_GET  # noqa: N815 -- the library's names

    def _answer(
        self, status: int, headers: list[tuple[str, str]], data: bytes, *, length: str | None = None, cut: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", length or str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if cut else data)
        if cut:
            self.wfile.flush()
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True

    def log_message(self, *words: Any) -> None:
        """Keeps the test's output clean."""
