"""The outcome of a segment: a result, or a named failure."""

import threading
import traceback
from dataclasses import dataclass

from longvid.encoders import Encoder
from longvid.errors import LongvidError
from longvid.pipelines.extraction.job import ExtractionJob
from longvid.pipelines.extraction.segment import Segment, SegmentResult, extract_segment
from longvid.stores import FeatureStore, StoreAccessError, StoreError


@dataclass(frozen=True)
class SegmentFailure:
    """A segment that could not be made, and why."""

    key: str
    shard_index: int
    reason: str
    fatal: bool = False
    """The store cannot be written: no other segment can succeed either."""


Outcome = SegmentResult | SegmentFailure


def attempt_segment(
    segment: Segment, *, encoder: Encoder, store: FeatureStore, job: ExtractionJob, model_lock: threading.Lock
) -> Outcome:
    """Run `extract_segment`; an error becomes a named failure, since one bad video must not end the others."""
    try:
        return extract_segment(segment, encoder=encoder, store=store, job=job, model_lock=model_lock)
    except StoreAccessError as error:
        return SegmentFailure(segment.key, segment.shard_index, str(error), fatal=True)
    except (LongvidError, StoreError) as error:
        return SegmentFailure(segment.key, segment.shard_index, str(error))
    except Exception as error:  # noqa: BLE001 -- a decoder's or a model's own error, in full in the report
        return SegmentFailure(segment.key, segment.shard_index, f"{segment.path}: {unexpected(error)}")


def unexpected(error: BaseException) -> str:
    """An unexpected error on one line: its type, its message, and where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" (at {frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return " ".join(f"{type(error).__name__}: {error}{where}".split())
