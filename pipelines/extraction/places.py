"""Lists the videos that a URL names.

    https://lab.org/film.mp4?signature=...     one video
    s3://lab/films/                            every video and tar shard under the prefix
    s3://lab/shards/train-*.tar                the videos in these shards (not at https://)
    gs://lab/films.csv                         a manifest; relative paths in it start at its own folder

What is listed comes from the place that the command line names: nothing else is fetched to find videos.
"""

import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from longvid.errors import VideoNotFound
from longvid.pipelines.extraction.inputs import (
    MANIFEST_SUFFIXES,
    TAR_ENDING,
    VideoRequest,
    members_of,
    request_of_row,
)
from longvid.tasks import Manifest
from longvid.tasks.folders import VIDEO_ENDINGS
from longvid.video.remote import RemoteFile, repeated
from longvid.video.source import TAR, source_key, source_name
from longvid.video.storage import Storage

SHARDS_AT_ONCE = 8
"""Shards whose headers are read at the same time."""


def expand_url(url: str, storage: Storage) -> list[VideoRequest]:
    """The videos that the URL names. A single one is not looked at: one that is not there is a row of the report.

    Raises `VideoError` for a prefix, manifest or shard that cannot be read or holds no video.
    """
    ending = Path(source_name(url)).suffix.lower()
    web = url.lower().startswith(("http://", "https://"))
    if url.startswith(TAR):
        return [VideoRequest(_key(url), url)]
    if "*" in url and not web:
        return _of_files(url, _matching(url, storage), storage)
    if ending == TAR_ENDING:
        return members_of(url, storage)
    if ending in MANIFEST_SUFFIXES:
        return _of_manifest(url, ending, storage)
    if url.endswith("/") or (not web and ending not in VIDEO_ENDINGS and _is_folder(url, storage)):
        prefix = url.rstrip("/") + "/"
        return _of_files(prefix, _under(prefix, storage), storage)
    return [VideoRequest(_key(url), url)]


def _key(url: str) -> str:
    """The key of one video: its name without the ending."""
    return Path(source_key(url)).name or source_key(url)


def _of_files(given: str, urls: list[str], storage: Storage) -> list[VideoRequest]:
    """The videos among the files and in the shards among them. Keys are paths below what all have in common."""
    videos = sorted(url for url in urls if Path(source_name(url)).suffix.lower() in VIDEO_ENDINGS)
    shards = sorted(url for url in urls if Path(source_name(url)).suffix.lower() == TAR_ENDING)
    if not videos and not shards:
        raise VideoNotFound(
            f"{storage.hide(given)}: no video there ({' '.join(sorted(VIDEO_ENDINGS))}) and no tar shard"
        )
    base = given.partition("*")[0].rpartition("/")[0] + "/"
    inside = [url.removeprefix(base) for url in videos]
    stems = [Path(name).with_suffix("").as_posix() for name in inside]
    times = Counter(stems)
    found = [
        VideoRequest(stem if times[stem] == 1 else name, url)
        for stem, name, url in zip(stems, inside, videos, strict=True)
    ]
    with ThreadPoolExecutor(SHARDS_AT_ONCE, thread_name_prefix="longvid-shards") as pool:
        for members in pool.map(lambda shard: members_of(shard, storage), shards):
            found += members
    return found


def _of_manifest(url: str, ending: str, storage: Storage) -> list[VideoRequest]:
    """The videos of a manifest at a URL, fetched into a temporary file."""
    folder = url.partition("?")[0].rpartition("/")[0]
    with tempfile.TemporaryDirectory(prefix="longvid-manifest-") as kept:
        path = Path(kept, f"manifest{ending}")
        with RemoteFile(url, storage).open() as file, path.open("wb") as out:
            while data := file.read(1 << 20):
                out.write(data)
        rows = [replace(row, source=row.source.replace(str(path), storage.hide(url))) for row in Manifest.read(path)]
    requests = []
    for row in rows:
        request = request_of_row(row)
        requests.append(replace(request, path=request.path.replace(f"{kept}/", f"{folder}/")))
    return requests


def _under(prefix: str, storage: Storage) -> list[str]:
    """URLs of the files under a prefix. Of a web page, only links to what lies under it."""
    return [url for url in _listed(prefix, storage, "find") if url.startswith(prefix)]


def _matching(pattern: str, storage: Storage) -> list[str]:
    return _listed(pattern, storage, "glob")


def _listed(url: str, storage: Storage, verb: str) -> list[str]:
    def ask() -> list[str]:
        file_system, path = storage.file_system(url)
        return [str(file_system.unstrip_protocol(name)) for name in getattr(file_system, verb)(path)]

    return repeated(RemoteFile(url, storage), None, ask)


def _is_folder(url: str, storage: Storage) -> bool:
    def ask() -> Any:
        file_system, path = storage.file_system(url)
        return file_system.isdir(path)

    try:
        return bool(repeated(RemoteFile(url, storage), None, ask))
    except VideoNotFound:
        return False
