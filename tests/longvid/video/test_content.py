"""What is known of a file beyond its fingerprint."""

import hashlib
import os
from pathlib import Path

import fsspec

from longvid.video.content import checks, modified


def test_the_sha256_is_that_of_the_whole_file_and_asked_for_by_its_path(tmp_path: Path) -> None:
    file = tmp_path / "video.mp4"
    file.write_bytes(os.urandom(3_000_000))
    assert "sha256" not in checks("0badcafe")
    assert checks("0badcafe", path=file)["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()


def test_the_packets_digest_is_named_after_the_library_that_cut_them() -> None:
    ((name, value),) = checks("0badcafe").items()
    assert name.startswith("packets_crc32c_libavformat_")
    assert value == "0badcafe"


def test_a_local_file_says_when_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "video.mp4"
    file.write_bytes(b"x")
    os.utime(file, ns=(5, 7))
    assert modified(file) == {"mtime_ns": 7}


def test_a_place_elsewhere_says_its_etag_or_its_time() -> None:
    with fsspec.open("memory://videos/a.mp4", "wb") as file:
        file.write(b"x")
    (name,) = modified("memory://videos/a.mp4")
    assert name == "mtime"
