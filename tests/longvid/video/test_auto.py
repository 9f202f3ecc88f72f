"""One flipped bit: the file that PyAV refuses as damaged is refused by `auto`, too, and never painted over."""

import numpy as np
import pytest

from longvid.errors import UnreadableVideo
from longvid.video import iter_frames, probe
from longvid.video.backends import resolve_backend


def test_a_flipped_bit_that_pyav_sees_at_the_first_frame_is_refused_by_auto(make_video, tmp_path):
    data, path = bytearray(make_video("steady.mp4").path.read_bytes()), tmp_path / "flipped.mp4"
    first = data.index(b"mdat") + 4
    refused = 0
    for at in range(first + 4, first + 1200, 40):
        flipped = data.copy()
        flipped[at] ^= 2
        path.write_bytes(flipped)
        try:
            video = probe(path)
            list(iter_frames(video, video.measured.frame_seconds[:1], height=48, width=60, backend="pyav"))
        except UnreadableVideo:
            refused += 1
            with pytest.raises(UnreadableVideo):
                list(iter_frames(path, np.zeros(1), height=48, width=60))
    assert refused >= 3


def test_auto_is_pyav_for_every_sound_file(truth):
    assert resolve_backend(probe(truth.path)) == "pyav"
