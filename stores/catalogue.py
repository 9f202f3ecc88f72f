"""One document that names all complete videos, so that a store of ten thousand opens in one read.

It is a copy, never the truth: a video that it does not list is looked up in its own document, one that it lists
but that no longer exists is dropped, and whatever makes a video incomplete (repair, deletion) removes the whole catalogue
first. `FeatureStore.video` reads the video's own document in any case, so a stale row cannot open an incomplete video.
Workers never touch it.
"""

import json
from dataclasses import dataclass
from typing import Any

from stores.canonical import document_bytes
from stores.errors import DamagedStore
from stores.layout import CATALOGUE, DOCUMENT, VIDEOS, group_document, video_path
from stores.place import Place
from stores.records import VideoRecord

_PATH = f"{CATALOGUE}/{DOCUMENT}"


@dataclass(frozen=True)
class CatalogueRow:
    """What is known of a video without opening it."""

    name: str
    key: str
    num_clips: int
    complete: bool


class Catalogue:
    """The catalogue of the store at a place."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def records(self) -> list[CatalogueRow]:
        """A row for each video that exists now, planned or complete, in no particular order.

        Videos whose document cannot be read are left out: `verify` names them.
        """
        names = [name for name in self._place.sizes(VIDEOS) if name != DOCUMENT]
        listed = self._read()
        unlisted = [name for name in names if name not in listed]
        documents = self._place.get_many(f"{video_path(name)}/{DOCUMENT}" for name in unlisted)
        looked_up = [_row(name, document) for name, document in zip(unlisted, documents, strict=True)]
        return [listed[name] for name in names if name in listed] + [row for row in looked_up if row is not None]

    def write(self) -> None:
        """Make it anew from the videos' own documents."""
        self.drop()
        rows = sorted((row for row in self.records() if row.complete), key=lambda row: row.name)
        attributes = {"videos": [[row.name, row.key, row.num_clips] for row in rows]}
        self._place.put(_PATH, document_bytes(group_document(attributes)))

    def drop(self) -> None:
        """Remove it, if there is one."""
        self._place.delete(_PATH)

    def _read(self) -> dict[str, CatalogueRow]:
        document = self._place.get(_PATH)
        if document is None:
            return {}
        try:
            rows: list[Any] = json.loads(document)["attributes"]["videos"]
            return {name: CatalogueRow(name, key, num_clips, complete=True) for name, key, num_clips in rows}
        except (ValueError, KeyError, TypeError):  # a damaged copy is no copy
            return {}


def _row(name: str, document: bytes | None) -> CatalogueRow | None:
    if document is None:
        return None
    try:
        record = VideoRecord.from_bytes(document)
    except DamagedStore:
        return None
    return CatalogueRow(name, record.key, record.num_clips, record.status == "complete")
