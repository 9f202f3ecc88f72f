"""A video's own document: its plan, its source, and its status."""

import hashlib
import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from longvid.stores.absent import DAMAGED, Ranges, as_plain, num_damaged, parse_ranges
from longvid.stores.bounded_json import parse_json_object
from longvid.stores.canonical import differences, digest, document_bytes, plain
from longvid.stores.errors import DamagedStore, InvalidWindow
from longvid.stores.layout import group_document

Status = Literal["planned", "complete"]

ABOUT = "about"
"""Key in a source for descriptions meant for people, which are never compared."""

CHECKS = "checks"
"""Key in a source for facts that not every plan of the file has, which are compared where both do."""

MOST_CLIPS = 2**27
"""Four years of video at one clip per second: a document that claims more is refused."""


@dataclass(frozen=True)
class VideoRecord:
    """The attributes of `videos/<name>/zarr.json`."""

    key: str
    status: Status
    num_clips: int
    start_seconds: float
    """Start of the first clip."""
    end_seconds: float
    """End of the last clip."""
    seconds_sha256: str
    recipe_digest: str
    source: dict[str, Any]
    """What the video was read from. Entries under `checks` are compared where both plans have them; those under
    `about` describe the file and are never compared."""
    digests_sha256: str = ""
    """sha256 of the document of the shards' digests; empty while the video is only planned, and in stores of 0.1.0."""
    damaged: Ranges = ()
    """Absent clips. While the video is planned: what was known when it was complete before."""

    def completed(self, digests_sha256: str, damaged: Ranges = ()) -> "VideoRecord":
        """The record as complete, with the sha256 of its digests document and the absent clips."""
        return replace(self, status="complete", digests_sha256=digests_sha256, damaged=damaged)

    @property
    def num_damaged(self) -> int:
        """Number of absent clips."""
        return num_damaged(self.damaged)

    def reopened(self) -> "VideoRecord":
        """The record as planned, not complete."""
        return replace(self, status="planned", digests_sha256="")

    @property
    def plan_id(self) -> str:
        """sha256 of the compared parts of the plan: shards of plans with the same id are interchangeable."""
        return digest(self.plan() | {"source": _compared(self.source)})

    def changes(self, now: "VideoRecord") -> list[str]:
        """One line `field: this != now` per field in which the plans differ; empty for the same plan.

        Version 0.1.0 kept in the source itself what is now in its `about`.
        """
        described = now.source.get(ABOUT, {}) if ABOUT not in self.source else {}
        before = {name: value for name, value in _compared(self.source).items() if name not in described}
        after = _compared(now.source)
        known, found = (source.pop(CHECKS, {}) for source in (before, after))
        if isinstance(known, dict) and isinstance(found, dict):
            both = known.keys() & found.keys()
            known, found = ({name: checks[name] for name in both} for checks in (known, found))
        before, after = before | {CHECKS: known}, after | {CHECKS: found}
        return differences(self.plan() | {"source": before}, now.plan() | {"source": after})

    def plan(self) -> dict[str, Any]:
        """Everything except the status and the digests."""
        return {
            "key": self.key,
            "num_clips": self.num_clips,
            "start_seconds": self.start_seconds,
            "end_seconds": self.end_seconds,
            "seconds_sha256": self.seconds_sha256,
            "recipe_digest": self.recipe_digest,
            "source": self.source,
        }

    def to_bytes(self) -> bytes:
        """The document, with a checksum of the plan and the digests."""
        attributes = {"status": self.status, **self._checked(), "checksum": digest(self._checked())}
        return document_bytes(group_document(attributes))

    def _checked(self) -> dict[str, Any]:
        """The content that the checksum covers; as in version 0.1.0 where there are no digests and no absent clips."""
        digests = {"digests_sha256": self.digests_sha256} if self.digests_sha256 else {}
        return self.plan() | digests | ({DAMAGED: as_plain(self.damaged)} if self.damaged else {})

    @classmethod
    def from_bytes(cls, document: bytes) -> "VideoRecord":
        """The inverse of `to_bytes`. Raises DamagedStore with the reason for anything else."""
        try:
            attributes = dict(parse_json_object(document)["attributes"])
            checksum = attributes.pop("checksum")
            damaged = attributes.pop(DAMAGED, [])
            record = cls(**attributes)
            record = replace(record, damaged=parse_ranges(damaged, record.num_clips))
            sound = record.status in ("planned", "complete") and digest(record._checked()) == checksum
        except DamagedStore:
            raise
        except (ValueError, TypeError, KeyError) as error:
            reason = " ".join(str(error).split())[:200]
            raise DamagedStore(f"its zarr.json is not a video's ({type(error).__name__}: {reason})") from error
        if not sound:
            raise DamagedStore("its zarr.json does not match its own checksum")
        record._check_types()
        return record

    def _check_types(self) -> None:
        """Raise DamagedStore for impossible values: a checksum excludes accidents, not forged documents."""
        texts = (self.key, self.seconds_sha256, self.recipe_digest, self.digests_sha256)
        whole = isinstance(self.num_clips, int) and not isinstance(self.num_clips, bool)
        if not all(isinstance(text, str) for text in texts) or not isinstance(self.source, dict) or not whole:
            raise DamagedStore("its zarr.json is not a video's (a field of the wrong type)")
        if not 1 <= self.num_clips <= MOST_CLIPS:
            raise DamagedStore(f"its zarr.json claims {self.num_clips} clips, where a video has 1 to {MOST_CLIPS}")
        for seconds in (self.start_seconds, self.end_seconds):
            if not isinstance(seconds, int | float) or not math.isfinite(seconds):
                raise DamagedStore("its zarr.json is not a video's (a time that is not a number)")


