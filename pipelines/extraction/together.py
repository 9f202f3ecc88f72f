"""Features of a video by several encoders, out of one decoding."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from longvid.clips import damaged_clips
from longvid.clips.together import Wish, iter_clips_together
from longvid.encoders import Encoder
from longvid.errors import DamagedVideo, UnreadableVideo
from longvid.pipelines.extraction.inputs import VideoRequest
from longvid.pipelines.extraction.job import ExtractionJob
from longvid.pipelines.extraction.measuring import measure
from longvid.pipelines.extraction.piece import encode_frames
from longvid.pipelines.extraction.plan import VideoPlan, make_recipe, plan_ahead, refusal
from longvid.pipelines.extraction.run import Progress, Silent, extract
from longvid.stores import FeatureStore


class Taker(NamedTuple):
    """One encoder, how it is used, and where its features go."""

    job: ExtractionJob
    encoder: Encoder
    location: Path


def extract_together(request: VideoRequest, takers: Sequence[Taker], progress: Progress | None = None) -> None:
    """Write the video's features of every encoder into a store each, equal to what `extract` writes.

    Each frame is decoded once for all. Only a damaged file of which the sound clips are wanted is read once per
    encoder: each then starts again behind the damage. Raises `UnreadableVideo` with the reason for a file that cannot
    be extracted.
    """
    progress = progress or Silent()
    writers = [_Writer(taker, request, progress) for taker in takers]
    video = writers[0].plan.video
    sound = not any(damaged_clips(video, writer.plan.clips) for writer in writers)
    wishes = [Wish(writer.plan.clips, writer.taker.encoder.spec.preprocessing) for writer in writers]
    job = takers[0].job
    with suppress(*[DamagedVideo] if job.allow_damaged else []):
        if sound:
            clips = iter_clips_together(
                video, wishes, backend=writers[0].plan.backend, allow_truncated=job.allow_truncated
            )
            for which, clip in clips:
                writers[which].add(clip)
            for writer in writers:
                writer.store.complete(request.key)
            return
    for taker in takers:
        report = extract([request], taker.job, taker.location, encoder=taker.encoder, scheduler="inline")
        if report.failed:
            raise UnreadableVideo(report.failed[0].reason)


class _Writer:
    """Gathers clips into batches and tokens into shards, counted as `extract` counts them."""

    def __init__(self, taker: Taker, request: VideoRequest, progress: Progress) -> None:
        self.taker = taker
        job, spec = taker.job, taker.encoder.spec
        self.store = FeatureStore.create(taker.location, make_recipe(job, taker.encoder), made_with=job.made_with())
        self.plan = _planned(request, job, taker.encoder, self.store)
        self.store.plan(request.key, self.plan.clips.seconds, self.plan.source())
        self._pooling = job.pooling_for(spec)
        self._key, self._progress = request.key, progress
        self._shard, self._done = 0, 0
        self._batch: list[np.ndarray] = []
        self._tokens: list[np.ndarray] = []
        progress.planned(clips=len(self.plan.clips))

    def add(self, clip: np.ndarray) -> None:
        """Take the next clip; encode a full batch, write a full shard."""
        self._batch.append(clip)
        _, stop = self.store.shard_clips(self._key, self._shard)
        full = self._done + len(self._batch) == stop
        if full or len(self._batch) == self.taker.job.batch_clips:
            frames = np.stack(self._batch)
            self._tokens.append(encode_frames(frames, encoder=self.taker.encoder, pooling=self._pooling))
            self._done += len(frames)
            self._progress.encoded(clips=len(frames))
            self._batch = []
        if full:
            self.store.write_shard(self._key, self._shard, np.concatenate(self._tokens))
            self._shard, self._tokens = self._shard + 1, []


def _planned(request: VideoRequest, job: ExtractionJob, encoder: Encoder, store: FeatureStore) -> VideoPlan:
    sampling = job.sampling_for(encoder.spec)
    found = next(plan_ahead([request], sampling=sampling, job=job, measure_one=measure))
    plan = (refusal(found, job, store) or found) if isinstance(found, VideoPlan) else found
    if isinstance(plan, VideoPlan):
        return plan
    raise UnreadableVideo(getattr(plan, "reason", f"{request.path}: cannot be planned"))
