"""Segments whose process died or hung are tried once more, each alone.

So the culprit is named and its neighbours in the same process are done.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from longvid.pipelines.extraction.outcomes import Outcome, SegmentFailure
from longvid.pipelines.extraction.segment import Segment

KILLED = "its decoder or encoder killed the worker process"


def late(deadline_seconds: float) -> str:
    """Why a late segment is a suspect."""
    return f"not done after {deadline_seconds:g} s (--deadline-seconds)"


@dataclass(frozen=True)
class Suspect:
    """A segment whose process died or hung with it; a neighbour in the same process may have been the cause."""

    segment: Segment
    why: str


Slide = Callable[[Iterator[Segment], list[Suspect]], Iterator[Outcome]]
"""Runs segments and yields their outcomes; segments whose process died or hung are added to the suspects instead."""


def run_and_try_again(slide: Slide, segments: Iterable[Segment]) -> Iterator[Outcome]:
    """Outcomes of all segments; suspects come after the others, each run alone."""
    suspects: list[Suspect] = []
    yield from slide(_set_aside(segments, suspects), suspects)
    guilty: dict[str, str] = {}
    for suspect in suspects:
        segment = suspect.segment
        if segment.key not in guilty:
            again: list[Suspect] = []
            yield from slide(iter([segment]), again)
            guilty |= {one.segment.key: one.why for one in again}
        if segment.key in guilty:
            reason = f"{segment.path}: {guilty[segment.key]}, also when it ran alone"
            yield SegmentFailure(segment.key, segment.shard_index, reason)


def _set_aside(segments: Iterable[Segment], suspects: list[Suspect]) -> Iterator[Segment]:
    """The segments without those of suspected videos, which join the suspects before they can kill a worker."""
    for segment in segments:
        suspected = next((suspect for suspect in suspects if suspect.segment.key == segment.key), None)
        if suspected is None:
            yield segment
        else:
            suspects.append(Suspect(segment, suspected.why))
