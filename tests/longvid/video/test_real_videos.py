"""Real files, where a folder of them is at hand: what they are, and that the backends read the same from them."""

import os
from pathlib import Path

import numpy as np
import pytest

from longvid.clips import iter_clips
from longvid.clips.preprocessing import Preprocessing
from longvid.clips.sampling import Sampling
from longvid.errors import UnreadableVideo
from longvid.video import iter_frames, probe

FOLDER = Path(os.environ.get("LONGVID_VIDEOS_DIR", Path(__file__).parents[4] / "shared" / "videos"))
EXPECTED = {
    "movie_70s_h264.mp4": (360, 640, 1687, 0.0, 70.292),
    "armwrestling_10s_h264.mp4": (256, 340, 280, 0.0, 10.0),
    "weightlifting_18s_h264.mp4": (240, 320, 355, 0.0, 18.094),
    "pancake_mkv.mkv": (240, 426, 310, 0.0, 10.333),
    "ucf_7s_mpeg4.avi": (240, 320, 164, 0.0, 6.56),
    "nasa_13s_h264.mp4": (270, 480, 390, 0.0, 13.013),
    "av1_short.mkv": (360, 640, 125, 0.0, 5.0),
    "rotated90.mov": (568, 320, 3, 0.0, 0.1),
}
"""Height, width, frames, start and end, as ffprobe -count_frames gives them."""


@pytest.fixture(params=list(EXPECTED))
def video(request):
    """Each file, probed."""
    path = FOLDER / request.param
    if not path.exists():
        pytest.skip(f"{path} is not there; LONGVID_VIDEOS_DIR may name another folder of real videos")
    return probe(path)


def test_size_frames_and_length_are_measured_right(video):
    height, width, num_frames, begin_seconds, end_seconds = EXPECTED[video.path.name]
    assert (video.height, video.width, video.measured.num_frames) == (height, width, num_frames)
    assert (video.begin_seconds, video.end_seconds) == pytest.approx((begin_seconds, end_seconds), abs=0.001)
    assert not video.truncated


def test_every_backend_reads_the_same_or_refuses(video, backend):
    seconds = np.linspace(video.begin_seconds, video.end_seconds, 7)
    size = {"height": 64, "width": 80}
    try:
        ours = np.stack(list(iter_frames(video, seconds, backend=backend, **size)))
    except UnreadableVideo as error:
        pytest.skip(str(error))
    pyavs = np.stack(list(iter_frames(video, seconds, backend="pyav", **size)))
    assert np.abs(ours.astype(int) - pyavs).mean(axis=(1, 2, 3)).max() <= 2


def test_skipping_and_jumping_give_what_reading_every_frame_gives(video):
    every = list(iter_frames(video, video.measured.frame_seconds, height=32, width=40))
    rng = np.random.default_rng(0)
    for count in (1, 3, 10):
        wanted = np.sort(rng.choice(len(every), min(count, len(every)), replace=False))
        some = list(iter_frames(video, video.measured.frame_seconds[wanted], height=32, width=40))
        assert np.array_equal(some, [every[index] for index in wanted])


def test_one_frame_a_second_gives_one_clip_a_second(video):
    plan = Sampling().plan_video(video)
    clips = list(iter_clips(video, plan, Preprocessing(height=32, width=32)))
    assert len(clips) == len(plan) == max(1, int(np.ceil(video.duration_seconds - 0.002)))
