"""Files at URLs, read in parts, with retries and counts.

A `RemoteFile` is opened like a local one and gives the same bytes. They come in blocks, which this process keeps in
memory while there is room, and this machine on its disk (`staging`): the demux pass, the checks of the container and
decoding read a file only once. A server without ranges gives the whole file, once, into a temporary file.

A request that fails is repeated after a pause: `Storage.retries` times, and once where the place refuses (403) or has
no such file (404). Then the file has failed, by `VideoUnreachable` or `VideoNotFound`, for all who read it: no decoder
takes bytes that did not come for the end of the file. Where the place gives ETags, bytes of two versions are never
mixed.
"""

import errno
import io
import os
import random
import tempfile
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count
from typing import IO, Any, TypeVar

from longvid.errors import VideoNotFound, VideoUnreachable
from longvid.video.ranges import NoRanges, http_fetcher
from longvid.video.staging import file_id, staging
from longvid.video.storage import EXTRAS, Storage, url_name
from longvid.video.traffic import Traffic, current_traffic
from longvid.video.trouble import Trouble, trouble_of

BLOCK_BYTES = 1 << 20
MOST_BLOCKS = 8
"""Blocks of one request: reading on in a file takes more and more of them at once."""
KEPT_BYTES = 64 << 20
"""Blocks that a process keeps, of all files together."""
FILES_KNOWN = 64
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 20.0
REFUSED_RETRIES = 1
"""Times that a refusal (401, 403, 404, 410) is repeated: a place under load, or just written to, may answer so."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Facts:
    """What the place says of a file. A member of a tar has the tar's `modified`."""

    size_bytes: int | None
    """None: the place does not say."""
    modified: dict[str, Any]
    """`etag` or `mtime`; empty where the place says neither."""
    has_ranges: bool = True
    etag: str = ""
    """The ETag as the place writes it, if it is one that identifies every byte."""


@dataclass(frozen=True)
class RemoteFile:
    """A file at a URL, or the part of it that is a member of a tar shard. As text it has no query and no password."""

    url: str = field(repr=False)
    storage: Storage = field(default_factory=Storage, repr=False)
    part: tuple[int, int] | None = None
    """Offset and length of the member; None: the whole file."""
    member: str = ""

    def __str__(self) -> str:
        url = self.storage.hide(self.url)
        return f"tar://{self.member}::{url.removeprefix('file://')}" if self.part is not None else url

    @property
    def name(self) -> str:
        """The file's name, with its ending."""
        return self.member.rpartition("/")[2] if self.part is not None else url_name(self.url)

    @property
    def stem(self) -> str:
        """The file's name without its ending."""
        return self.name.rpartition(".")[0] or self.name

    def look(self) -> Facts:
        """Asks the place (one request) for the file's size and version. Blocks of another version are dropped.

        Raises `VideoNotFound`, or `VideoUnreachable` after all retries.
        """
        return _known(os.getpid(), self.url, self.storage).look(self)

    @property
    def modified(self) -> dict[str, Any]:
        """As `Facts.modified`, asked when the file was first used or last looked at."""
        return _known(os.getpid(), self.url, self.storage).version(self).facts.modified

    @property
    def size_bytes(self) -> int:
        """The length of the file; of a member, its own."""
        if self.part is not None:
            return self.part[1]
        return _known(os.getpid(), self.url, self.storage).version(self).size_bytes(self)

    def forget(self) -> None:
        """Drops the blocks of the file that this machine keeps; those of a tar stay, for its other members."""
        if self.part is None:
            _known(os.getpid(), self.url, self.storage).drop()

    def open(self) -> "RemoteReader":
        """The bytes, read as they are asked for."""
        return RemoteReader(self)


