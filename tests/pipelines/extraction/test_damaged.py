"""A damaged video, a playlist, a file with another checksum: a named row of the run each, and the others go on."""

import hashlib

import av
import pytest

from longvid.pipelines.extraction import expand_inputs, extract
from longvid.tasks import Manifest, ManifestRow

pytestmark = pytest.mark.faults


@pytest.fixture
def manifest(video_folder, tmp_path):
    """`manifest(b=..., sums=True)` lists video-0 as a sound one, and the given file as b."""

    def write(*, b, sums=False):
        rows = []
        for key, path in (("a", video_folder / "video-0.mp4"), ("b", b)):
            sha256 = hashlib.sha256((video_folder / "video-0.mp4").read_bytes()).hexdigest() if sums else None
            rows.append(ManifestRow(key, path=str(path), sha256=sha256))
        Manifest(tuple(rows)).write(tmp_path / "m.jsonl")
        return tmp_path / "m.jsonl"

    return write


def reason_of_b(manifest_path, job, tmp_path):
    """Runs the extraction; a is done, and b is not for the reason given back."""
    report = extract(expand_inputs([manifest_path]), job, tmp_path / "x.zarr", scheduler="serial")
    assert {row.key: row.status for row in report.rows} == {"a": "done", "b": "failed"}
    assert report.exit_status == 3
    return next(row.reason for row in report.rows if row.key == "b")


def as_transport_stream(source, path):
    with av.open(str(source)) as whole, av.open(str(path), "w") as copy:
        stream = copy.add_stream_from_template(whole.streams.video[0])
        for packet in whole.demux(whole.streams.video[0]):
            if packet.size:
                packet.stream = stream
                copy.mux(packet)
    return path


def test_lost_packets_are_named_with_their_seconds(manifest, video_folder, job, tmp_path):
    path = as_transport_stream(video_folder / "video-1.mp4", tmp_path / "lost.ts")
    data = path.read_bytes()
    middle = len(data) // 2 // 188 * 188
    path.write_bytes(data[:middle] + data[middle + 188 :])
    reason = reason_of_b(manifest(b=path), job, tmp_path)
    assert reason.startswith(f"{path}: damaged from ")
    assert "packets of the transport stream are missing or broken; get a sound copy of the file" in reason


def test_a_file_with_another_checksum_than_the_manifest_lists_is_named(manifest, video_folder, job, tmp_path):
    path = tmp_path / "flipped.mp4"
    data = bytearray((video_folder / "video-0.mp4").read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    reason = reason_of_b(manifest(b=path, sums=True), job, tmp_path)
    assert reason.startswith(f"{path}: its sha256 is {hashlib.sha256(data).hexdigest()}, and the manifest lists ")


def test_a_playlist_is_a_named_row(manifest, video_folder, job, tmp_path):
    path = tmp_path / "list.mp4"
    path.write_text(f"ffconcat version 1.0\nfile '{video_folder / 'video-1.mp4'}'\n")
    assert "an ffconcat script, which names other files" in reason_of_b(manifest(b=path), job, tmp_path)


def test_a_title_in_latin_1_is_no_reason_to_refuse_a_video(manifest, video_folder, job, tmp_path):
    path = tmp_path / "titled.avi"
    source = video_folder / "video-1.mp4"
    with av.open(str(source)) as whole, av.open(str(path), "w", metadata_encoding="latin-1") as copy:
        copy.metadata["title"] = "Amélie"
        stream = copy.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = 96, 120, "yuv420p"
        for frame in whole.decode(video=0):
            copy.mux(stream.encode(frame.reformat(120, 96)))
        copy.mux(stream.encode(None))
    assert b"Am\xe9lie" in path.read_bytes()
    report = extract(expand_inputs([manifest(b=path)]), job, tmp_path / "x.zarr", scheduler="serial")
    assert [row.status for row in report.rows] == ["done", "done"], report.rows
