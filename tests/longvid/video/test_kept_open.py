"""A file that stays open between two readers gives the frames that it gives when it is opened anew."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from longvid.video import VideoProbe, probe
from longvid.video.backends import BACKENDS
from longvid.video.backends.kept_open import keep_open
from longvid.video.numbered import numbered_picture
from longvid.video.writing import write_video

NUM_FRAMES, HEIGHT, WIDTH = 120, 48, 64


@pytest.fixture(params=["film.mp4", "film.mkv", "film.ts"])
def film(request: pytest.FixtureRequest, tmp_path: Path) -> VideoProbe:
    """Numbered pictures, a keyframe every ten."""
    pictures = (numbered_picture(number, HEIGHT, WIDTH) for number in range(NUM_FRAMES))
    return probe(write_video(tmp_path / request.param, pictures, codec="libx264", keyframe_every=10))


@pytest.fixture
def kept() -> Iterator[None]:
    """Two files may stay open."""
    keep_open(2)
    yield
    keep_open(0)


@pytest.fixture
def openings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are opened."""
    opened: list[str] = []
    really = av.open

    def noting(file: str, *arguments: object, **options: object) -> object:
        opened.append(file)
        return really(file, *arguments, **options)

    monkeypatch.setattr(av, "open", noting)
    return opened


def frames(film: VideoProbe, start: int, stop: int) -> np.ndarray:
    read = BACKENDS["pyav"].read_frames
    wanted = np.arange(start, stop, 3)
    options = {"height": HEIGHT, "width": WIDTH, "interpolation": "bilinear", "num_threads": 1}
    return np.stack([frame for _, frame in zip(wanted, read(film, wanted, **options), strict=False)])


def test_pieces_read_one_after_the_other_are_those_of_a_fresh_file(film, kept, openings) -> None:
    stretches = [(40, 60), (0, 15), (61, 90), (35, 50), (90, 120), (15, 40)]
    keep_open(0)
    expected = [frames(film, *stretch) for stretch in stretches]
    fresh = len(openings)
    keep_open(2)
    for stretch, pictures in zip(stretches, expected, strict=True):
        np.testing.assert_array_equal(frames(film, *stretch), pictures)
    assert len(openings) - fresh < fresh


def test_a_file_that_was_replaced_is_opened_again(film, kept, tmp_path) -> None:
    frames(film, 40, 60)
    other = (numbered_picture(NUM_FRAMES - number, HEIGHT, WIDTH) for number in range(NUM_FRAMES))
    path = write_video(tmp_path / f"other{film.path.suffix}", other, codec="libx264", keyframe_every=10)
    path.replace(film.path)
    now = probe(film.path)
    kept_frames = frames(now, 40, 60)
    keep_open(0)
    np.testing.assert_array_equal(kept_frames, frames(now, 40, 60))


def test_nothing_stays_open_without_being_asked_for(film, openings) -> None:
    frames(film, 40, 60)
    frames(film, 40, 60)
    assert len(openings) == 2
