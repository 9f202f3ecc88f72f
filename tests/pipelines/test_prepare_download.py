"""What is missing is fetched to where it is expected, and what failed is remembered; from a server on this machine."""

import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from longvid.errors import BackendUnavailable
from longvid.pipelines.prepare.absent import AbsentVideo
from longvid.pipelines.prepare.download import DownloadSettings, download
from longvid.video import probe

AT_ONCE = DownloadSettings(format="best", pause_seconds=(0.0, 0.0), bytes_per_second=None)


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(tmp_path, make_video) -> Iterator[str]:
    """A page with one video, `-clip.mp4`."""
    make_video(tmp_path / "site" / "-clip.mp4")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_QuietHandler, directory=str(tmp_path / "site"))) as served:
        thread = Thread(target=served.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{served.server_address[1]}"
        served.shutdown()
        thread.join()


def absent(server: str, folder: Path, name: str, state: str = "missing") -> AbsentVideo:
    return AbsentVideo(name, state, f"{server}/{name}.mp4", str(folder / "100 %" / f"{name}.mp4"), "", "")


def test_a_missing_video_lands_where_it_is_expected_and_a_failure_is_asked_for_once(server, tmp_path):
    folder = tmp_path / "videos"
    wanted = [absent(server, folder, name) for name in ("-clip", "-gone")] + [
        absent(server, folder, "-x", "unreadable")
    ]
    heard = []
    results = download(wanted, folder, AT_ONCE, on_video=heard.append)
    assert [(r.key, r.state) for r in results] == [("-clip", "done"), ("-gone", "failed")]
    assert heard == results
    assert "404" in results[1].reason
    assert probe(folder / "100 %" / "-clip.mp4").end_seconds == pytest.approx(2.0)
    assert download(wanted[1:2], folder, AT_ONCE)[0].state == "left alone"
    again = DownloadSettings(format="best", pause_seconds=(0.0, 0.0), bytes_per_second=None, retry_failed=True)
    assert download(wanted[1:2], folder, again)[0].state == "failed"


def test_without_yt_dlp_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "yt_dlp", None)
    with pytest.raises(BackendUnavailable, match=r"pip install longvid\[download\]"):
        download([], tmp_path)
