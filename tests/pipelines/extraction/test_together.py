"""Several encoders over one decoding: each store has the bytes that it has alone, and each frame is decoded once."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from longvid.clips import Preprocessing, iter_clips
from longvid.clips.sampling import Sampling
from longvid.clips.together import ClipsWanted, iter_clips_together
from longvid.errors import ConfigError
from longvid.pipelines.extraction import ExtractionJob, VideoRequest, extract
from longvid.pipelines.extraction.plan import plan_one
from longvid.pipelines.extraction.together import Target, pieces_together
from longvid.stores import FeatureStore
from longvid.video import probe
from longvid.video.backends import BACKENDS
from longvid.video.backends.pyav import _ForwardReader

Bytes = Callable[[Path], dict[str, bytes]]


@pytest.fixture
def other(job: ExtractionJob) -> ExtractionJob:
    """Clips of another rate, size, length and pooling, batched otherwise."""
    return replace(
        job,
        encoder_options={"size": 48, "dim": 16, "frames": 3},
        sampling=Sampling(frames=3, fps=5.0, stride_seconds=0.9, end="shift"),
        pooling="tokens",
        batch_clips=3,
        dtype="float32",
    )


SHARDS, OTHER_SHARDS = 5, 4
"""Clips per shard: 1.25 s and 3.6 s of video, so that no start is that of another."""


@pytest.fixture
def alone(
    requests: list[VideoRequest], job: ExtractionJob, other: ExtractionJob, tmp_path: Path, file_bytes: Bytes
) -> list[dict[str, bytes]]:
    """The files of the two stores, each made alone."""
    extract(requests, job, tmp_path / "alone-a.zarr", scheduler="inline", clips_per_shard=SHARDS)
    extract(requests, other, tmp_path / "alone-b.zarr", scheduler="inline", clips_per_shard=OTHER_SHARDS)
    return [file_bytes(tmp_path / f"alone-{name}.zarr") for name in "ab"]


def together(
    requests: list[VideoRequest], job: ExtractionJob, other: ExtractionJob, folder: Path, **options: Any
) -> Any:
    options = {"scheduler": "inline", "clips_per_shard": SHARDS} | options
    target = Target(other, folder / "b.zarr", OTHER_SHARDS)
    return extract(requests, job, folder / "a.zarr", others=[target], **options)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Display positions of the pictures that are asked for, one by one."""
    positions: list[int] = []
    picture = _ForwardReader.picture

    def noting(self: Any, index: int) -> Any:
        positions.append(index)
        return picture(self, index)

    monkeypatch.setattr(_ForwardReader, "picture", noting)
    return positions


@pytest.mark.parametrize("scheduler", ["inline", "serial", "local"])
def test_each_store_has_the_bytes_that_it_has_alone(
    scheduler: str,
    requests: Any,
    job: Any,
    other: Any,
    alone: list[dict[str, bytes]],
    tmp_path: Path,
    file_bytes: Bytes,
) -> None:
    workers = {"workers": 2} if scheduler == "local" else {}
    report = together(requests, job, other, tmp_path, scheduler=scheduler, **workers)
    assert report.counts == {"done": 3}
    for name, expected in zip("ab", alone, strict=True):
        found = file_bytes(tmp_path / f"{name}.zarr")
        assert found.keys() == expected.keys()
        assert [file for file in found if found[file] != expected[file]] == []
    again = together(requests, job, other, tmp_path, scheduler=scheduler, **workers)
    assert again.counts == {"kept": 3}


def test_the_union_of_frames_is_decoded_once(
    requests: Any, job: Any, other: Any, tmp_path: Path, decoded: list[int]
) -> None:
    one = [requests[1]]
    plans = {at: own.sampling.plan_video(probe(one[0].path)) for at, own in enumerate((job, other))}
    seconds = probe(one[0].path).measured.frame_seconds
    wanted = [
        np.unique(np.searchsorted(seconds, plan.frame_seconds + 1e-6, side="right") - 1) for plan in plans.values()
    ]
    together(one, job, other, tmp_path, clips_per_shard=1000)
    assert sorted(decoded) == np.union1d(*wanted).tolist()
    decoded.clear()
    shutil.rmtree(tmp_path / "a.zarr")
    shutil.rmtree(tmp_path / "b.zarr")
    together(one, job, other, tmp_path)
    assert len(decoded) <= 1.2 * len(np.union1d(*wanted)), "a film's pieces overlap where the longest shards are cut"


