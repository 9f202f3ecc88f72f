"""Files are read through once a process."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from longvid.errors import VideoNotFound
from longvid.pipelines.extraction import VideoRequest
from longvid.pipelines.extraction.probes import probe_once


def test_threads_that_ask_at_once_get_one_probe(requests: list[VideoRequest]) -> None:
    with ThreadPoolExecutor(8) as pool:
        probes = list(pool.map(probe_once, [requests[0].path] * 8))
    assert all(video is probes[0] for video in probes)


def test_a_file_that_was_replaced_is_probed_again(requests: list[VideoRequest], tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(Path(requests[0].path).read_bytes())
    before = probe_once(str(path))
    path.write_bytes(Path(requests[1].path).read_bytes())
    assert probe_once(str(path)).fingerprint != before.fingerprint


def test_a_file_that_comes_later_is_found_then(requests: list[VideoRequest], tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    with pytest.raises(VideoNotFound):
        probe_once(str(path))
    path.write_bytes(Path(requests[0].path).read_bytes())
    assert probe_once(str(path)).measured.num_frames > 0
