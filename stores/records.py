"""A video's own document: what was planned, from which file, and whether it is complete."""

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from longvid.stores.canonical import digest, document_bytes, plain
from longvid.stores.errors import DamagedStore, InvalidWindow
from longvid.stores.layout import group_document

Status = Literal["planned", "complete"]


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

    def with_status(self, status: Status) -> "VideoRecord":
        """The same video, planned or complete."""
        return replace(self, status=status)

    def plan(self) -> dict[str, Any]:
        """Everything but the status: what two plans of one video must agree in."""
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
        """The document; the checksum covers the plan."""
        attributes = {"status": self.status, **self.plan(), "checksum": digest(self.plan())}
        return document_bytes(group_document(attributes))

    @classmethod
    def from_bytes(cls, document: bytes) -> "VideoRecord":
        """The record that `to_bytes` wrote. Raises DamagedStore with the reason for anything else."""
        try:
            attributes = dict(json.loads(document)["attributes"])
            checksum = attributes.pop("checksum")
            record = cls(**attributes)
        except (ValueError, TypeError, KeyError) as error:
            raise DamagedStore(f"its zarr.json is no video's ({type(error).__name__}: {error})") from error
        if record.status not in ("planned", "complete") or digest(record.plan()) != checksum:
            raise DamagedStore("its zarr.json does not match its own checksum")
        return record


def make_record(key: str, seconds: np.ndarray, source: dict[str, Any], recipe_digest: str) -> VideoRecord:
    """The record of a newly planned video. Raises InvalidWindow for seconds that cannot be clips'."""
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


def check_seconds(key: str, seconds: np.ndarray) -> None:
    """Raise InvalidWindow unless `seconds` (clips, 2) are starts and ends of clips in the order of time."""
    if seconds.ndim != 2 or seconds.shape[1] != 2 or not len(seconds):
        raise InvalidWindow(f"video {key!r}: seconds of shape {seconds.shape}; expected (clips, 2) with a clip or more")
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
    """Fingerprint of the clips' times."""
    return hashlib.sha256(np.ascontiguousarray(seconds, "<f8").tobytes()).hexdigest()
