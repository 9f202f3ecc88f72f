"""A server with the part of the Hugging Face Hub's HTTP interface that uploads and reads of longvid use.

Small files are sent inside a commit, large ones by git LFS: the client asks which are which (`preupload`), asks where
to put the large ones (`info/lfs/objects/batch`), puts them there, in parts where they are larger than one, lets the
server verify them, and names them in the commit. Folders are listed page by page. A file is at
`/user/name/resolve/REVISION/path`; a large one is answered by a redirect to a signed URL at another host, as the Hub's
content delivery network is, which must never be sent a token.

Not here: Xet, the Hub's own protocol for large files, which a client leaves when `HF_HUB_DISABLE_XET` is set.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from serving import serving

TOKEN = "hf_" + "x" * 34
"""May read and write."""
READER = "hf_" + "r" * 34
"""May read."""
LARGE = 1000
"""Most bytes of a file that is sent inside a commit; 10 MB on the Hub."""
PART = 6000
"""Bytes of a part of a large file; some hundred MB on the Hub."""
PAGE = 7
"""Entries of a page of a listing; 1,000 on the Hub."""
_API = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/(revision|preupload|commit|tree|paths-info)/([^/]+)(.*))?$")
_BATCH = re.compile(r"/(datasets/)?([^/]+/[^/]+)\.git/info/lfs/objects/batch$")
_RESOLVE = re.compile(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)$")
_READS = ("/paths-info/", "/api/validate-yaml")
"""Requests that are a POST and change nothing."""


@dataclass
class Repository:
    """Files by path after the last commit, and after each one."""

    files: dict[str, bytes] = field(default_factory=dict)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: bool = False
    gated: bool = False

    def commit(self) -> str:
        """Keep the files as they are now under the name of a new commit."""
        told = "".join(f"{path} {_oid(data)}\n" for path, data in sorted(self.files.items()))
        name = hashlib.sha1(f"{len(self.commits)}\n{told}".encode()).hexdigest()
        self.commits[name] = dict(self.files)
        return name

    def revision(self, name: str) -> str | None:
        """The commit of a revision; None for one that is not there."""
        if name == "main":
            return list(self.commits)[-1]
        return name if name in self.commits else None


class Hub:
    """Repositories in memory; `asked` lists each request as method and path."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        """By `datasets/user/name` and `models/user/name`."""
        self.large: dict[str, bytes] = {}
        """Contents of large files, by sha256."""
        self.parts: dict[tuple[str, int], bytes] = {}
        self.asked: list[tuple[str, str]] = []
        self.ranges: list[str] = []
        self.told: list[str] = []
        """The token of each request to the content delivery network that came with one: none should."""
        self.busy = 0
        """So many requests are answered by 429 from now on."""
        self.lock = Lock()
        self._servers = [ThreadingHTTPServer((host, 0), kind) for host, kind in _HOSTS]
        for server in self._servers:
            server.daemon_threads = True
            server.hub = self  # type: ignore[attr-defined]
        self.url, self.content = (
            f"http://{host}:{server.server_address[1]}" for (host, _), server in zip(_HOSTS, self._servers, strict=True)
        )

    @contextmanager
    def running(self) -> Iterator["Hub"]:
        """The servers while the block lasts."""
        with serving(self._servers[0]), serving(self._servers[1]):
            yield self


class _Handler(BaseHTTPRequestHandler):
    """What both servers need: bodies, answers, ranges."""

    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> Hub:
        return self.server.hub  # type: ignore[attr-defined]

    def do_GET(self) -> None:
        self.answer()

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815 -- names of the standard library

    def answer(self) -> None:
        raise NotImplementedError

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while length := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(length))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def json(self, value: Any, status: int = 200, **headers: str) -> None:
        told = {name.replace("_", "-"): text for name, text in headers.items()}
        self.send(json.dumps(value).encode(), status, {"Content-Type": "application/json", **told})

    def refuse(self, status: int, message: str, code: str = "") -> None:
        self.json({"error": message}, status, X_Error_Message=message, **({"X_Error_Code": code} if code else {}))

    def send(self, data: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def send_range(self, data: bytes, headers: dict[str, str]) -> None:
        """The bytes, or those of the request's range."""
        headers = {"Accept-Ranges": "bytes", **headers}
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if match is None:
            return self.send(data, 200, headers)
        self.hub.ranges.append(self.headers["Range"])
        start, stop = int(match[1]), min(int(match[2] or len(data)) + 1, len(data))
        if start >= len(data):
            return self.send(b"", 416, {"Content-Range": f"bytes */{len(data)}"})
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
        return self.send(data[start:stop], 206, headers)

    def log_message(self, *_: Any) -> None:
        """Stay quiet."""


