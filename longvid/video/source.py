"""Sources of a video's bytes: local files, URLs, members of tar shards.

    source_of("film.mp4")                                  a path
    source_of("s3://lab/film.mp4")                         what fsspec reads
    source_of("tar://a/7.mp4::s3://lab/shard-003.tar")     a member, found by reading the shard's headers
    source_of("tar://a/7.mp4@1536+80213::shard-003.tar")   the same without a search: 80,213 bytes from byte 1,536 on

All checks of a file work on its bytes, wherever they lie.
"""

import re
import tarfile
from dataclasses import dataclass
from functools import lru_cache
from io import BufferedReader
from pathlib import Path
from urllib.parse import unquote, urlsplit

from longvid.errors import ConfigError, UnreadableVideo, VideoError, VideoNotFound, short_reason
from longvid.video.remote import RemoteFile
from longvid.video.storage import Storage, is_url, url_name, without_secrets

Source = Path | RemoteFile

TAR = "tar://"
_MEMBER = re.compile(r"(?P<name>.+?)(?:@(?P<offset>[0-9]{1,19})\+(?P<length>[0-9]{1,19}))?", re.DOTALL)
_WRITTEN_COLON = re.compile("%((?:25)*)3A")


def source_of(path: str | Path | RemoteFile, storage: Storage | None = None) -> Source:
    """The source that a path, a URL or the name of a tar's member stands for; nothing is opened but a tar to search.

    Raises `ConfigError` for a member's name without its tar; `VideoNotFound`, `VideoUnreachable` and `UnreadableVideo`
    for a tar that has to be searched.
    """
    if isinstance(path, Path | RemoteFile):
        return path
    if path.startswith(TAR):
        return _member(path, storage or Storage())
    if path.startswith("file://"):
        return Path(unquote(urlsplit(path).path))
    return RemoteFile(path, storage or Storage()) if is_url(path) else Path(path)


def open_source(source: Source) -> BufferedReader:
    """The source's bytes, opened for reading and seeking."""
    return source.open("rb") if isinstance(source, Path) else BufferedReader(source.open())


def size_of(source: Source) -> int:
    """The length of the source in bytes."""
    return source.stat().st_size if isinstance(source, Path) else source.size_bytes


def forget(path: str, storage: Storage) -> None:
    """Drop what this machine keeps of a video at a URL that is not needed any more."""
    if is_url(path) and not path.startswith(("file://", TAR)):
        RemoteFile(path, storage).forget()


def source_name(path: str) -> str:
    """The name of the file that a path, a URL or a tar's member names, with its ending."""
    if path.startswith(TAR):
        return _parted(path)[0].rpartition("/")[2]
    return url_name(path) if is_url(path) else Path(path).name


def readable_name(path: str) -> str:
    """The path as messages show it: without secrets, and of a tar's member without its place in the tar."""
    if path.startswith(TAR):
        name, _, shard = _parted(path)
        return f"{TAR}{name}::{without_secrets(shard)}"
    return without_secrets(path)


def source_key(path: str) -> str:
    """The key of a video that is given none: the path without its ending, of a URL without protocol and query."""
    if path.startswith(TAR):
        return Path(_parted(path)[0]).with_suffix("").as_posix()
    parts = urlsplit(path)
    place = f"{parts.hostname or ''}{parts.path}" if is_url(path) else path
    return Path(place).with_suffix("").as_posix()


def shard_members(shard: str, storage: Storage) -> dict[str, str]:
    """The members of a tar at a path or URL by name, each as a path for `source_of` that says where it lies.

    Reads only the headers. Raises `UnreadableVideo` for what is not an uncompressed tar, or for one that is cut off.
    """
    files = _index(_tar(shard, storage)).files
    return {name: f"{TAR}{_written(name)}@{offset}+{length}::{shard}" for name, (offset, length) in files.items()}


def unreadable_members(shard: str, storage: Storage) -> dict[str, str]:
    """The members of a tar that are not readable in parts, by name; `source_of` raises a reason for each path."""
    return {name: f"{TAR}{_written(name)}::{shard}" for name in _index(_tar(shard, storage)).others}


def _member(path: str, storage: Storage) -> RemoteFile:
    name, part, shard = _parted(path)
    tar = _tar(shard, storage)
    if part is None:
        index = _index(tar)
        if name in index.others:
            raise UnreadableVideo(f"{tar}: member {name!r} is {index.others[name]}")
        if name not in index.files:
            raise VideoNotFound(f"{tar}: the shard has no member {name!r}")
        part = index.files[name]
    return RemoteFile(tar.url, storage, part, name)


def _parted(path: str) -> tuple[str, tuple[int, int] | None, str]:
    """Member, its place where it is given, and shard."""
    member, separator, shard = path.removeprefix(TAR).partition("::")
    found = _MEMBER.fullmatch(member)
    if not separator or not shard or found is None:
        raise ConfigError(f"{path}: a member of a tar is named as tar://MEMBER::SHARD.tar")
    part = None if found["offset"] is None else (int(found["offset"]), int(found["length"]))
    return _as_named(found["name"]), part, shard


def _written(name: str) -> str:
    """The member's name with `::` as `%3A%3A`: what a shard calls its members must not say which file is read."""
    return _WRITTEN_COLON.sub(r"%25\g<1>3A", name).replace("::", "%3A%3A")


def _as_named(written: str) -> str:
    """The member's name, as the tar has it."""
    return _WRITTEN_COLON.sub(lambda found: f"%{found[1][2:]}3A" if found[1] else ":", written)


def _tar(shard: str, storage: Storage) -> RemoteFile:
    return RemoteFile(shard if is_url(shard) else f"file://{Path(shard).absolute()}", storage)


@dataclass(frozen=True)
class _Index:
    """What a tar holds; of several members of one name the last, as when it is unpacked."""

    files: dict[str, tuple[int, int]]
    """Offset and length of every file, by name."""
    others: dict[str, str]
    """What else has a name: what it is, and the remedy."""


@lru_cache(maxsize=16)
def _index(tar: RemoteFile) -> _Index:
    tar.look()
    files: dict[str, tuple[int, int]] = {}
    others: dict[str, str] = {}
    try:
        with tarfile.open(fileobj=open_source(tar), mode="r:") as opened:
            for one in opened:
                if one.size < 0:
                    raise ValueError(f"member {one.name!r} has {one.size} bytes")
                found = _place(one, files)
                files.pop(one.name, None)
                others.pop(one.name, None)
                if isinstance(found, str):
                    others[one.name] = found
                elif found is not None:
                    files[one.name] = found
    except VideoError:
        raise
    except (tarfile.TarError, ValueError, OverflowError, MemoryError, OSError) as error:  # headers with wild numbers
        raise UnreadableVideo(
            f"{tar}: not a whole, uncompressed tar ({short_reason(error)}); copy it again, or unpack it: only plain "
            "tars can be read in parts"
        ) from error
    return _Index(files, others)


def _place(one: tarfile.TarInfo, files: dict[str, tuple[int, int]]) -> tuple[int, int] | str | None:
    """Offset and length of a member; else what it is and the remedy; None for a folder."""
    if one.issparse():
        return "stored sparsely; pack the shard again without --sparse"
    if one.islnk() and one.linkname in files:
        return files[one.linkname]
    if one.islnk() or one.issym():
        return f"a {'symbolic' if one.issym() else 'broken hard'} link; unpack the tar and give the files themselves"
    if not one.isreg():
        return None if one.isdir() else "not a file; unpack the tar and give the files themselves"
    return one.offset_data, one.size
