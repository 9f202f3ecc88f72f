"""What `probe` claims to have measured is what was written into the file; what headers claim stands beside it."""

import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from longvid.errors import UnreadableVideo, VideoNotFound
from longvid.video import probe
from longvid.video.numbered import numbered_picture
from longvid.video.writing import write_video


def test_every_displayable_frame_is_measured_at_the_time_it_was_written_for(truth):
    measured = probe(truth.path).measured
    assert measured.num_frames == len(truth.numbers)
    np.testing.assert_allclose(measured.frame_seconds, truth.seconds, rtol=0, atol=truth.tolerance_seconds)


def test_a_whole_file_is_never_called_truncated(truth):
    video = probe(truth.path)
    assert not video.truncated
    assert not [problem for problem in video.problems if "ends early" in problem]


def test_the_end_is_the_last_frame_plus_its_share(make_video):
    video = probe(make_video("late.mkv").path)
    assert (video.begin_seconds, video.end_seconds) == pytest.approx((5.0, 7.0), abs=0.002)
    assert video.duration_seconds == pytest.approx(2.0, abs=0.002)


@pytest.mark.parametrize("name", ["steady.mkv", "faststart.mp4", "mpeg4.avi", "flash.flv"])
def test_a_file_with_its_end_missing_is_truncated_and_says_so(cut_short, name):
    cut = cut_short(name)
    video = probe(cut.path)
    assert video.truncated
    assert "ends early" in video.problems[0]
    assert 0 < video.measured.num_frames < len(cut.numbers)
    np.testing.assert_allclose(
        video.measured.frame_seconds, cut.seconds[: video.measured.num_frames], atol=0.04, rtol=0
    )


def test_bytes_behind_the_end_of_a_file_do_not_make_it_truncated(make_video, tmp_path):
    for name in ("faststart.mp4", "steady.mkv", "mpeg4.avi"):
        path = tmp_path / name
        path.write_bytes(make_video(name).path.read_bytes() + b"<!-- left by a web server -->")
        assert not probe(path).truncated, name


def test_a_header_that_counts_hidden_frames_is_contradicted(make_video):
    video = probe(make_video("copied_cut.mp4").path)
    assert video.header.num_frames == 36
    assert video.measured.num_frames == 21
    assert "header says 36 frames, 21 are displayable" in video.problems


def test_a_container_that_promises_nothing_is_measured_all_the_same(make_video):
    video = probe(make_video("live.mkv").path)
    assert (video.header.num_frames, video.header.container_duration_seconds) == (None, None)
    assert video.duration_seconds == pytest.approx(2.0, abs=0.002)
    assert not video.truncated


def test_only_an_uneven_clock_is_called_a_variable_rate(make_video):
    assert probe(make_video("variable.mkv").path).measured.is_variable_rate
    assert probe(make_video("variable.mp4").path).measured.is_variable_rate
    for name in ("steady.mp4", "steady.mkv", "flash.flv", "late.mkv"):
        assert not probe(make_video(name).path).measured.is_variable_rate, name


def test_the_size_is_that_of_an_upright_frame(make_video):
    for name, expected in (("rotated90.mp4", 90), ("rotated180.mp4", 180), ("rotated270.mov", 270)):
        video = probe(make_video(name).path)
        assert (video.height, video.width) == (96, 120), name
        assert video.header.rotation_degrees == expected


def test_the_largest_of_equal_streams_is_chosen_and_a_cover_never(make_video):
    assert probe(make_video("two_streams.mp4").path).stream_index == 1
    assert probe(make_video("two_streams.mp4").path, stream=0).width == 64
    video = probe(make_video("cover.mp4").path)
    assert video.width == 120
    assert video.header.num_video_streams == 1


def test_a_stream_that_is_no_video_is_refused_with_the_choices(make_video):
    path = make_video("two_streams.mp4").path
    with pytest.raises(UnreadableVideo, match=r"stream 7 is not a video stream; its video streams: 0, 1"):
        probe(path, stream=7)


def test_square_pixels_are_assumed_and_others_reported(tmp_path):
    path = write_video(
        tmp_path / "wide.mp4",
        (numbered_picture(number, 96, 120) for number in range(3)),
        codec_options={"x264-params": "sar=4/3"},
    )
    video = probe(path)
    assert video.header.sample_aspect_ratio == Fraction(4, 3)
    assert video.width == 120
    assert any("4/3 times as wide as high" in problem for problem in video.problems)


def test_the_fingerprint_follows_the_content_and_not_the_name(make_video, tmp_path):
    video = probe(make_video("steady.mp4").path)
    copy = Path(shutil.copy(video.path, tmp_path / "other name.mp4"))
    assert probe(copy).fingerprint == video.fingerprint
    data = bytearray(copy.read_bytes())
    data[-1] ^= 1
    copy.write_bytes(data)
    assert probe(copy).fingerprint != video.fingerprint


def test_what_is_no_video_is_refused_in_one_line_with_its_path(tmp_path):
    text = tmp_path / "notes.mp4"
    text.write_text("not a video\n" * 100)
    empty = tmp_path / "empty.mp4"
    empty.touch()
    zeros = tmp_path / "zeros.mp4"
    zeros.write_bytes(bytes(100_000))
    for path, reason in (
        (text, "not a readable video"),
        (empty, "0 bytes"),
        (zeros, "not a readable"),
        (tmp_path, "not a file"),
    ):
        with pytest.raises(UnreadableVideo, match=reason) as raised:
            probe(path)
        assert str(path) in str(raised.value)
        assert "\n" not in str(raised.value)


def test_a_missing_file_is_not_found(tmp_path):
    with pytest.raises(VideoNotFound, match=r"gone\.mp4: no such file") as raised:
        probe(tmp_path / "gone.mp4")
    assert isinstance(raised.value, FileNotFoundError)


def test_a_file_with_sound_only_is_no_video(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(UnreadableVideo, match="no video stream, the file holds audio only"):
        probe(path)


def test_a_video_whose_pictures_were_never_written_is_unreadable(make_video, tmp_path):
    """A download that reserved its space first: the index is there, the rest is zeros."""
    path = tmp_path / "reserved.mp4"
    data = make_video("faststart.mp4").path.read_bytes()
    begin = data.index(b"mdat") + 4
    path.write_bytes(data[:begin] + bytes(len(data) - begin))
    with pytest.raises(UnreadableVideo, match="no frame that can be decoded"):
        probe(path)


def test_a_stream_glued_from_two_clocks_is_refused_with_a_cure(make_video, tmp_path):
    path = tmp_path / "glued.ts"
    data = write_video(tmp_path / "part.ts", (numbered_picture(n, 96, 120) for n in range(90))).read_bytes()
    path.write_bytes(data + data)
    with pytest.raises(UnreadableVideo, match=r"clock jumps back by .* s midway; make it continuous first"):
        probe(path)
