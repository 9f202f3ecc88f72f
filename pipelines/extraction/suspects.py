"""Segments whose process died or hung with them: tried once more alone, so that the culprit is named and no other."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from longvid.pipelines.extraction.outcomes import Outcome, SegmentFailure
from longvid.pipelines.extraction.segment import Segment

KILLED = "its decoder or encoder killed the worker process"


def late(deadline_seconds: float) -> str:
    """Why a segment whose time was over is a suspect."""
    return f"not done after {deadline_seconds:g} s (--deadline-seconds)"


@dataclass(frozen=True)
class Suspect:
    """A segment whose process died or hung with it; a neighbour in the same process may have been the cause."""

    segment: Segment
    why: str


Slide = Callable[[Iterator[Segment], list[Suspect]], Iterator[Outcome]]
"""Runs segments and gives their outcomes, but of those that took their process along: they join the suspects."""


def run_and_try_again(slide: Slide, segments: Iterable[Segment]) -> Iterator[Outcome]:
    """Outcomes of all segments; those of suspects after the others, each run alone."""
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
    """The segments but those of a video that is suspected by then: they join the suspects, and take no worker along."""
    for segment in segments:
        suspected = next((suspect for suspect in suspects if suspect.segment.key == segment.key), None)
        if suspected is None:
            yield segment
        else:
            suspects.append(Suspect(segment, suspected.why))