class _Content(_Handler):
    """The other host: large files at signed URLs, put there and fetched from there."""

    def answer(self) -> None:
        parts, query, body = urlsplit(self.path), parse_qs(urlsplit(self.path).query), self.body()
        if self.headers.get("Authorization"):
            self.hub.told.append(self.headers["Authorization"])
        oid = parts.path.strip("/")
        if query.get("signature") != [_signature(oid)]:
            return self.send(b"", 403, {})
        if self.command == "PUT":
            if number := query.get("part"):
                self.hub.parts[oid, int(number[0])] = body
            elif hashlib.sha256(body).hexdigest() == oid:
                self.hub.large[oid] = body
            else:
                return self.send(b"", 400, {})
            return self.send(b"", 200, {"ETag": f'"{_oid(body)}"'})
        if oid not in self.hub.large:
            return self.send(b"", 404, {})
        return self.send_range(self.hub.large[oid], {"ETag": f'"{oid}"'})


class _Pages(_Handler):
    """The Hub itself."""

    def answer(self) -> None:
        path, body = unquote(urlsplit(self.path).path), self.body()
        with self.hub.lock:
            self.hub.asked.append((self.command, path))
            busy = self.hub.busy > 0
            self.hub.busy -= busy
        if busy:
            return self.json({"error": "rate limited"}, 429, Retry_After="0")
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in ("", TOKEN, READER):
            return self.refuse(401, "Invalid credentials in Authorization header")
        if path == "/complete" and _signed(self.path):  # the client sends no token here
            return self.complete(json.loads(body))
        writes = self.command not in ("GET", "HEAD") and not any(part in path for part in _READS)
        if writes and token != TOKEN:
            message = "a token is needed" if not token else "this token may only read"
            return self.refuse(403 if token else 401, message)
        if path == "/api/repos/create":
            return self.create(json.loads(body))
        if path == "/api/validate-yaml":
            return self.json({"errors": [], "warnings": []})
        if path == "/verify":
            asked = json.loads(body)
            whole = len(self.hub.large.get(asked["oid"], b"")) == asked["size"]
            return self.json({}) if whole else self.refuse(422, "is not what was announced")
        if match := _BATCH.match(path):
            return self.batch(json.loads(body))
        if match := _API.match(path):
            return self.api(f"{match[1]}/{match[2]}", match[3], match[4], (match[5] or "").strip("/"), body, token)
        if match := _RESOLVE.match(path):
            return self.resolve(f"{(match[1] or 'models/').strip('/')}/{match[2]}", match[3], match[4], token)
        return self.refuse(404, "no such page")

    def create(self, asked: dict[str, Any]) -> None:
        organisation = f"{asked['organization']}/" if asked.get("organization") else ""
        name = f"{asked.get('type', 'model')}s/{organisation}{asked['name']}"
        url = {"url": f"{self.hub.url}/{name.removeprefix('models/')}"}
        if name in self.hub.repositories:
            return self.json(url | {"error": "You already created this repo"}, 409)
        made = self.hub.repositories[name] = Repository(private=bool(asked.get("private")))
        made.commit()
        return self.json(url)

    def batch(self, asked: dict[str, Any]) -> None:
        """Where each large file is to be put; nowhere for one that is there."""
        answer = []
        for one in asked["objects"]:
            oid, size = one["oid"], one["size"]
            actions: dict[str, Any] = {"verify": {"href": f"{self.hub.url}/verify"}}
            place = f"{self.hub.content}/{oid}?signature={_signature(oid)}"
            if size > PART:
                count = -(-size // PART)
                header = {"chunk_size": str(PART)} | {f"{n:05d}": f"{place}&part={n}" for n in range(1, count + 1)}
                actions["upload"] = {
                    "href": f"{self.hub.url}/complete?oid={oid}&signature={_signature(oid)}",
                    "header": header,
                }
            else:
                actions["upload"] = {"href": place}
            there = oid in self.hub.large
            answer.append({"oid": oid, "size": size, **({} if there else {"actions": actions})})
        return self.json({"transfer": "multipart", "objects": answer})

    def complete(self, asked: dict[str, Any]) -> None:
        """Join the parts of a large file, in the order of the request."""
        oid = asked["oid"]
        parts = [self.hub.parts[oid, one["partNumber"]] for one in asked["parts"]]
        told = [one["etag"].strip('"') for one in asked["parts"]]
        if told != list(map(_oid, parts)) or hashlib.sha256(b"".join(parts)).hexdigest() != oid:
            return self.refuse(400, "parts that do not make the file")
        self.hub.large[oid] = b"".join(parts)
        return self.json({})

    def readable(self, name: str, revision: str, token: str) -> dict[str, bytes] | None:
        """The files of a revision; None where a refusal was sent."""
        repository = self.hub.repositories.get(name)
        if repository is None or (repository.private and not token):
            # the Hub does not tell strangers which private repositories there are
            self.refuse(404 if token else 401, "Repository not found", "RepoNotFound")
            return None
        if repository.gated:
            self.refuse(403, "Access to this repository is restricted", "GatedRepo")
            return None
        commit = repository.revision(revision)
        if commit is None:
            self.refuse(404, f"Invalid rev id: {revision}", "RevisionNotFound")
            return None
        return repository.commits[commit]

    def api(self, name: str, verb: str | None, revision: str | None, rest: str, body: bytes, token: str) -> None:
        files = self.readable(name, revision or "main", token)
        if files is None:
            return None
        repository = self.hub.repositories[name]
        if verb in (None, "revision"):
            siblings = [{"rfilename": path} for path in files]
            sha = repository.revision(revision or "main")
            about = {"id": name.partition("/")[2], "sha": sha, "siblings": siblings, "private": repository.private}
            return self.json(about)
        if verb == "preupload":
            answer = [
                {
                    "path": one["path"],
                    "uploadMode": "lfs" if one["size"] > LARGE else "regular",
                    "shouldIgnore": False,
                    "oid": _oid(files[one["path"]]) if one["path"] in files else None,
                }
                for one in json.loads(body)["files"]
            ]
            return self.json({"files": answer})
        if verb == "commit":
            return self.commit(name, repository, body)
        if verb == "paths-info":
            wanted = parse_qs(body.decode()).get("paths", [])
            return self.json([entry for path in wanted for entry in _itself(files, path)])
        return self.tree(files, rest)

    def commit(self, name: str, repository: Repository, body: bytes) -> None:
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                data = base64.b64decode(value["content"])
                if len(data) > LARGE:
                    return self.refuse(413, "too large for a commit")
                repository.files[value["path"]] = data
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.hub.large:
                    return self.refuse(400, "an LFS pointer to a file that was not uploaded")
                repository.files[value["path"]] = self.hub.large[value["oid"]]
            elif line["key"] == "deletedFile":
                repository.files.pop(value["path"], None)
        oid = repository.commit()
        return self.json({"commitUrl": f"{self.hub.url}/{name}/commit/{oid}", "commitOid": oid})

    def tree(self, files: dict[str, bytes], folder: str) -> None:
        """A page of a listing, with the address of the next one."""
        query = parse_qs(urlsplit(self.path).query)
        entries = _inside(files, folder, deep=query.get("recursive", ["false"])[0].lower() == "true")
        if folder and not entries:
            return self.refuse(404, "Entry not found", "EntryNotFound")
        first = int(query.get("cursor", ["0"])[0])
        headers = {}
        if first + PAGE < len(entries):
            address = re.sub(r"[?&]cursor=\d+", "", f"{self.hub.url}{self.path}")
            joined = f"{address}{'&' if '?' in address else '?'}cursor={first + PAGE}"
            headers["Link"] = f'<{joined}>; rel="next"'
        return self.json(entries[first : first + PAGE], **headers)

    def resolve(self, name: str, revision: str, path: str, token: str) -> None:
        files = self.readable(name, revision, token)
        if files is None:
            return None
        data = files.get(path)
        if data is None:
            return self.refuse(404, "Entry not found", "EntryNotFound")
        headers = {"X-Repo-Commit": self.hub.repositories[name].revision(revision) or ""}
        if len(data) <= LARGE:
            return self.send_range(data, headers | {"ETag": f'"{_oid(data)}"'})
        oid = hashlib.sha256(data).hexdigest()
        place = f"{self.hub.content}/{oid}?signature={_signature(oid)}"
        linked = {"X-Linked-Size": str(len(data)), "X-Linked-ETag": f'"{oid}"', "Location": place}
        return self.send(b"", 302, headers | linked)


_HOSTS = (("127.0.0.1", _Pages), ("localhost", _Content))


def _oid(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


def _signature(oid: str) -> str:
    return hashlib.sha256(f"signed {oid}".encode()).hexdigest()[:16]


def _signed(url: str) -> bool:
    """Whether a URL names a content with its signature."""
    query = parse_qs(urlsplit(url).query)
    return query.get("signature") == [_signature(query.get("oid", [""])[0])]


def _file(path: str, data: bytes) -> dict[str, Any]:
    large = {"lfs": {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 133}}
    return {"type": "file", "path": path, "size": len(data), "oid": _oid(data), **(large if len(data) > LARGE else {})}


def _itself(files: dict[str, bytes], path: str) -> list[dict[str, Any]]:
    """What a path is: a file, a folder or nothing."""
    if path in files:
        return [_file(path, files[path])]
    there = any(other.startswith(f"{path}/") for other in files)
    return [{"type": "directory", "path": path, "oid": _oid(path.encode())}] if there else []


def _inside(files: dict[str, bytes], folder: str, *, deep: bool) -> list[dict[str, Any]]:
    """What lies in a folder; `deep`: at any depth."""
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
            found[path] = _file(path, data)
    return list(found.values())
