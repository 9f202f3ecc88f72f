"""Reading and writing objects at the location of a store.

A store reads and writes documents and shards only through here, as whole objects. Each put is atomic: a reader sees the
old bytes, the new ones or none. A folder is handled with plain file calls (fast, durable, and safe after fork);
everything else through a zarr store (`MemoryStore`, fsspec URLs such as s3://, obstore's `ObjectStore`).
"""

import asyncio
import errno
import os
import random
import shutil
import stat
import time
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from zarr.abc.buffer import Buffer, BufferPrototype
from zarr.abc.store import ByteRequest, Store
from zarr.buffer import default_buffer_prototype
from zarr.storage import FsspecStore, LocalStore, MemoryStore, WrapperStore

from longvid.files import write_bytes, write_new
from longvid.stores.errors import StoreAccessError, StoreReadOnly
from longvid.stores.waiting import wait_for

Location = str | os.PathLike[str] | Store
Result = TypeVar("Result")

NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
"""Flags of `os.open` that refuse a symbolic link."""

_PUT_ATTEMPTS = 30

RETRIES = 3
FIRST_PAUSE_SECONDS = 0.2
"""A request to a place other than a folder is repeated this often, after pauses that double, if it may then succeed.
What the place's own library repeats by itself comes on top."""
LONGEST_PAUSE_SECONDS = 60.0
"""Longest pause that a server may ask for."""


@runtime_checkable
class Place(Protocol):
    """The operations that a store needs at a location. Paths are relative, with `/`; `""` is the store itself."""

    location: str
    writable: bool
    folder: Path | None
    """The local folder, where there is one."""

    def get(self, path: str) -> bytes | None:
        """The object's bytes, or None if there is none."""

    def get_many(self, paths: Iterable[str]) -> list[bytes | None]:
        """`get` of each path, several at once where that is faster."""

    def put(self, path: str, data: bytes, *, flush: bool = True) -> None:
        """Write the object in one atomic step; `flush`: it survives a power cut from now on."""

    def put_new(self, path: str, data: bytes) -> bool:
        """As `put`, where there is no object yet; False: another writer was first, whose object stays.

        On an object store two writers that meet within one request may both be first; the later one's object stays.
        """

    def flush(self, paths: Iterable[str]) -> None:
        """Make these objects, which were put without `flush`, survive a power cut."""

    def sizes(self, path: str) -> dict[str, int | None]:
        """Names directly under `path`; for files the size in bytes where it costs no extra request, else None."""

    def delete(self, path: str) -> None:
        """Remove the object if it is there."""

    def delete_tree(self, path: str) -> None:
        """Remove everything under `path`."""

    def prune(self, path: str) -> None:
        """Remove the folder if it is empty; does nothing where empty folders do not exist."""

    def is_link(self, path: str) -> bool:
        """Whether there is a symbolic link, which is never followed."""

    def zarr_store(self) -> Store:
        """The location as a zarr store, for reading arrays."""


def open_place(location: Location, *, writable: bool, storage_options: dict[str, Any] | None = None) -> Place:
    """The place at a path, at a URL (`file:`, or any that fsspec knows) or in a zarr store object."""
    if isinstance(location, LocalStore):
        return FolderPlace(location.root, writable=writable)
    if isinstance(location, Store):
        return ZarrPlace(location, writable=writable)
    text = os.fspath(location)
    if text.startswith("file://"):
        text = text.removeprefix("file://")
    if text.startswith("hf://") and writable:
        raise StoreReadOnly(
            f"{text}: the Hub is for reading, as each file would be a commit; use a folder, then `longvid push`"
        )
    if "://" in text:
        return UrlPlace(text, writable=writable, storage_options=storage_options)
    return FolderPlace(Path(text), writable=writable)


