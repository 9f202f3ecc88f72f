"""Files that end early or are damaged give an error that says so, or the frames that are there; never a wrong frame."""

import numpy as np
import pytest

from longvid.clips import iter_clips
from longvid.clips.preprocessing import Preprocessing
from longvid.clips.sampling import Sampling
from longvid.errors import TruncatedVideo, UnreadableVideo
from longvid.video import iter_frames, probe
from longvid.video.numbered import numbered_picture, read_number
from longvid.video.writing import write_video

TRUNCATED = ["steady.mkv", "faststart.mp4", "mpeg4.avi", "flash.flv"]
NUM_FRAMES, HEIGHT, WIDTH = 120, 96, 120


@pytest.mark.parametrize("name", TRUNCATED)
def test_a_truncated_file_is_refused_unless_allowed(cut_short, name):
    video = probe(cut_short(name).path)
    with pytest.raises(
        TruncatedVideo, match=r"file ends early.*allow truncated videos to use its \d+\.\d+ s"
    ) as raised:
        iter_frames(video, video.measured.frame_seconds[:1], height=8, width=8)
    assert str(video.path) in str(raised.value)
    with pytest.raises(TruncatedVideo):
        iter_clips(video, Sampling().plan_video(video), Preprocessing())


@pytest.mark.parametrize("name", TRUNCATED)
def test_of_a_truncated_file_exactly_the_frames_that_are_there_can_be_used(cut_short, name):
    cut = cut_short(name)
    video = probe(cut.path)
    frames = iter_frames(video, video.measured.frame_seconds, height=48, width=60, allow_truncated=True)
    numbers = [read_number(frame) for frame in frames]
    expected = [cut.numbers[int(np.argmin(np.abs(cut.seconds - instant)))] for instant in video.measured.frame_seconds]
    assert numbers == expected
    assert 5 < len(set(numbers)) == len(numbers) < len(cut.numbers)


def test_clips_of_a_truncated_file_end_where_it_ends(cut_short):
    video = probe(cut_short("steady.mkv").path)
    plan = Sampling(4, 10, end="drop").plan_video(video)
    assert plan.seconds[-1, 1] <= video.end_seconds + 0.002
    clips = list(iter_clips(video, plan, Preprocessing(height=32, width=40), allow_truncated=True))
    assert len(clips) == len(plan) > 1


def noisy_pictures():
    """Numbered pictures under moving grain, so that every packet carries data that can be damaged."""
    grain = np.random.default_rng(0).integers(-15, 16, (HEIGHT, WIDTH, 3))
    for number in range(NUM_FRAMES):
        picture = numbered_picture(number, HEIGHT, WIDTH).astype(int) + np.roll(grain, 3 * number, axis=1)
        yield np.clip(picture, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """An H.264 file with a keyframe every 24 frames."""
    path = tmp_path_factory.mktemp("noisy") / "noisy.mp4"
    options = {"sc_threshold": "0", "preset": "veryfast"}
    return write_video(path, noisy_pictures(), keyframe_every=24, codec_options=options)


def test_damage_in_the_middle_never_gives_a_wrong_frame(noisy, tmp_path):
    """PyAV: sixteen files with random damage give either the right frames or an error that names a second."""
    data, path, rng = noisy.read_bytes(), tmp_path / "hurt.mp4", np.random.default_rng(3)
    whole = probe(noisy)
    sound = list(iter_frames(whole, whole.measured.frame_seconds, height=HEIGHT, width=WIDTH, backend="pyav"))
    errors = []
    for _ in range(16):
        hurt = bytearray(data)
        begin, length = rng.integers(len(data) // 5, len(data) * 3 // 5), int(rng.choice([1, 4, 64, 1000]))
        hurt[begin : begin + length] = rng.bytes(length)
        path.write_bytes(hurt)
        video = probe(path)
        frames = iter_frames(video, video.measured.frame_seconds, height=HEIGHT, width=WIDTH, backend="pyav")
        try:
            for expected, frame in zip(sound, frames, strict=True):
                assert np.abs(expected.astype(int) - frame).mean() < 0.5
        except UnreadableVideo as error:
            errors.append(str(error))
    assert len(errors) >= 12
    assert all(error.startswith(f"{path}: the frame at ") and "damaged" in error for error in errors), errors


def test_clips_before_and_after_the_damage_can_still_be_read(noisy, tmp_path):
    data, path = bytearray(noisy.read_bytes()), tmp_path / "hurt.mp4"
    middle = len(data) // 2
    data[middle : middle + 200] = bytes(200)
    path.write_bytes(data)
    video = probe(path)
    for instants in (np.array([0.0, 0.5]), np.array([3.3, 3.9])):
        numbers = [read_number(frame) for frame in iter_frames(video, instants, height=48, width=60, backend="pyav")]
        assert numbers == [round(instant * 30) for instant in instants]


def test_a_file_that_vanishes_after_it_was_probed_is_an_error_of_ours(make_video, tmp_path):
    path = tmp_path / "soon gone.mp4"
    path.write_bytes(make_video("steady.mp4").path.read_bytes())
    video = probe(path)
    path.unlink()
    with pytest.raises(UnreadableVideo, match=r"soon gone\.mp4"):
        list(iter_frames(video, np.array([0.0]), height=8, width=8))


def test_a_download_that_broke_off_before_the_index_says_how_much_is_there(tmp_path):
    pictures = (numbered_picture(number, HEIGHT, WIDTH) for number in range(12))
    whole = write_video(tmp_path / "whole.mp4", pictures, codec="mpeg4", b_frames=0).read_bytes()
    there = whole.index(b"moov") - 100
    (tmp_path / "half.mp4").write_bytes(whole[:there])
    with pytest.raises(UnreadableVideo, match=rf"half\.mp4: .*only {there} of \d+ bytes are there; copy"):
        probe(tmp_path / "half.mp4")


def test_a_file_without_any_stream_says_so(tmp_path):
    claim = b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2" + b"\x00\x00\x00\x10moov\x00\x00\x00\x08free"
    (tmp_path / "hollow.mp4").write_bytes(claim)
    with pytest.raises(UnreadableVideo, match=r"hollow\.mp4: no video stream, the file holds no stream at all"):
        probe(tmp_path / "hollow.mp4")
