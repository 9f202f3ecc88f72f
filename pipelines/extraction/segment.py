"""One segment: decode its time span, encode its clips, write one shard.

`extract_segment` is a plain function. Decoding runs in its own thread and fills a bounded queue, so that the model
waits as little as possible and memory stays bounded. Segments in one process share the model through a lock, so that
one decodes and another writes while the model works.
"""

import queue
import shlex
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from longvid.clips.sampling import ClipPlan
from longvid.encoders import Encoder
from longvid.encoders.pooling import pool
from longvid.errors import VideoError
from longvid.pipelines.extraction.job import ExtractionJob
from longvid.pipelines.extraction.probes import probe_once
from longvid.stores import FeatureStore
from longvid.video import VideoProbe, iter_clips

QUEUED_BATCHES = 2
"""Decoded batches that may wait for the model; one would do if all batches took equally long."""


@dataclass(frozen=True)
class Segment:
    """The clips of one shard of one video: the unit of work, of writing, of failure and of resuming."""

    key: str
    path: str
    shard_index: int
    plan: ClipPlan
    """Only this segment's clips."""
    backend: str
    fingerprint: str
    """Fingerprint of the file when it was planned."""


@dataclass(frozen=True)
class SegmentResult:
    """What a finished segment cost; no tensors, so it is small to send."""

    key: str
    shard_index: int
    num_clips: int
    decode_seconds: float
    encode_seconds: float
    write_seconds: float


def extract_segment(
    segment: Segment, *, encoder: Encoder, store: FeatureStore, job: ExtractionJob, model_lock: Any = None
) -> SegmentResult:
    """Decode, encode and write one segment; the store then holds its shard.

    `model_lock`: a lock shared by the segments that run at once in this process.
    Raises `VideoError` for a file that cannot be decoded or has changed since it was planned.
    """
    lock = model_lock if model_lock is not None else nullcontext()
    pooling = job.pooling_for(encoder.spec)
    decoded = _DecodeAhead(_batches(segment, encoder, job, store.location))
    encoded, encode_seconds = [], 0.0
    with decoded:
        for frames in decoded:
            with lock:
                begin = time.perf_counter()
                encoded.append(encode_frames(frames, encoder=encoder, pooling=pooling))
                encode_seconds += time.perf_counter() - begin
    tokens = np.concatenate(encoded)
    begin = time.perf_counter()
    store.write_shard(segment.key, segment.shard_index, tokens)
    return SegmentResult(
        segment.key,
        segment.shard_index,
        len(tokens),
        decoded.busy_seconds,
        encode_seconds,
        time.perf_counter() - begin,
    )


def encode_frames(
    frames: UInt8[np.ndarray, "batch time height width 3"], *, encoder: Encoder, pooling: str
) -> Float32[np.ndarray, "batch num_tokens dim"]:
    """Pooled tokens of a batch of clips, on the encoder's device."""
    with torch.inference_mode():
        clips = encoder.spec.preprocessing.normalise(torch.from_numpy(frames).to(_device_of(encoder)))
        return pool(encoder(clips), pooling).float().cpu().numpy()


def _device_of(encoder: Encoder) -> torch.device:
    for tensor in chain(encoder.parameters(), encoder.buffers()):
        return tensor.device
    return torch.device("cpu")


def _batches(segment: Segment, encoder: Encoder, job: ExtractionJob, location: str) -> Iterator[np.ndarray]:
    """Batches of decoded clips, always counted from the segment's first clip, so that a rerun gives equal bytes."""
    video = _probe_unchanged(segment, location)
    clips = iter_clips(
        video,
        segment.plan,
        encoder.spec.preprocessing,
        backend=segment.backend,
        allow_truncated=job.allow_truncated,
    )
    batch = []
    for clip in clips:
        batch.append(clip)
        if len(batch) == job.batch_clips:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)


def _probe_unchanged(segment: Segment, location: str) -> VideoProbe:
    video = probe_once(segment.path)
    if video.fingerprint != segment.fingerprint:
        # the store holds the plan of the old file, so the same command alone would be refused
        raise VideoError(
            f"{segment.path}: the file changed while it was being extracted; "
            f"`longvid delete {shlex.quote(location)} {shlex.quote(segment.key)}`, then run the same command again"
        )
    return video


class _DecodeAhead:
    """Iterates over batches that a thread decodes ahead, at most `QUEUED_BATCHES` of them.

    Errors of the thread are raised here. Leaving the `with` block early stops the thread.
    """

    _END = object()

    def __init__(self, batches: Iterator[np.ndarray]) -> None:
        self._batches = batches
        self._queue: queue.Queue[Any] = queue.Queue(QUEUED_BATCHES)
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._decode, name="longvid-decode", daemon=True)
        self.busy_seconds = 0.0

    def __enter__(self) -> "_DecodeAhead":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def __iter__(self) -> Iterator[np.ndarray]:
        while (batch := self._queue.get()) is not self._END:
            yield batch
        if self._error is not None:
            raise self._error

    def _decode(self) -> None:
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
        self._put(self._END)

    def _put(self, item: Any) -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False
