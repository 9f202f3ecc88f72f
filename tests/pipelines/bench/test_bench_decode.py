"""The decode bench reads what it says it reads, and its long film is its short one over and over."""

import numpy as np

from longvid.pipelines.bench import decode
from longvid.video import probe


def test_the_film_of_the_bench_needs_decoding_and_repeats_without_a_seam(tmp_path):
    film = decode.make_film(tmp_path / "film.mp4", seconds=2, height=72, width=128)
    long_film = decode.repeat_film(film, tmp_path / "long.mp4", times=5)
    short, repeated = probe(film), probe(long_film)
    assert (short.measured.num_frames, repeated.measured.num_frames) == (60, 300)
    assert not repeated.measured.is_variable_rate
    np.testing.assert_allclose(repeated.measured.frame_seconds, np.arange(300) / 30, atol=1e-4)
    assert short.size_bytes > 10_000


def test_all_readers_of_the_bench_give_the_frames_that_were_asked_for(tmp_path):
    video = probe(decode.make_film(tmp_path / "film.mp4", seconds=2, height=72, width=128))
    assert decode.decode_all(video) == 60
    assert [decode.read_at(video, "pyav", rate) for rate in (1, 8, 30)] == [2, 16, 60]
    peak, grown = decode.peak_of_reading(video.path)
    assert peak > grown >= 0