def make_record(key: str, seconds: np.ndarray, source: dict[str, Any], recipe_digest: str) -> VideoRecord:
    """The record of a newly planned video. Raises InvalidWindow for seconds that cannot be those of clips."""
    check_seconds(key, seconds)
    try:
        source = plain(source)
    except (TypeError, ValueError) as error:
        raise InvalidWindow(f"video {key!r}: its source must be a dictionary of JSON values ({error})") from error
    return VideoRecord(
        key=key,
        status="planned",
        num_clips=len(seconds),
        start_seconds=float(seconds[0, 0]),
        end_seconds=float(seconds[-1, 1]),
        seconds_sha256=seconds_sha256(seconds),
        recipe_digest=recipe_digest,
        source=source,
    )


def _compared(source: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in source.items() if name != ABOUT}


def check_seconds(key: str, seconds: np.ndarray) -> None:
    """Raise InvalidWindow unless `seconds` (clips, 2) are starts and ends of clips in order of time."""
    if seconds.ndim != 2 or seconds.shape[1] != 2 or not len(seconds):
        raise InvalidWindow(
            f"video {key!r}: seconds of shape {seconds.shape}; expected (clips, 2) with at least one clip"
        )
    if not np.isfinite(seconds).all():
        raise InvalidWindow(f"video {key!r}: seconds must be finite numbers")
    backwards = seconds[:, 1] < seconds[:, 0]
    if backwards.any():
        clip = int(backwards.argmax())
        raise InvalidWindow(f"video {key!r}: clip {clip} ends before it starts ({seconds[clip].tolist()})")
    disordered = (np.diff(seconds, axis=0) < 0).any(axis=1)
    if disordered.any():
        clip = int(disordered.argmax()) + 1
        raise InvalidWindow(f"video {key!r}: clip {clip} lies before clip {clip - 1}; clips come in the order of time")


def seconds_sha256(seconds: np.ndarray) -> str:
    """sha256 of the clips' times."""
    return hashlib.sha256(np.ascontiguousarray(seconds, "<f8").tobytes()).hexdigest()
