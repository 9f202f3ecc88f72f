"""A file is opened as a video only: no playlist is followed, no name is read as a protocol, no tag ends a run."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import av
import av.format
import numpy as np
import pytest

from longvid.errors import UnreadableVideo
from longvid.video import iter_frames, probe
from longvid.video.numbered import read_number
from longvid.video.opening import CONTAINERS


def with_latin_1_title(source: Path, path: Path) -> Path:
    """A copy of the file's packets with a title as older programs write it: not UTF-8."""
    with av.open(str(source)) as whole, av.open(str(path), "w", metadata_encoding="latin-1") as copy:
        copy.metadata["title"] = "Amélie"
        stream = copy.add_stream_from_template(whole.streams.video[0])
        for packet in whole.demux(whole.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                copy.mux(packet)
    assert b"Am\xe9lie" in path.read_bytes()
    return path


@pytest.mark.parametrize("suffix", [".avi", ".mkv", ".mp4"])
def test_a_title_in_another_encoding_does_not_stop_a_video(make_video, tmp_path, suffix):
    name = {".avi": "mpeg4.avi", ".mp4": "no_b_frames.mp4", ".mkv": "no_b_frames.mp4"}[suffix]
    path = with_latin_1_title(make_video(name).path, tmp_path / f"titled{suffix}")
    video = probe(path)
    frames = list(iter_frames(video, video.measured.frame_seconds[:3], height=48, width=60))
    assert [read_number(frame) for frame in frames] == [0, 1, 2]


def test_a_playlist_is_not_read_as_the_videos_it_names(make_video, tmp_path):
    other = make_video("steady.mp4").path
    scripts = {
        "list.mp4": (f"ffconcat version 1.0\nfile '{other}'\n", "an ffconcat script"),
        "list.m3u8": (f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{other}\n#EXT-X-ENDLIST\n", "an HLS playlist"),
        "live.mp4": ("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nhttp://127.0.0.1:9/a.ts\n", "an HLS playlist"),
    }
    for name, (text, kind) in scripts.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(UnreadableVideo, match=f"{kind}, which names other files; give those files") as raised:
            probe(tmp_path / name)
        assert str(tmp_path / name) in str(raised.value)


def test_nothing_on_the_network_is_asked_for(make_video, tmp_path):
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *arguments):
            """Nothing on the terminal."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        path = tmp_path / "live.m3u8"
        path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nhttp://127.0.0.1:{server.server_port}/a.ts\n")
        with pytest.raises(UnreadableVideo):
            probe(path)
        server.shutdown()
    assert asked == []


def test_a_picture_is_no_video(tmp_path):
    path = tmp_path / "picture%d.ppm"
    path.write_bytes(b"P6 4 4 255\n" + bytes(48))
    with pytest.raises(UnreadableVideo, match=r"not a readable video \(its container is not one that longvid opens"):
        probe(path)


def test_a_colon_in_a_name_is_part_of_the_name(make_video, tmp_path, monkeypatch, backend):
    (tmp_path / "col:on.mp4").write_bytes(make_video("no_b_frames.mp4").path.read_bytes())
    monkeypatch.chdir(tmp_path)
    frames = iter_frames(Path("col:on.mp4"), np.array([0.5]), height=48, width=60, backend=backend)
    assert [read_number(frame) for frame in frames] == [15]


def test_every_container_that_is_opened_is_one_that_the_decoder_knows():
    for name in CONTAINERS:
        assert av.format.ContainerFormat(name, "r").is_input, name
