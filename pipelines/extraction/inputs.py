"""Turns files, folders, manifests and URLs into videos with keys."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from longvid.errors import AnnotationError, ConfigError, VideoNotFound
from longvid.tasks import Manifest, ManifestRow
from longvid.tasks.folders import VIDEO_ENDINGS, keyed_files
from longvid.tasks.manifest import read_rows
from longvid.video.source import readable_name, shard_members, source_key, unreadable_members
from longvid.video.storage import Storage, is_url

TAR_ENDING = ".tar"
MANIFEST_SUFFIXES = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")


@dataclass(frozen=True)
class VideoRequest:
    """A video to extract and its key in the store; the seconds bound the listed part, if the manifest gives them."""

    key: str
    path: str
    start_seconds: float | None = None
    end_seconds: float | None = None
    sha256: str | None = None
    """sha256 of the file, if the manifest gives it; a file with other bytes is refused."""


def expand_inputs(inputs: Sequence[str | Path], storage: Storage | None = None) -> list[VideoRequest]:
    """Every video named by files, folders, manifests and tar shards, in order, on this machine or at URLs.

    `storage`: how URLs are reached, see `longvid.pipelines.extraction.places`.
    A file's key is its name without the suffix. In a folder it is the path inside the folder, without the suffix unless
    two paths differ only in it. A manifest names its keys itself. Raises `ConfigError` if two videos would have the
    same key.
    """
    return list(ListedVideos(inputs, storage))


class ListedVideos(Iterable[VideoRequest]):
    """The videos of `expand_inputs`, read again from their manifests whenever they are iterated.

    Memory: eight bytes per video while they are read through once to check them, and none after that, so that a
    manifest of a million videos costs as little as one of ten.
    """

    def __init__(self, inputs: Sequence[str | Path], storage: Storage | None = None) -> None:
        # what lies elsewhere is listed once
        self._inputs = [_listed(given, storage or Storage()) for given in inputs]
        hashes = array("q", (hash(request.key) for request in self._each()))
        ordered = np.sort(np.asarray(hashes, np.int64))
        repeated = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
        self._twice = self._named_twice(repeated) if repeated else {}
        self._length = len(hashes) - sum(count - 1 for count in self._twice.values())

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[VideoRequest]:
        seen: set[str] = set()
        for request in self._each():
            if request.key in self._twice:
                if request.key in seen:
                    continue
                seen.add(request.key)
            yield request

    def _each(self) -> Iterator[VideoRequest]:
        for given in self._inputs:
            yield from _expand(given) if isinstance(given, Path) else given

    def _named_twice(self, hashes: set[int]) -> dict[str, int]:
        """How often each key is named that is named more than once. Raises `ConfigError` if that means two files."""
        for given in self._inputs:
            if isinstance(given, Path) and _is_manifest(given):
                Manifest.read(given)  # which names both lines of a key that one manifest gives twice
        first: dict[str, VideoRequest] = {}
        count: dict[str, int] = {}
        for request in self._each():
            if hash(request.key) not in hashes:
                continue
            known = first.setdefault(request.key, request)
            count[request.key] = count.get(request.key, 0) + 1
            if known.path != request.path and Path(known.path).absolute() != Path(request.path).absolute():
                raise ConfigError(
                    f"{readable_name(known.path)} and {readable_name(request.path)} would both be stored as "
                    f"{request.key!r}; give the folder that holds both, or a manifest with a key for each"
                )
        return {key: times for key, times in count.items() if times > 1}


def _listed(given: str | Path, storage: Storage) -> Path | list[VideoRequest]:
    """The videos of a URL or a tar, listed now; a path as it is."""
    if isinstance(given, str) and is_url(given):
        from longvid.pipelines.extraction.places import expand_url

        return expand_url(given, storage)
    path = Path(given)
    if path.suffix.lower() == TAR_ENDING and path.is_file():
        return members_of(str(path), storage)
    return path


def _expand(path: Path) -> Iterable[VideoRequest]:
    if path.is_dir():
        files = keyed_files(path)
        if not files:
            raise VideoNotFound(f"{path}: the folder holds no video ({' '.join(sorted(VIDEO_ENDINGS))})")
        return [VideoRequest(key, _as_file(file)) for key, file in files.items()]
    if _is_manifest(path):
        return (request_of_row(row) for row in read_rows(path))
    # a path that does not exist is kept: it becomes a named row of the run's report, and the others go on
    return [VideoRequest(path.stem, _as_file(path))]


def members_of(shard: str, storage: Storage) -> list[VideoRequest]:
    """The videos in a tar, by the names of the members without their endings; each says where in the tar it lies."""
    members = shard_members(shard, storage) | unreadable_members(shard, storage)  # each of these a named row
    videos = {name: path for name, path in members.items() if Path(name).suffix.lower() in VIDEO_ENDINGS}
    if not videos:
        raise VideoNotFound(f"{shard}: the shard holds no video ({' '.join(sorted(VIDEO_ENDINGS))})")
    return [VideoRequest(source_key(path), path) for path in videos.values()]


def _is_manifest(path: Path) -> bool:
    return path.suffix.lower() in MANIFEST_SUFFIXES and path.is_file()


def _as_file(path: Path) -> str:
    """The path in a form that FFmpeg reads as a file: `col:on.mov` alone would be read as protocol `col`."""
    return str(path.absolute() if ":" in path.parts[0] else path) if path.parts else str(path)


def request_of_row(row: ManifestRow) -> VideoRequest:
    """The request that a manifest's row makes. Raises `AnnotationError` where it names no file."""
    if row.path is None:
        raise AnnotationError(
            f"{row.where}: video {row.key!r} has no path; add a `path` column that says where the file is"
        )
    path = row.path if is_url(row.path) or row.path.startswith("/") else _as_file(Path(row.path))
    return VideoRequest(row.key, path, row.start_seconds, row.end_seconds, row.sha256)