def test_a_store_that_is_complete_costs_nothing(
    requests: Any, job: Any, other: Any, alone: Any, tmp_path: Path, file_bytes: Bytes, decoded: list[int]
) -> None:
    extract(requests, job, tmp_path / "a.zarr", scheduler="inline", clips_per_shard=SHARDS)
    decoded.clear()
    assert together(requests, job, other, tmp_path).counts == {"done": 3}
    with_other = sorted(decoded)
    decoded.clear()
    extract(requests, other, tmp_path / "c.zarr", scheduler="inline", clips_per_shard=OTHER_SHARDS)
    assert with_other == sorted(decoded)
    for name, expected in zip("ab", alone, strict=True):
        assert file_bytes(tmp_path / f"{name}.zarr") == expected


def test_a_video_that_one_encoder_cannot_take_is_a_failed_row_and_in_the_other_store(
    requests: Any, job: Any, other: Any, tmp_path: Path
) -> None:
    long = replace(other, sampling=Sampling(frames=3, fps=0.5, end="drop"))  # 6 s: the video of 4 s is too short
    report = together(requests, job, long, tmp_path)
    assert {row.key: row.status for row in report.rows} == {
        "video-0": "done",
        "video-1": "done",
        "video-2": "failed",
    }
    assert "clip" in report.failed[0].reason
    assert FeatureStore.open(tmp_path / "a.zarr").keys() == ["video-0", "video-1", "video-2"]
    assert FeatureStore.open(tmp_path / "b.zarr").keys() == ["video-0", "video-1"]
    missing = together([VideoRequest("none", str(tmp_path / "none.mp4"))], job, long, tmp_path)
    assert missing.failed[0].reason == f"{tmp_path / 'none.mp4'}: no such file"


def test_two_encoders_need_two_stores(requests: Any, job: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="each encoder needs its own store"):
        extract(requests, job, tmp_path / "a.zarr", scheduler="inline", others=[Target(job, tmp_path / "a.zarr", 64)])


def test_pieces_hold_every_shard_of_every_store_once(requests: Any, job: Any, other: Any, tmp_path: Path) -> None:
    from longvid.pipelines.extraction.measuring import measure

    stores, plans = [], {}
    for at, (own, shards) in enumerate(((job, SHARDS), (other, OTHER_SHARDS))):
        extract([], own, tmp_path / f"{at}.zarr", scheduler="inline", clips_per_shard=shards)
        stores.append(FeatureStore.open(tmp_path / f"{at}.zarr", mode="a"))
        plan = plan_one(requests[1], sampling=own.sampling, job=own, measure_one=measure, store=stores[at])
        stores[at].plan("video-1", plan.clips.seconds, plan.source())  # type: ignore[union-attr]
        plans[at] = plan
    pieces = pieces_together(plans, stores)  # type: ignore[arg-type]
    found = sorted((at, part.shard_index) for piece in pieces for at, part in piece.parts)
    assert found == [(at, shard) for at in (0, 1) for shard in stores[at].missing("video-1")]
    assert [sum(at == 1 for at, _ in piece.parts) for piece in pieces] == [1] * len(pieces), "cut by the longest shards"


@pytest.mark.parametrize("backend", sorted(BACKENDS))
def test_clips_of_several_plans_are_those_of_each_alone_with_every_backend(backend: str, requests: Any) -> None:
    from longvid.video.backends import check_backend

    if not check_backend(backend).works:
        pytest.skip(f"{backend} does not run here")
    video = probe(requests[1].path)
    plans = [Sampling(4, 8, 0.5), Sampling(2, 3, segments=7), Sampling(1, 4, 0.25)]
    sizes = [
        Preprocessing(height=40, width=40),
        Preprocessing(height=32, width=32, short_side=40),
        Preprocessing(height=40, width=40),
    ]
    wanted = [ClipsWanted(plan.plan_video(video), size) for plan, size in zip(plans, sizes, strict=True)]
    found: list[list[np.ndarray]] = [[], [], []]
    for number, clip in iter_clips_together(video, wanted, backend=backend):
        found[number].append(clip)
    for clips, one in zip(found, wanted, strict=True):
        expected = list(iter_clips(video, one.plan, one.preprocessing, backend=backend))
        np.testing.assert_array_equal(np.stack(clips), np.stack(expected))
