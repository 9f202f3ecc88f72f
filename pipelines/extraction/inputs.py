"""Turns files, folders and manifests into a list of videos with keys."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from longvid.errors import AnnotationError, ConfigError, VideoNotFound
from longvid.tasks import Manifest, ManifestRow
from longvid.tasks.folders import VIDEO_ENDINGS, keyed_files

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


def expand_inputs(inputs: Sequence[str | Path]) -> list[VideoRequest]:
    """Every video named by files, folders and manifests, in order.

    A file's key is its name without the suffix. In a folder it is the path inside the folder, without the suffix unless
    two paths differ only in it. A manifest names its keys itself. Raises `ConfigError` if two videos would have the
    same key.
    """
    requests: dict[str, VideoRequest] = {}
    for given in inputs:
        for request in _expand(Path(given)):
            known = requests.setdefault(request.key, request)
            if Path(known.path).absolute() != Path(request.path).absolute():
                raise ConfigError(
                    f"{known.path} and {request.path} would both be stored as {request.key!r}; "
                    "give the folder that holds both, or a manifest with a key for each"
                )
    return list(requests.values())


def _expand(path: Path) -> list[VideoRequest]:
    if path.is_dir():
        files = keyed_files(path)
        if not files:
            raise VideoNotFound(f"{path}: the folder holds no video ({' '.join(sorted(VIDEO_ENDINGS))})")
        return [VideoRequest(key, _as_file(file)) for key, file in files.items()]
    if path.suffix.lower() in MANIFEST_SUFFIXES and path.is_file():
        return [_of_row(row) for row in Manifest.read(path)]
    # a path that does not exist is kept: it becomes a named row of the run's report, and the others go on
    return [VideoRequest(path.stem, _as_file(path))]


def _as_file(path: Path) -> str:
    """The path in a form that FFmpeg reads as a file: `col:on.mov` alone would be read as protocol `col`."""
    return str(path.absolute() if ":" in path.parts[0] else path) if path.parts else str(path)


def _of_row(row: ManifestRow) -> VideoRequest:
    if row.path is None:
        raise AnnotationError(
            f"{row.where}: video {row.key!r} has no path; add a `path` column that says where the file is"
        )
    path = row.path if "://" in row.path else _as_file(Path(row.path))
    return VideoRequest(row.key, path, row.start_seconds, row.end_seconds, row.sha256)
