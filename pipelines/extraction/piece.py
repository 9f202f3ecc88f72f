"""One piece: decode its time span, encode its clips, write one shard.

`extract_piece` is a plain function. Decoding runs in its own thread and fills a bounded queue, so that the model
waits as little as possible and memory stays bounded. Pieces in one process share the model through a lock, so that
one decodes and another writes while the model works.
"""

import queue
import shlex
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from jaxtyping import Float32, UInt8

from longvid.clips import iter_clips, iter_clips_there
from longvid.clips.sampling import ClipPlan
from longvid.encoders import Encoder
from longvid.errors import DamagedVideo, VideoError, VideoNotFound
from longvid.pipelines.extraction.bytes_read import counting_bytes
from longvid.pipelines.extraction.encoding import encode_staged, stage
from longvid.pipelines.extraction.job import ExtractionJob
from longvid.stores import FeatureStore
from longvid.video import VideoProbe
from longvid.video.content import modified
from longvid.video.probing import fingerprint
from longvid.video.source import source_of
from longvid.video.storage import Storage, is_url
from longvid.video.traffic import counted_traffic

Decoded = TypeVar("Decoded")

QUEUED_BATCHES = 2
"""Decoded batches that may wait for the model; one would do if all batches took equally long."""


@dataclass(frozen=True, eq=False)
class Piece:
    """The clips of one shard of one video: the unit of work, of writing, of failure and of resuming."""

    key: str
    path: str
    shard_index: int
    plan: ClipPlan
    """Only this piece's clips."""
    backend: str
    video: VideoProbe
    """The file as it was when it was planned."""
    modified: dict[str, Any]
    """When the file was last written, asked before it was planned."""

    @property
    def num_clips(self) -> int:
        """Clips of the piece."""
        return len(self.plan)


@dataclass(frozen=True)
class PieceResult:
    """What a finished piece cost; no tensors, so it is small to send."""

    key: str
    shard_index: int
    num_clips: int
    """Those that are not there included."""
    decode_seconds: float
    encode_seconds: float
    write_seconds: float
    read_bytes: int = 0
    """Bytes of the file that were read, where the system counts them."""
    requests: int = 0
    retries: int = 0
    """Requests to a place elsewhere, and how many of them were repeated."""


def extract_piece(
    piece: Piece, *, encoder: Encoder, store: FeatureStore, job: ExtractionJob, model_lock: Any = None
) -> PieceResult:
    """Decode, encode and write one piece; the store then holds its shard.

    `model_lock`: a lock shared by the pieces that run at once in this process.
    Raises `VideoError` for a file that cannot be decoded or has changed since it was planned.
    """
    made = encode_piece(piece, encoder=encoder, store=store, job=job, model_lock=model_lock)
    begin = time.perf_counter()
    store.write_shard(piece.key, piece.shard_index, made.tokens, damaged=made.damaged)
    return PieceResult(
        piece.key,
        piece.shard_index,
        len(made.tokens),
        made.decode_seconds,
        made.encode_seconds,
        time.perf_counter() - begin,
        made.read_bytes,
        made.requests,
        made.retries,
    )


@dataclass(frozen=True, eq=False)
class EncodedPiece:
    """The features of a piece before they are stored, and what they cost."""

    tokens: Float32[np.ndarray, "clips num_tokens dim"]
    damaged: dict[int, str]
    """Why a clip is absent, by its number in the video."""
    decode_seconds: float
    encode_seconds: float
    read_bytes: int
    requests: int
    retries: int


def encode_piece(
    piece: Piece, *, encoder: Encoder, store: FeatureStore, job: ExtractionJob, model_lock: Any = None
) -> EncodedPiece:
    """Decode and encode one piece; nothing is written. Raises as `extract_piece`."""
    lock = model_lock if model_lock is not None else nullcontext()
    pooling = job.pooling_for(encoder.spec)
    with counted_traffic() as traffic:  # of what the thread opens that is made here
        decoded = DecodeAhead(_batches(piece, encoder, job, store.location))
    encoded: list[np.ndarray] = []
    encode_seconds = 0.0
    damaged: dict[int, str] = {}
    next_clip, _ = store.shard_clips(piece.key, piece.shard_index)
    with decoded:
        for batch in decoded:
            damaged |= {next_clip + at: reason for at, reason in batch.damaged.items()}
            next_clip += len(batch.frames)
            if len(batch.damaged) == len(batch.frames):
                recipe = store.recipe
                encoded.append(np.zeros((len(batch.frames), recipe.num_tokens, recipe.dim), np.float32))
                continue
            staged = stage(batch.frames, encoder)  # while another piece has the model
            with lock:
                begin = time.perf_counter()
                encoded.append(encode_staged(staged, encoder=encoder, pooling=pooling))
                encode_seconds += time.perf_counter() - begin
    return EncodedPiece(
        np.concatenate(encoded),
        damaged,
        decoded.busy_seconds,
        encode_seconds,
        traffic.read_bytes if is_url(piece.path) else decoded.read_bytes,
        traffic.requests,
        traffic.retries,
    )


