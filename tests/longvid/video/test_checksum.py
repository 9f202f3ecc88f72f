"""A file whose sha256 is known is read as it was, or not at all."""

import hashlib

import pytest

from longvid.errors import DamagedVideo, VideoNotFound
from longvid.video.checksum import require_sha256


def test_a_file_with_other_bytes_is_refused_with_both_sums(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"video" * 1000)
    expected = hashlib.sha256(b"video" * 1000).hexdigest()
    require_sha256(path, expected.upper())
    path.write_bytes(b"video" * 999 + b"vide0")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(DamagedVideo, match=rf"a\.mp4: its sha256 is {found}, and the manifest lists {expected}; get"):
        require_sha256(path, expected)


def test_a_missing_file_is_not_found(tmp_path):
    with pytest.raises(VideoNotFound):
        require_sha256(tmp_path / "gone.mp4", "0" * 64)