class RemoteReader(io.RawIOBase):
    """A `RemoteFile`, opened. Once a read has failed, every later one fails in the same way."""

    mode = "rb"

    def __init__(self, file: RemoteFile) -> None:
        super().__init__()
        self._file, self.name = file, file.name
        self._version = _known(os.getpid(), file.url, file.storage).version(file)
        whole_bytes = self._version.size_bytes(file)
        self._start, self._size = file.part or (0, whole_bytes)
        if self._start + self._size > whole_bytes:
            raise _told(file, Trouble("lasting", f"its shard ends at byte {whole_bytes}, before the member does"), 1)
        self._at = 0
        self._next_block = -1
        self._window = self._first_window = MOST_BLOCKS if self._size <= MOST_BLOCKS * BLOCK_BYTES else 1
        self._traffic = current_traffic()
        self.failure: Exception | None = None

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """Position of the next byte."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move; no request is made. Raises OSError for a place before the start."""
        at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if at < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._at = at
        return at

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer, or what of it the rest of the file fills."""
        if self.failure is not None:
            raise self.failure
        view = memoryview(buffer).cast("B")
        wanted = max(0, min(len(view), self._size - self._at))
        done = 0
        while done < wanted:
            number, inside = divmod(self._start + self._at + done, BLOCK_BYTES)
            data = self._block(number)[inside : inside + wanted - done]
            view[done : done + len(data)] = data
            done += len(data)
        self._at += done
        return done

    def _block(self, number: int) -> bytes:
        if number != self._next_block - 1:  # not the one just read from
            self._window = min(2 * self._window, MOST_BLOCKS) if number == self._next_block else self._first_window
            self._next_block = number + 1
        last = (self._start + self._size - 1) // BLOCK_BYTES
        try:
            return self._version.block(self._file, number, min(self._window, last + 1 - number), self._traffic)
        except Exception as error:
            self.failure = error
            raise


class _Blocks:
    """Blocks of all files of this process, the least recently used dropped first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._bytes = 0

    def get(self, key: tuple[int, int]) -> bytes | None:
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
            return self._held.get(key)

    def put(self, key: tuple[int, int], data: bytes) -> None:
        with self._lock:
            self._bytes += len(data) - len(self._held.pop(key, b""))
            self._held[key] = data
            while self._bytes > KEPT_BYTES and len(self._held) > 1:
                self._bytes -= len(self._held.popitem(last=False)[1])

    def drop(self, version: int) -> None:
        with self._lock:
            for key in [key for key in self._held if key[0] == version]:
                self._bytes -= len(self._held.pop(key))


_blocks = _Blocks()
_numbers = count()


class _Known:
    """What this process knows of a file at a URL: the version that was last seen there."""

    def __init__(self, url: str, storage: Storage) -> None:
        self._url, self._storage = url, storage
        self._lock = threading.Lock()
        self._version: _Version | None = None

    def look(self, file: RemoteFile) -> Facts:
        facts = repeated(file, current_traffic(), self._ask)
        with self._lock:
            if self._version is None or facts != self._version.facts:
                if self._version is not None:
                    _blocks.drop(self._version.number)
                self._version = _Version(self._url, self._storage, facts)
        return facts

    def drop(self) -> None:
        """Forget the blocks, if any are known of."""
        if self._version is not None:
            self._version.drop()

    def version(self, file: RemoteFile) -> "_Version":
        if self._version is None:
            self.look(file)
        assert self._version is not None
        return self._version

    def _ask(self) -> Facts:
        file_system, path = self._storage.file_system(self._url)
        told = file_system.info(path)
        if told.get("type") == "directory":
            raise IsADirectoryError(errno.EISDIR, "is a folder", "")
        return Facts(told.get("size"), _modified(told), told.get("partial", True) is not False, _etag(told))


