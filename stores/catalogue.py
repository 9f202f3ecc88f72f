"""The catalogue: one document that lists all complete videos.

With it a store of ten thousand videos opens in one read. It is only a copy: a video that it does not list is looked
up in its own document, one that it lists but that no longer exists is dropped, and whatever makes a video incomplete
(repair, deletion) removes the whole catalogue first; afterwards it puts the rows of the other videos back, so that
nobody has to read a hundred thousand documents because one video was deleted. `FeatureStore.video`, `status` and `in`
always read the video's own document, so a stale row cannot open an incomplete video. Workers never read or write it.
"""

import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from longvid.stores.bounded_json import parse_json_object
from longvid.stores.canonical import digest, document_bytes
from longvid.stores.errors import DamagedStore
from longvid.stores.keys import is_path_name, path_name
from longvid.stores.layout import CATALOGUE, DOCUMENT, VIDEOS, group_document, video_path
from longvid.stores.place import Place
from longvid.stores.records import MOST_CLIPS, VideoRecord

_PATH = f"{CATALOGUE}/{DOCUMENT}"
_MOST_BYTES = 2**30
"""Largest catalogue that is read: enough for some millions of videos."""


@dataclass(frozen=True)
class CatalogueRow:
    """Properties of a video that are known without opening it."""

    name: str
    key: str
    num_clips: int
    start_seconds: float
    end_seconds: float
    complete: bool
    num_damaged: int = 0
    """Clips that are not there (`absent.py`)."""


def catalogue_rows(place: Place) -> list[CatalogueRow]:
    """One row per video that exists now, planned or complete, in the order of the path names.

    Videos whose document cannot be read are left out: `verify` names them.
    """
    names = video_names(place)
    known = _listed(place)
    known |= _look_up(place, [name for name in names if name not in known])
    return [known[name] for name in names if name in known]


def write_catalogue(place: Place) -> None:
    """Write the catalogue anew from the videos' own documents."""
    found = _look_up(place, video_names(place))
    place.put(_PATH, _document([row for row in found.values() if row.complete]))


def drop_catalogue(place: Place) -> None:
    """Remove the catalogue, if there is one."""
    place.delete(_PATH)


@contextmanager
def without_rows(place: Place, names: Collection[str]) -> Iterator[None]:
    """No catalogue while the block changes the videos with these path names; then the rows of all others."""
    rows = _listed(place)
    drop_catalogue(place)
    yield
    drop_catalogue(place)  # in case another process made one in between
    if rows:
        place.put(_PATH, _document([row for name, row in rows.items() if name not in names]))


def catalogue_agrees(place: Place) -> bool:
    """Whether the catalogue agrees with the videos' own documents; True where there is none."""
    document = place.get(_PATH)
    return document is None or document == _document(list(_look_up(place, list(_listed(place))).values()))


def _listed(place: Place) -> dict[str, CatalogueRow]:
    document = place.get(_PATH)
    if document is None:
        return {}
    try:
        attributes = parse_json_object(document, most_bytes=_MOST_BYTES)["attributes"]
        rows: list[dict[str, Any]] = attributes["videos"]
        if digest(rows) != attributes["checksum"]:
            return {}
        return {row["name"]: _checked(CatalogueRow(**row)) for row in rows}
    except (ValueError, KeyError, TypeError):  # a damaged or forged catalogue is ignored
        return {}


def _look_up(place: Place, names: list[str]) -> dict[str, CatalogueRow]:
    documents = place.get_many(f"{video_path(name)}/{DOCUMENT}" for name in names)
    rows = [_row(name, document) for name, document in zip(names, documents, strict=True)]
    return {row.name: row for row in rows if row is not None}


def _checked(row: CatalogueRow) -> CatalogueRow:
    """The row, if it is possible for a video. Raises ValueError otherwise: a checksum can be made for any rows."""
    counted = type(row.num_clips) is int and 0 < row.num_clips <= MOST_CLIPS and type(row.complete) is bool
    timed = all(type(edge) in (int, float) and math.isfinite(edge) for edge in (row.start_seconds, row.end_seconds))
    counted = counted and type(row.num_damaged) is int and 0 <= row.num_damaged <= row.num_clips
    if not (counted and timed and row.start_seconds <= row.end_seconds and path_name(row.key) == row.name):
        raise ValueError(f"{row!r:.200} does not describe a video")
    return row


def video_names(place: Place) -> list[str]:
    """Sorted path names of the videos that have a folder, whatever its content; other folders are left out."""
    return sorted(name for name, size in place.sizes(VIDEOS).items() if size is None and is_path_name(name))


def _document(rows: list[CatalogueRow]) -> bytes:
    videos = [_plain(row) for row in rows]
    return document_bytes(group_document({"videos": videos, "checksum": digest(videos)}))


def _plain(row: CatalogueRow) -> dict[str, Any]:
    """The row as it stands in the document; a video that lacks no clip says nothing of that."""
    plain = asdict(row)
    if not row.num_damaged:
        del plain["num_damaged"]
    return plain


def _row(name: str, document: bytes | None) -> CatalogueRow | None:
    if document is None:
        return None
    try:
        record = VideoRecord.from_bytes(document)
    except DamagedStore:
        return None
    return CatalogueRow(
        name,
        record.key,
        record.num_clips,
        record.start_seconds,
        record.end_seconds,
        record.status == "complete",
        record.num_damaged,
    )