@dataclass(frozen=True, eq=False)
class _Batch:
    """Decoded clips for the model; absent ones are black, so that the others are batched as always."""

    frames: UInt8[np.ndarray, "batch time height width 3"]
    damaged: dict[int, str]
    """Why a clip of the batch is absent, by its index in the batch."""


def _batches(piece: Piece, encoder: Encoder, job: ExtractionJob, location: str) -> Iterator[_Batch]:
    """Batches of decoded clips, always counted from the piece's first clip, so that a rerun gives equal bytes."""
    require_unchanged(piece, location, job.storage)
    geometry = encoder.spec.preprocessing
    black = np.zeros((piece.plan.frames, geometry.height, geometry.width, 3), np.uint8)
    batch: list[np.ndarray | str] = []
    for clip in _clips(piece, encoder, job):
        batch.append(clip)
        if len(batch) == job.batch_clips:
            yield _batch(batch, black)
            batch = []
    if batch:
        yield _batch(batch, black)
    require_unchanged(piece, location, job.storage)  # again: what was decoded since must be of the planned file, too


def _clips(piece: Piece, encoder: Encoder, job: ExtractionJob) -> Iterator[np.ndarray] | Iterator[np.ndarray | str]:
    """The piece's clips; with damage allowed, the reason in the place of one that cannot be had."""
    read = iter_clips_there if job.allow_damaged else iter_clips
    clips = read(
        piece.video,
        piece.plan,
        encoder.spec.preprocessing,
        backend=piece.backend,
        allow_truncated=job.allow_truncated,
    )
    try:
        yield from clips
    except DamagedVideo as error:
        remedy = "get a sound copy of the file, or use --allow-damaged to extract the rest of it"
        raise DamagedVideo(f"{error}; {remedy}") from error


def _batch(clips: list[np.ndarray | str], black: np.ndarray) -> _Batch:
    damaged = {at: clip for at, clip in enumerate(clips) if isinstance(clip, str)}
    return _Batch(np.stack([black if isinstance(clip, str) else clip for clip in clips]), damaged)


def require_unchanged(piece: Piece, location: str, storage: Storage | None = None) -> None:
    """Raise `VideoError` unless the file is the one that was planned.

    Size and time of its last write are asked; only where the time is another one, or is not known, the fingerprint is
    read as well.
    """
    try:
        source = source_of(piece.path, storage)
        if piece.modified and modified(source) == piece.modified:
            return
        now = fingerprint(source)
    except FileNotFoundError as error:
        raise VideoNotFound(f"{piece.path}: no such file; it was there when it was planned") from error
    if now != piece.video.fingerprint:
        # the store holds the plan of the old file, so the same command alone would be refused
        raise VideoError(
            f"{piece.path}: the file changed while it was being extracted; "
            f"`longvid delete {shlex.quote(location)} {shlex.quote(piece.key)}`, then run the same command again"
        )


class DecodeAhead(Generic[Decoded]):
    """Iterates over batches that a thread decodes ahead, at most `QUEUED_BATCHES` of them.

    Errors of the thread are raised here. Leaving the `with` block early stops the thread.
    """

    _END = object()

    def __init__(self, batches: Iterator[Decoded]) -> None:
        self._batches = batches
        self._queue: queue.Queue[Any] = queue.Queue(QUEUED_BATCHES)
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._decode,), name="longvid-decode", daemon=True
        )
        self.busy_seconds = 0.0
        self.read_bytes = 0

    def __enter__(self) -> "DecodeAhead[Decoded]":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def __iter__(self) -> Iterator[Decoded]:
        while (batch := self._queue.get()) is not self._END:
            yield batch
        if self._error is not None:
            raise self._error

    def _decode(self) -> None:
        with counting_bytes() as read:
            try:
                begin = time.perf_counter()
                for batch in self._batches:
                    self.busy_seconds += time.perf_counter() - begin
                    if not self._put(batch):
                        return
                    begin = time.perf_counter()
                self.busy_seconds += time.perf_counter() - begin
            except BaseException as error:  # noqa: BLE001 -- carried to the consumer, which raises it
                self._error = error
        self.read_bytes = read.number
        self._put(self._END)

    def _put(self, item: Any) -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False