class _Version:
    """One version of a file at a URL: its facts, its blocks on the way, its open handle."""

    def __init__(self, url: str, storage: Storage, facts: Facts) -> None:
        self.number, self.facts = next(_numbers), facts
        self._url, self._storage = url, storage
        self._lock = threading.Lock()
        self._coming: dict[int, threading.Event] = {}
        # without a version, blocks of another one could not be told apart
        self._staging = staging() if facts.modified and facts.size_bytes is not None else None
        self._id = file_id(url, facts.size_bytes, facts.modified)
        self._fetch: Callable[[int, int], bytes] | None = None
        self._whole: IO[bytes] | None = None

    def size_bytes(self, file: RemoteFile) -> int:
        """The size; where the place does not say it, of the whole file, which is fetched."""
        if self.facts.size_bytes is not None:
            return self.facts.size_bytes
        return os.fstat(self._fetched_whole(file, current_traffic()).fileno()).st_size

    def block(self, file: RemoteFile, number: int, window: int, traffic: Traffic | None) -> bytes:
        """One block. If it is not held, it is fetched with up to `window` - 1 that follow; several threads share it."""
        while True:
            with self._lock:
                held = self._held(number)
                if held is not None:
                    return held
                coming = self._coming.get(number)
                if coming is None:
                    mine, stop = threading.Event(), number + 1
                    while stop < number + window and self._is_wanting(stop):
                        stop += 1
                    self._coming |= dict.fromkeys(range(number, stop), mine)
                    break
            coming.wait()
        try:
            data = self._read(file, number * BLOCK_BYTES, stop * BLOCK_BYTES, traffic)
            parts = [data[at : at + BLOCK_BYTES] for at in range(0, len(data), BLOCK_BYTES)]
            for at, part in enumerate(parts):
                _blocks.put((self.number, number + at), part)
                if self._staging is not None:
                    self._staging.put(self._id, number + at, part)
            return parts[0]
        finally:
            with self._lock:
                for one in range(number, stop):
                    del self._coming[one]
            mine.set()

    def drop(self) -> None:
        """Forget the blocks that this machine keeps."""
        _blocks.drop(self.number)
        if self._staging is not None:
            self._staging.drop(self._id)

    def _held(self, number: int) -> bytes | None:
        """The block, if this process or this machine has it."""
        held = _blocks.get((self.number, number))
        if held is None and self._staging is not None:
            held = self._staging.get(self._id, number)
            if held is not None:
                _blocks.put((self.number, number), held)
        return held

    def _is_wanting(self, number: int) -> bool:
        if number in self._coming or _blocks.get((self.number, number)) is not None:
            return False
        return self._staging is None or not self._staging.holds(self._id, number)

    def _read(self, file: RemoteFile, start: int, stop: int, traffic: Traffic | None) -> bytes:
        if self._whole is None and self.facts.has_ranges and self.facts.size_bytes is not None:
            end = min(stop, self.facts.size_bytes)
            try:
                return repeated(file, traffic, lambda: self._range(start, end, traffic))
            except NoRanges:
                pass
        whole = self._fetched_whole(file, traffic)
        with self._lock:  # one position for all who read
            whole.seek(start)
            data = whole.read(stop - start)
        if not data:
            raise _told(file, Trouble("lasting", f"it ends before byte {start}"), 1)
        return data

    def _range(self, start: int, stop: int, traffic: Traffic | None) -> bytes:
        if self._fetch is None:
            self._fetch = self._opened(traffic)
        data = self._fetch(start, stop)
        if traffic is not None:
            traffic.add(read_bytes=len(data))
        if len(data) != stop - start:
            raise EOFError(f"{len(data)} of {stop - start} bytes came")
        return bytes(data)

    def _opened(self, traffic: Traffic | None) -> Callable[[int, int], bytes]:
        """A function that reads the bytes between two offsets by one request, from several threads."""
        from fsspec.spec import AbstractBufferedFile

        file_system, path = self._storage.file_system(self._url)
        options: dict[str, Any] = {"cache_type": "none", "block_size": BLOCK_BYTES}
        is_http = self._url.lower().startswith(("http://", "https://"))
        if is_http:
            # a server that compresses, or has another version by now, must not be misread
            exact = {"Accept-Encoding": "identity"} | ({"If-Match": self.facts.etag} if self.facts.etag else {})
            headers = dict(file_system.kwargs.get("headers", {}))
            options |= {"size": self.facts.size_bytes, "headers": headers | exact}
        elif traffic is not None:
            traffic.add(requests=1)  # they ask for the file's facts themselves
        handle = file_system.open(path, "rb", **options)
        if is_http and isinstance(handle, AbstractBufferedFile):
            return http_fetcher(handle)
        if isinstance(handle, AbstractBufferedFile):
            fetch: Callable[[int, int], bytes] = handle.cache.fetcher
            return fetch

        def read(start: int, stop: int) -> bytes:
            with self._lock:
                handle.seek(start)
                data: bytes = handle.read(stop - start)
                return data

        return read

    def _fetched_whole(self, file: RemoteFile, traffic: Traffic | None) -> IO[bytes]:
        """A temporary file with all bytes, for a place that gives no parts."""

        def fetch() -> IO[bytes]:
            file_system, path = self._storage.file_system(self._url)
            fetched: IO[bytes] = tempfile.TemporaryFile(prefix="longvid-video-", buffering=0)  # noqa: SIM115
            try:
                file_system.get_file(path, fetched)
                size_bytes = os.fstat(fetched.fileno()).st_size
                if traffic is not None:
                    traffic.add(read_bytes=size_bytes)
                if self.facts.size_bytes not in (None, size_bytes):
                    raise EOFError(f"{size_bytes} of {self.facts.size_bytes} bytes came")
            except BaseException:
                fetched.close()
                raise
            return fetched

        with _ONE_WHOLE:
            if self._whole is None:
                self._whole = repeated(file, traffic, fetch)
                weakref.finalize(self, self._whole.close)
            return self._whole


