"""Pieces whose process died or hung are tried once more, each alone.

So the culprit is named and its neighbours in the same process are done.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from longvid.pipelines.extraction.outcomes import Outcome, PieceFailure
from longvid.pipelines.extraction.piece import Piece

KILLED = "its decoder or encoder killed the worker process"


def late(deadline_seconds: float) -> str:
    """Why a late piece is a suspect."""
    return f"not done after {deadline_seconds:g} s (--deadline-seconds)"


@dataclass(frozen=True)
class Suspect:
    """A piece whose process died or hung with it; a neighbour in the same process may have been the cause."""

    piece: Piece
    why: str


Slide = Callable[[Iterator[Piece], list[Suspect]], Iterator[Outcome]]
"""Runs pieces and yields their outcomes; pieces whose process died or hung are added to the suspects instead."""


def run_and_try_again(slide: Slide, pieces: Iterable[Piece]) -> Iterator[Outcome]:
    """Outcomes of all pieces; suspects come after the others, each run alone."""
    suspects: list[Suspect] = []
    yield from slide(_set_aside(pieces, suspects), suspects)
    guilty: dict[str, str] = {}
    for suspect in suspects:
        piece = suspect.piece
        if piece.key not in guilty:
            again: list[Suspect] = []
            yield from slide(iter([piece]), again)
            guilty |= {one.piece.key: one.why for one in again}
        if piece.key in guilty:
            reason = f"{piece.path}: {guilty[piece.key]}, also when it ran alone"
            yield PieceFailure(piece.key, piece.shard_index, reason)


def _set_aside(pieces: Iterable[Piece], suspects: list[Suspect]) -> Iterator[Piece]:
    """The pieces without those of suspected videos, which join the suspects before they can kill a worker."""
    for piece in pieces:
        suspected = next((suspect for suspect in suspects if suspect.piece.key == piece.key), None)
        if suspected is None:
            yield piece
        else:
            suspects.append(Suspect(piece, suspected.why))
