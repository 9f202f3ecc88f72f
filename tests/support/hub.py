"""A server with the part of the Hugging Face Hub's HTTP interface that uploads and reads of longvid use."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from serving import serving

TOKEN = "hf_" + "x" * 34
COMMIT = "0" * 40
_API = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/(revision|preupload|commit|tree|paths-info)/([^/]+)(.*))?$")
_RESOLVE = re.compile(r"/(datasets/)?([^/]+/[^/]+)/resolve/[^/]+/(.+)$")


class Hub:
    """Repositories in memory; `asked` lists each request as method and path. Writing needs `TOKEN`."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        """`datasets/user/name` and `models/user/name`, each with its files by path."""
        self.asked: list[tuple[str, str]] = []
        self.ranges: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.hub = self  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    @contextmanager
    def running(self) -> Iterator["Hub"]:
        """The server while the block lasts."""
        with serving(self._server):
            yield self


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub: Hub = self.server.hub  # type: ignore[attr-defined]
        path = unquote(urlsplit(self.path).path)
        hub.asked.append((self.command, path))
        body = self._body()
        writes = self.command == "POST" and "paths-info" not in path and "validate" not in path
        if writes and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._json({"error": "Invalid credentials"}, 401)
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('type', 'model')}s/{asked['name']}"
            if asked.get("organization"):
                name = f"{asked.get('type', 'model')}s/{asked['organization']}/{asked['name']}"
            hub.repositories.setdefault(name, {})
            return self._json({"url": f"{hub.url}/{name.removeprefix('models/')}"})
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if match := _API.match(path):
            return self._api(hub, f"{match[1]}/{match[2]}", match[3], (match[5] or "").strip("/"), body)
        if match := _RESOLVE.match(path):
            return self._file(hub, f"{(match[1] or 'models/').strip('/')}/{match[2]}", match[3])
        return self._json({"error": "no such page"}, 404)

    def _api(self, hub: Hub, name: str, verb: str | None, rest: str, body: bytes) -> None:
        if name not in hub.repositories:
            return self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        files = hub.repositories[name]
        if verb in (None, "revision"):
            siblings = [{"rfilename": path} for path in files]
            return self._json({"id": name.partition("/")[2], "sha": COMMIT, "siblings": siblings, "private": False})
        if verb == "preupload":
            asked = json.loads(body)["files"]
            answer = [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False} for one in asked]
            return self._json({"files": answer})
        if verb == "commit":
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                elif line["key"] == "deletedFile":
                    files.pop(line["value"]["path"], None)
            return self._json({"commitUrl": f"{hub.url}/{name}/commit/{COMMIT}", "commitOid": COMMIT})
        if verb == "paths-info":
            wanted = parse_qs(body.decode()).get("paths", [])
            return self._json([entry for path in wanted for entry in _entries(files, path, itself=True)])
        deep = parse_qs(urlsplit(self.path).query).get("recursive", ["false"])[0].lower() == "true"
        entries = _entries(files, rest, deep=deep)
        if rest and not entries:
            return self._json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
        return self._json(entries)

    def _file(self, hub: Hub, name: str, path: str) -> None:
        data = hub.repositories.get(name, {}).get(path)
        if data is None:
            code = "EntryNotFound" if name in hub.repositories else "RepoNotFound"
            return self._json({"error": "not found"}, 404, {"X-Error-Code": code})
        headers = {"ETag": f'"{_oid(data)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            hub.ranges.append(self.headers["Range"])
            start, stop = int(match[1]), min(int(match[2] or len(data)) + 1, len(data))
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
            return self._send(data[start:stop], 206, headers)
        return self._send(data, 200, headers)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while length := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(length))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(json.dumps(value).encode(), status, {"Content-Type": "application/json", **(headers or {})})

    def _send(self, data: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Stay quiet."""


def _oid(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


def _entries(files: dict[str, bytes], folder: str, *, deep: bool = False, itself: bool = False) -> list[dict[str, Any]]:
    """What lies in a folder, or (`itself`) what a path is."""
    if itself:
        if folder in files:
            return [{"type": "file", "path": folder, "size": len(files[folder]), "oid": _oid(files[folder])}]
        there = any(path.startswith(f"{folder}/") for path in files)
        return [{"type": "directory", "path": folder, "oid": _oid(folder.encode())}] if there else []
    prefix = f"{folder}/" if folder else ""
    found: dict[str, dict[str, Any]] = {}
    for path, data in sorted(files.items()):
        if not path.startswith(prefix):
            continue
        parts = path.removeprefix(prefix).split("/")
        for depth in range(1, len(parts)):
            where = prefix + "/".join(parts[:depth])
            if deep or depth == 1:
                found[where] = {"type": "directory", "path": where, "oid": _oid(where.encode())}
        if deep or len(parts) == 1:
            found[path] = {"type": "file", "path": path, "size": len(data), "oid": _oid(data)}
    return list(found.values())