class FolderPlace:
    """A folder of a local or mounted file system.

    The folder itself may be reached through a symbolic link. Links inside it are never followed, since they may lead
    out of the store: a link counts as absent, nothing is written through it, and deleting it removes only the link.
    """

    def __init__(self, folder: Path, *, writable: bool) -> None:
        self._root = folder.absolute()  # a worker may have another working directory
        self.folder: Path | None = self._root
        self.location = str(folder)
        self.writable = writable

    def get(self, path: str) -> bytes | None:
        if has_link(self._root, path):
            return None
        try:
            # no object is empty: a power cut leaves an empty file of one that was not flushed
            return _read_file(self._root / path) or None
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _failed("read", self.location, path, error) from error

    def get_many(self, paths: Iterable[str]) -> list[bytes | None]:
        return [self.get(path) for path in paths]

    def put(self, path: str, data: bytes, *, flush: bool = True) -> None:
        """Write a temporary file beside it, flush it to the disk, and rename it; the folder is flushed too.

        So there is never half a file under the name, even after a kill or a power cut. Measured on an SSD: 0.5 ms for a
        document, 20 ms for 26 MB, of which the flush is less than half.
        """
        _refuse_read_only(self, path)
        self._refuse_links(os.path.dirname(path), "write")
        target = self._root / path
        for attempt in range(_PUT_ATTEMPTS):
            try:
                _write(target, data, flush=flush)
                if flush:
                    _flush(target.parent)
                return
            except FileNotFoundError as error:  # another process has removed temporary files or an empty folder
                if attempt == _PUT_ATTEMPTS - 1:
                    raise _failed("write", self.location, path, error) from error
                time.sleep(random.uniform(0, 0.001 * attempt))
            except OSError as error:
                raise _failed("write", self.location, path, error) from error

    def put_new(self, path: str, data: bytes) -> bool:
        _refuse_read_only(self, path)
        self._refuse_links(os.path.dirname(path), "write")
        try:
            return write_new(self._root / path, data)
        except OSError as error:
            raise _failed("write", self.location, path, error) from error

    def flush(self, paths: Iterable[str]) -> None:
        files = [self._root / path for path in paths]
        folders = {folder for file in files for folder in file.parents if folder.is_relative_to(self._root)}
        for entry in [*files, *sorted(folders, reverse=True)]:
            try:
                _flush(entry)
            except OSError as error:
                raise _failed("write", self.location, str(entry), error) from error

    def sizes(self, path: str) -> dict[str, int | None]:
        """As `Place.sizes`; None for a folder, a link and anything else that is not a file."""
        if has_link(self._root, path):
            return {}
        try:
            with os.scandir(self._root / path) as entries:
                return {entry.name: _size(entry) for entry in entries}
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise _failed("list", self.location, path, error) from error

    def delete(self, path: str) -> None:
        """Remove the object, even if it is a folder in the place of a file."""
        _refuse_read_only(self, path)
        self._refuse_links(os.path.dirname(path), "delete")
        target = self._root / path
        try:
            if target.is_dir() and not target.is_symlink():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)
        except OSError as error:
            raise _failed("delete", self.location, path, error) from error

    def delete_tree(self, path: str) -> None:
        _refuse_read_only(self, path)
        self._refuse_links(os.path.dirname(path), "delete")
        target = self._root / path
        try:
            if target.is_symlink():
                target.unlink()
            else:
                shutil.rmtree(target)
        except FileNotFoundError:
            return
        except OSError as error:
            raise _failed("delete", self.location, path, error) from error

    def prune(self, path: str) -> None:
        _refuse_read_only(self, path)
        if not has_link(self._root, path):
            with suppress(OSError):  # not empty, or gone
                (self._root / path).rmdir()

    def is_link(self, path: str) -> bool:
        return has_link(self._root, path)

    def zarr_store(self) -> Store:
        return _WithoutLinks(self._root, read_only=True)

    def _refuse_links(self, folder: str, verb: str) -> None:
        if has_link(self._root, folder):
            raise StoreAccessError(
                f"{self.location}: cannot {verb} in {folder}: it is, or lies behind, a symbolic link, which is never "
                "followed inside a store; put the folder itself there"
            )


class _WithoutLinks(LocalStore):
    """zarr's store for a folder, in which links count as absent."""

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        if has_link(self.root, key):
            return None
        return await super().get(key, prototype, byte_range)


def has_link(root: Path, path: str) -> bool:
    """Whether an entry of the path, from below the root to its end, is a symbolic link."""
    entry = str(root)
    for part in path.split("/"):
        if part == "..":
            return True
        entry = f"{entry}/{part}"
        if part and os.path.islink(entry):
            return True
    return False


