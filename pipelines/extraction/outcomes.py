"""The outcome of a piece: a result, or a named failure."""

import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from longvid.encoders import Encoder
from longvid.errors import LongvidError
from longvid.pipelines.extraction.job import ExtractionJob
from longvid.pipelines.extraction.piece import Piece, PieceResult, extract_piece
from longvid.stores import FeatureStore, StoreAccessError, StoreError


@dataclass(frozen=True)
class PieceFailure:
    """A piece that could not be made, and why."""

    key: str
    shard_index: int
    reason: str
    fatal: bool = False
    """The store cannot be written: no other piece can succeed either."""


@runtime_checkable
class AnyPiece(Protocol):
    """A piece, of one encoder or of several."""

    @property
    def key(self) -> str:
        """The video's id in the store."""

    @property
    def path(self) -> str:
        """Its file."""

    @property
    def shard_index(self) -> int:
        """The piece's number in the video."""

    @property
    def num_clips(self) -> int:
        """Clips of the piece."""


Outcome = PieceResult | PieceFailure


def attempt_piece(
    piece: Piece, *, encoder: Encoder, store: FeatureStore, job: ExtractionJob, model_lock: threading.Lock
) -> Outcome:
    """Run `extract_piece`; an error becomes a named failure, since one bad video must not end the others."""
    return attempted(piece, lambda: extract_piece(piece, encoder=encoder, store=store, job=job, model_lock=model_lock))


def attempted(piece: AnyPiece, work: Callable[[], PieceResult]) -> Outcome:
    """What the work on a piece gives, or its failure by name."""
    try:
        return work()
    except StoreAccessError as error:
        return PieceFailure(piece.key, piece.shard_index, str(error), fatal=True)
    except (LongvidError, StoreError) as error:
        return PieceFailure(piece.key, piece.shard_index, str(error))
    except Exception as error:  # noqa: BLE001 -- a decoder's or a model's own error, in full in the report
        return PieceFailure(piece.key, piece.shard_index, f"{piece.path}: {unexpected(error)}")


def unexpected(error: BaseException) -> str:
    """An unexpected error on one line: its type, its message, and where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" (at {frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return " ".join(f"{type(error).__name__}: {error}{where}".split())
