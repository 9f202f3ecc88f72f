"""Receipts: notes of which plan a shard is of, and of its digests.

    videos/<name>/receipts/<shard>.<plan>.<content>

While a video is not complete, a writer leaves a receipt before it puts a shard; `complete` replaces all receipts by one
document (`digests.py`). So `complete` need not read shards for their digests, except where more than one writer may
have been the last: then the file itself decides. A shard with receipts of another plan only was written by a worker
that outlived its plan; it counts as missing. One without a receipt was written by version 0.1.0.

The name contains the plan and depends on the bytes, so that a listing is enough to know what is missing, and two
writers with different bytes never use one name. Where clips of the shard are absent, the receipt says which, and why
(`absent.py`); `complete` enters that into the video's document.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from longvid.stores.absent import DAMAGED, Ranges, as_plain, parse_ranges
from longvid.stores.bounded_json import parse_json_object
from longvid.stores.canonical import canonical_json
from longvid.stores.digests import ShardDigest
from longvid.stores.errors import DamagedStore
from longvid.stores.layout import RECEIPTS, video_path
from longvid.stores.records import MOST_CLIPS

_DIGITS = 16
_NAME = re.compile(rf"(0|[1-9][0-9]{{0,11}})\.([0-9a-f]{{{_DIGITS}}})\.([0-9a-f]{{{_DIGITS}}})")

Digests = dict[str, ShardDigest]
"""Digest of one shard's file, by the name of the array."""


@dataclass(frozen=True)
class Note:
    """What is said of one shard, by a receipt or by the video's documents."""

    digests: Digests
    damaged: Ranges
    """Absent clips of the shard."""


@dataclass(frozen=True)
class Receipt:
    """The name of a receipt, parsed."""

    shard_index: int
    plan: str
    content: str

    @property
    def name(self) -> str:
        """Name of the receipt's file."""
        return f"{self.shard_index}.{self.plan}.{self.content}"

    def is_of(self, plan_id: str) -> bool:
        """Whether it is for this plan of the video."""
        return plan_id.startswith(self.plan)


def make_receipt(plan_id: str, shard_index: int, digests: Digests, damaged: Ranges = ()) -> tuple[Receipt, bytes]:
    """The receipt of a shard with these digests, and the bytes to put under its name."""
    said: dict[str, Any] = {array: str(digest) for array, digest in digests.items()}
    data = canonical_json(said | ({DAMAGED: as_plain(damaged)} if damaged else {})).encode("ascii")
    return Receipt(shard_index, plan_id[:_DIGITS], _content(data)), data


def parse_name(name: str) -> Receipt | None:
    """The receipt with this name; None if it is not the name of a receipt."""
    match = _NAME.fullmatch(name)
    return match and Receipt(int(match[1]), match[2], match[3])


def parse_receipt(receipt: Receipt, data: bytes | None) -> Note | None:
    """What a receipt says; None if its bytes are not those that were put (a power cut may leave it empty)."""
    if data is None or _content(data) != receipt.content:
        return None
    try:
        said = parse_json_object(data)
        damaged = _ranges_or_none(said.pop(DAMAGED, []))
        return Note({array: ShardDigest.from_text(text) for array, text in said.items()}, damaged)
    except (ValueError, TypeError, AttributeError):
        return None


def _ranges_or_none(plain: Any) -> Ranges:
    """The absent clips that a receipt lists; none where its list is not one, so that its digests still count."""
    try:
        return parse_ranges(plain, MOST_CLIPS)
    except DamagedStore:
        return ()


def receipt_path(name: str, receipt: Receipt) -> str:
    """Path in the store of a receipt for the video with this path name."""
    return f"{receipts_path(name)}/{receipt.name}"


def receipts_path(name: str) -> str:
    """Path in the store of the folder of a video's receipts."""
    return f"{video_path(name)}/{RECEIPTS}"


def _content(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:_DIGITS]
