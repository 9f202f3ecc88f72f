"""A probe that travels is the same probe, in a few kilobytes."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from longvid.pipelines.bench.simulated_gpus import film_probe
from longvid.pipelines.extraction import VideoRequest
from longvid.pipelines.extraction.packing import pack, unpack
from longvid.video import MeasuredTiming, VideoProbe, probe


def assert_equal(found: VideoProbe, expected: VideoProbe) -> None:
    for one in fields(VideoProbe):
        if one.name != "measured":
            assert getattr(found, one.name) == getattr(expected, one.name), one.name
    for one in fields(MeasuredTiming):
        ours, theirs = getattr(found.measured, one.name), getattr(expected.measured, one.name)
        if isinstance(theirs, np.ndarray):
            np.testing.assert_array_equal(ours, theirs)
            assert ours.dtype == theirs.dtype
        else:
            assert ours == theirs


def test_a_probed_file_comes_back_as_it_was(requests: list[VideoRequest]) -> None:
    video = probe(requests[0].path)
    assert_equal(unpack(pack(video)), video)


@pytest.mark.parametrize("pts", [[5], [-3, 0, 7, 2**40], [0, 1, 200, 40_000, 3_000_000_000, 2**61]])
def test_any_presentation_times_come_back_as_they_were(requests: list[VideoRequest], pts: list[int]) -> None:
    video = probe(requests[0].path)
    timing = replace(video.measured, frame_pts=np.array(pts, np.int64), keyframe_indices=np.array([0], np.int64))
    assert_equal(unpack(pack(replace(video, measured=timing))), replace(video, measured=timing))


def test_the_timing_of_a_film_travels_in_less_than_sixteen_kilobytes() -> None:
    film = film_probe()
    assert film.measured.num_frames == 270_000
    assert len(pack(film)) < 16_000
    assert_equal(unpack(pack(film)), film)


def test_a_probe_of_no_keyframe_travels_too(requests: list[VideoRequest]) -> None:
    video = probe(Path(requests[0].path))
    timing = replace(video.measured, keyframe_indices=np.empty(0, np.int64))
    assert len(unpack(pack(replace(video, measured=timing))).measured.keyframe_indices) == 0
