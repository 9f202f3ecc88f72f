"""One wild number in a file is named; it never becomes a plan of days, and long still pictures are accepted."""

import shlex
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from longvid.clips.sampling import MOST_INSTANTS, Sampling
from longvid.errors import ConfigError, UnreadableVideo
from longvid.video import probe
from longvid.video.numbered import numbered_picture
from longvid.video.writing import write_video

HOUR = 3600


def picture(number):
    return numbered_picture(number, 48, 60)


def written(path, seconds, **options):
    """An MPEG-4 or H.264 file whose frames have these times."""
    options = {"codec": "mpeg4", "b_frames": 0} | options
    return write_video(path, map(picture, range(len(seconds))), seconds=np.asarray(seconds), **options)


def wild_cluster(path, milliseconds):
    """A Matroska file of three clusters without checksums, the last cluster's time replaced."""
    seconds = np.arange(90) / 30
    written(path, seconds, container_options={"write_crc32": "0", "cluster_time_limit": "1000"}, keyframe_every=30)
    data = bytearray(path.read_bytes())
    at = data.index(b"\xe7\x82", data.rindex(b"\x1f\x43\xb6\x75")) + 2
    data[at : at + 2] = milliseconds.to_bytes(2, "big")
    path.write_bytes(data)
    return path


def test_one_wild_cluster_of_a_matroska_file_is_a_leap_that_is_named(tmp_path):
    with pytest.raises(UnreadableVideo, match=r"wild\.mkv: its clock leaps from [0-9.]+ s to 6\d\.\d+ s"):
        probe(wild_cluster(tmp_path / "wild.mkv", 65_000))


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_a_leap_of_a_day_is_named_with_its_seconds(tmp_path, suffix):
    seconds = np.arange(60) / 30
    seconds[40:] += 26.5 * HOUR
    path = written(tmp_path / f"day{suffix}", seconds, codec="libx264")
    with pytest.raises(UnreadableVideo, match=r"its clock leaps from 1\.3\d* s to 95401\.\d* s within one frame"):
        probe(path)


@pytest.mark.parametrize("name", ["day.mkv", "two words' day.mkv", "col:on.mkv", "-dash.mkv"])
def test_the_command_that_the_message_names_cuts_the_file_before_its_leap(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    seconds = np.arange(60) / 30
    seconds[40:] += 26.5 * HOUR
    written(tmp_path / name, seconds, codec="libx264", b_frames=0)
    for path in (name, f"../{tmp_path.name}/{name}"):
        with pytest.raises(UnreadableVideo) as told:
            probe(Path(path) if "/" in path else path)
        command = shlex.split(str(told.value).partition("cut it there: ")[2])
        subprocess.run([*command[:1], "-v", "error", "-y", *command[1:]], check=True, stdin=subprocess.DEVNULL)
        assert 38 <= probe(tmp_path / "cut.mkv").measured.num_frames <= 40


def test_where_the_leap_is_after_the_first_frame_there_is_nothing_to_cut(tmp_path):
    path = written(tmp_path / "late.mkv", np.array([0.0, 8000.0, 8000.1, 8000.2]), codec="libx264")
    with pytest.raises(UnreadableVideo, match=r"within one frame; get a sound copy$"):
        probe(path)


def test_a_frame_in_the_midst_with_the_time_of_another_hour_is_named(tmp_path):
    path = tmp_path / "one.mp4"
    with av.open(str(written(tmp_path / "sound.mp4", np.arange(200) / 30))) as whole, av.open(str(path), "w") as copy:
        stream = copy.add_stream_from_template(whole.streams.video[0])
        for index, packet in enumerate(whole.demux(whole.streams.video[0])):
            if packet.size:
                packet.pts += int(20 / packet.time_base) if index == 70 else 0
                packet.stream = stream
                copy.mux(packet)
    with pytest.raises(UnreadableVideo, match=r"its clock leaps from 2\.\d+ s to 22\.\d+ s and back; get a sound copy"):
        probe(path)


def test_an_avi_that_says_each_frame_lasts_an_hour_is_refused(tmp_path):
    path = write_video(tmp_path / "slow.avi", map(picture, range(20)), codec="mpeg4", b_frames=0)
    data = bytearray(path.read_bytes())
    at = data.index(b"strh") + 8 + 20  # scale, then rate: 4 bytes each
    data[at : at + 8] = (1200).to_bytes(4, "little") + (1).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(UnreadableVideo, match=r"its 20 frames are said to last 6\.\d hours, 1200 s each"):
        probe(path)


def test_a_still_picture_that_lasts_while_the_sound_goes_on_is_a_video(tmp_path):
    path = tmp_path / "lecture.mkv"
    with av.open(str(path), "w") as container:
        film = container.add_stream("mpeg4", rate=30)
        film.height, film.width, film.pix_fmt, film.time_base = 48, 60, "yuv420p", Fraction(1, 1000)
        film.codec_context.time_base = Fraction(1, 1000)
        sound = container.add_stream("aac", rate=8000, layout="mono")
        samples = 1024 * 60
        for index in range(1, 2 * HOUR * 8000 // samples):
            if index in (1, 2, 900):
                frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24")
                frame.pts, frame.time_base = index * samples // 8, Fraction(1, 1000)
                container.mux(film.encode(frame))
            audio = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            audio.sample_rate, audio.pts, audio.time_base = 8000, index * samples, Fraction(1, 8000)
            container.mux(sound.encode(audio))
        for stream in (film, sound):
            container.mux(stream.encode(None))
    measured = probe(path).measured
    assert measured.num_frames == 3
    assert np.diff(measured.frame_seconds).max() > 1.5 * HOUR


def test_a_slide_show_of_half_hours_is_a_video(tmp_path):
    measured = probe(written(tmp_path / "slides.mp4", np.array([0.0, 1.0, 1801.0, 1802.0, 3000.0]))).measured
    assert measured.num_frames == 5


def test_a_plan_that_no_memory_bears_is_refused_with_its_size():
    with pytest.raises(ConfigError, match=r"1e\+09 s would be 10,000,000,000 clips of 16 frames"):
        Sampling(16, 8, 0.1).plan(0, 1e9)
    with pytest.raises(ConfigError, match=r"take a longer stride_seconds"):
        Sampling(4, None, 1e-9).plan(0, 100.0, np.arange(1000) / 10)
    assert len(Sampling(16, 8, segments=64).plan(0, 1e9)) == 64
    assert MOST_INSTANTS > 100 * HOUR * 30
