"""How many bytes a file promises is read off its own outermost structure."""

import pytest

from longvid.video.extent import promised_bytes


@pytest.mark.parametrize(
    "name", ["steady.mp4", "faststart.mp4", "fragmented.mp4", "rotated270.mov", "steady.mkv", "mpeg4.avi"]
)
def test_a_whole_file_promises_the_bytes_it_has(make_video, name):
    path = make_video(name).path
    assert promised_bytes(path) == path.stat().st_size


@pytest.mark.parametrize("name", ["faststart.mp4", "steady.mkv", "mpeg4.avi"])
def test_a_file_cut_anywhere_promises_more_than_it_has(make_video, tmp_path, name):
    data, path = make_video(name).path.read_bytes(), tmp_path / name
    for share in (0.4, 0.7, 0.95, 0.999):
        path.write_bytes(data[: int(len(data) * share)])
        assert promised_bytes(path) == len(data)


def test_live_recordings_and_streams_promise_nothing(make_video):
    for name in ("live.mkv", "transport.ts", "flash.flv"):
        assert promised_bytes(make_video(name).path) is None, name


def test_boxes_with_a_64_bit_length_are_followed(tmp_path):
    path = tmp_path / "large.mp4"
    path.write_bytes(
        (16).to_bytes(4, "big")
        + b"ftypisom"
        + bytes(4)
        + (1).to_bytes(4, "big")
        + b"mdat"
        + (1 << 40).to_bytes(8, "big")
    )
    assert promised_bytes(path) == 16 + (1 << 40)


def test_a_last_box_without_a_length_runs_to_the_end_of_the_file(tmp_path):
    path = tmp_path / "open.mp4"
    path.write_bytes((16).to_bytes(4, "big") + b"ftypisom" + bytes(4) + bytes(4) + b"mdat" + bytes(100))
    assert promised_bytes(path) == 16


def test_avi_files_of_several_riff_chunks_are_followed_to_the_last(tmp_path):
    path = tmp_path / "long.avi"
    chunk = b"RIFF" + (20).to_bytes(4, "little") + b"AVI " + bytes(16)
    path.write_bytes(chunk + chunk[:-6])
    assert promised_bytes(path) == 2 * len(chunk)