_ONE_WHOLE = threading.Lock()


def _modified(told: dict[str, Any]) -> dict[str, Any]:
    for name in ("ETag", "etag", "md5Hash"):
        if told.get(name):
            return {"etag": str(told[name]).strip('"')}
    names = ("LastModified", "Last-Modified", "mtime", "created", "updated")
    written = next((told[name] for name in names if told.get(name)), None)
    return {} if written is None else {"mtime": str(written)}


def _etag(told: dict[str, Any]) -> str:
    etag = str(told.get("ETag", ""))
    return etag if etag.startswith('"') else ""


@lru_cache(maxsize=FILES_KNOWN)
def _known(pid: int, url: str, storage: Storage) -> _Known:
    return _Known(url, storage)


def repeated(file: RemoteFile, traffic: Traffic | None, ask: Callable[[], Result]) -> Result:
    """What the request gives, repeated with growing pauses where it fails."""
    failed = 0
    while True:
        if traffic is not None:
            traffic.add(requests=1, retries=int(failed > 0))
        try:
            return ask()
        except NoRanges:
            raise
        except Exception as error:  # noqa: BLE001 -- each library raises its own kinds
            trouble = trouble_of(error)
            failed += 1
            most = {"passing": file.storage.retries, "lasting": 0}.get(
                trouble.kind, min(REFUSED_RETRIES, file.storage.retries)
            )
            if failed > most:
                raise _told(file, trouble, failed) from None
            pause = min(FIRST_PAUSE_SECONDS * 2 ** (failed - 1), LONGEST_PAUSE_SECONDS)
            time.sleep(pause * random.uniform(0.5, 1.0))


def _told(file: RemoteFile, trouble: Trouble, tried: int) -> Exception:
    """The error that names the file, the trouble and the remedy."""
    times = f", asked {tried} times" if tried > 1 else ""
    reason = file.storage.hide(trouble.reason)
    if trouble.kind == "absent":
        return VideoNotFound(f"{file}: no such file ({reason}{times})")
    if trouble.kind == "refused":
        return VideoUnreachable(
            f"{file}: refused ({reason}{times}): its link may have expired, or credentials are missing; get a new "
            "link, or give credentials in the environment or as `storage` in a settings file"
        )
    protocol = file.url.partition("://")[0]
    if "nstall" in reason and protocol in EXTRAS:
        return VideoUnreachable(f"{file}: needs a package: pip install 'longvid[{EXTRAS[protocol]}]'")
    if trouble.kind == "passing":
        return VideoUnreachable(f"{file}: cannot be read ({reason}{times}); run the same command again later")
    return VideoUnreachable(f"{file}: cannot be read ({reason})")