def _read_file(path: Path) -> bytes:
    """The bytes of a regular file. Raises OSError for anything else, without waiting for a pipe's other end."""
    descriptor = os.open(path, os.O_RDONLY | NO_LINK | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("is not a file")
        return file.read()


def _write(target: Path, data: bytes, *, flush: bool) -> None:
    """The one atomic write, for many writers of one target."""
    try:
        write_bytes(target, data, flush=flush)
    except FileNotFoundError:
        # completing a video removes its temporary files: then the target exists already
        if not target.exists():
            raise


def _size(entry: os.DirEntry[str]) -> int | None:
    try:
        return entry.stat(follow_symlinks=False).st_size if entry.is_file(follow_symlinks=False) else None
    except FileNotFoundError:  # another process has just renamed its temporary file
        return None


def _flush(entry: Path) -> None:
    """Flush a file, or the entries of a folder, to the disk."""
    if os.name != "posix":  # elsewhere folders cannot be opened, and files that are open for reading cannot be flushed
        return
    descriptor = os.open(entry, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class ZarrPlace:
    """Anything that zarr can write to, through zarr's own store object."""

    folder: Path | None = None

    def __init__(self, store: Store, *, writable: bool) -> None:
        self._store = store
        self._objects = _for_another_loop(store)
        self.location = str(store)
        self.writable = writable

    def zarr_store(self) -> Store:
        return _Persistent(self._store, self.location)

    def _object_store(self) -> Store:
        """The same location as `zarr_store`, for coroutines that this package waits for."""
        return self._objects

    def get(self, path: str) -> bytes | None:
        buffer = self._wait("read", path, lambda: self._object_store().get(path, default_buffer_prototype()))
        return None if buffer is None else buffer.to_bytes()

    def get_many(self, paths: Iterable[str]) -> list[bytes | None]:
        with ThreadPoolExecutor(16) as pool:
            return list(pool.map(self.get, paths))

    def put(self, path: str, data: bytes, *, flush: bool = True) -> None:
        """Put the object by one request; it is durable once the server has answered."""
        _refuse_read_only(self, path)
        buffer = default_buffer_prototype().buffer.from_bytes(data)
        self._wait("write", path, lambda: self._object_store().set(path, buffer))

    def put_new(self, path: str, data: bytes) -> bool:
        if self.get(path) is not None:
            return False
        self.put(path, data)
        return self.get(path) == data

    def flush(self, paths: Iterable[str]) -> None:
        """Nothing is left to do."""

    def sizes(self, path: str) -> dict[str, int | None]:
        # connected out here: making the connection waits for the loop in which the listing runs
        return dict.fromkeys(self._wait("list", path, lambda: self._names(self._object_store(), path)))

    async def _names(self, store: Store, path: str) -> list[str]:
        return [name async for name in store.list_dir(path)]

    def delete(self, path: str) -> None:
        _refuse_read_only(self, path)
        self._wait("delete", path, lambda: self._object_store().delete(path))

    def delete_tree(self, path: str) -> None:
        _refuse_read_only(self, path)
        self._wait("delete", path, lambda: self._object_store().delete_dir(path))

    def prune(self, path: str) -> None:
        """Nothing is left to do."""

    def is_link(self, path: str) -> bool:
        """False: there are no links."""
        return False

    def _wait(self, verb: str, path: str, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """The result of a request, which may be made again: a put of the same bytes, too, leaves what one leaves."""
        for attempt in count():
            try:
                return wait_for(work())
            except Exception as error:  # each backend raises its own types, most of which are not OSErrors
                if attempt == RETRIES or not _may_pass(error):
                    raise _failed(verb, self.location, path, error) from error
                pause = _pause_seconds(attempt, error)
            time.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def __getstate__(self) -> dict[str, Any]:
        if isinstance(self._store, MemoryStore):
            raise StoreAccessError(
                f"{self.location}: a store in memory lives in one process and cannot be sent to another; use a folder"
            )
        return self.__dict__


class _Persistent(WrapperStore[Store]):
    """A zarr store that repeats a read that failed and may succeed.

    What fails for good is told apart from damage: what cannot be fetched now may be whole.
    """

    def __init__(self, store: Store, location: str) -> None:
        super().__init__(store)
        self._location = location

    def _with_store(self, store: Store) -> "_Persistent":
        return _Persistent(store, self._location)

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        for attempt in count():
            try:
                return await self._store.get(key, prototype or default_buffer_prototype(), byte_range)
            except Exception as error:
                if attempt == RETRIES or not _may_pass(error):
                    raise _failed("read", self._location, key, error) from error
                pause = _pause_seconds(attempt, error)
            await asyncio.sleep(pause)
        raise AssertionError("the last attempt returns or raises")


def _pause_seconds(attempt: int, error: Exception) -> float:
    """How long to wait before a request is made again: the server's wish up to a minute, or a growing time."""
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    told = str(headers.get("Retry-After", ""))
    asked = min(float(told), LONGEST_PAUSE_SECONDS) if told.isdecimal() else 0.0
    growing: float = random.uniform(0.5, 1.0) * FIRST_PAUSE_SECONDS * 2**attempt
    return max(asked, growing)


def _may_pass(error: Exception) -> bool:
    """Whether the request may succeed when it is made again: not where it is refused, or could never succeed."""
    lasting = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError)
    if isinstance(error, lasting) or type(error).__name__ == "NoCredentialsError":
        return False
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(status, int) and 400 <= status < 500 and status not in (408, 429):
        return False
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        return False
    return not isinstance(error, TypeError | ValueError | LookupError | AttributeError | NotImplementedError)


def _for_another_loop(store: Store) -> Store:
    """The store itself, or a second one for the same location if its connection is bound to one event loop.

    zarr reads arrays in its own event loop, and longvid waits for objects in another.
    """
    if not isinstance(store, FsspecStore) or not (store.fs.async_impl and store.fs.storage_options.get("asynchronous")):
        return store
    kind = type(store.fs)

    async def in_that_loop() -> (
        Any
    ):  # fsspec keeps one file system per thread, so this is a second one, which is kept too
        return kind(*store.fs.storage_args, **store.fs.storage_options)

    return FsspecStore(wait_for(in_that_loop()), read_only=store.read_only, path=store.path)


class UrlPlace(ZarrPlace):
    """An fsspec URL. The connection is made in the process that uses it, and again after a fork or a pickle."""

    def __init__(self, url: str, *, writable: bool, storage_options: dict[str, Any] | None) -> None:
        self.location = url
        self.writable = writable
        self._storage_options = dict(storage_options or {})
        self._opened: dict[tuple[int, str], Store] = {}

    def zarr_store(self) -> Store:
        return _Persistent(self._connection("arrays", self._connect), self.location)

    def _object_store(self) -> Store:
        return self._connection("objects", lambda: _for_another_loop(self._connect()))

    def _connection(self, name: str, connect: Callable[[], Store]) -> Store:
        mine = os.getpid(), name
        if mine not in self._opened:
            self._opened[mine] = connect()
        return self._opened[mine]

    def _connect(self) -> FsspecStore:
        try:
            if self.location.startswith("hf://"):
                return _on_the_hub(self.location, self._storage_options)
            return FsspecStore.from_url(
                self.location, storage_options=self._storage_options, read_only=not self.writable
            )
        except (ImportError, ValueError, OSError) as error:
            raise StoreAccessError(f"{self.location}: cannot be opened: {error}") from error

    async def _names(self, store: Store, path: str) -> list[str]:
        if isinstance(store, FsspecStore):
            store.fs.invalidate_cache()  # other processes write too, and a cached listing would hide their shards
        return [name async for name in store.list_dir(path)]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": {}}


def _on_the_hub(location: str, options: dict[str, Any]) -> FsspecStore:
    """A store on the Hugging Face Hub, of which the bytes that are asked for are fetched, and no more.

    Its file system reads 5 MB ahead of every range otherwise, ten times a window of pooled features.
    """
    from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
    from huggingface_hub import HfFileSystem

    class ByRange(HfFileSystem):
        def cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
            return bytes(super().cat_file(path, start, end, **{"cache_type": "none", **kwargs}))

    files = AsyncFileSystemWrapper(ByRange(**options), asynchronous=True)
    return FsspecStore(files, path=location.removeprefix("hf://").rstrip("/"), read_only=True)


def _refuse_read_only(place: Place, path: str) -> None:
    if not place.writable:
        raise StoreReadOnly(f"{place.location}: opened for reading, so {path} cannot be changed; open it with mode='a'")


_CURES = {
    "read": "check that it can be reached and read, then run the same command again",
    "list": "check that it can be reached and read, then run the same command again",
    "write": "make room or permit writing there, then run the same command again: what is written already stays",
    "delete": "permit writing there, then run the same command again",
}


def _failed(verb: str, location: str, path: str, error: Exception) -> StoreAccessError:
    reason = (isinstance(error, OSError) and error.strerror) or f"{type(error).__name__}: {error}"
    reason = " ".join(str(reason).split())
    return StoreAccessError(f"{location}: cannot {verb} {path or 'it'}: {reason}; {_remedy(verb, error)}")


def _remedy(verb: str, error: Exception) -> str:
    if isinstance(error, NotADirectoryError | FileExistsError):
        return "a file is where a folder has to be: choose another place for the store"
    if verb == "write" and isinstance(error, FileNotFoundError):
        return "make the bucket or the drive it lies on first, then run the same command again"
    return _CURES[verb]
