"""The damage bench judges what it says it judges; and the damage that was tried and held, held again.

The whole set, 3,600 seeded damages compared clip by clip with the sound film, is marked slow.
"""

import os

import numpy as np
import pytest

from longvid.pipelines.bench import damage
from longvid.pipelines.bench.damage import FILMS, GOALS, Tally, draw, hurt, judge, shown, try_damage
from longvid.video import probe
from longvid.video.numbered import read_number
from longvid.video.reader import iter_frames

MOST_WRONG = {"h264": 0.2, "bare": 0.2, "hevc": 0.5, "vp9": 0.8, "av1": 0.2, "mpeg4": 0.25, "mjpeg": 0.2, "mpeg2": 0.2}
"""Per damage, by codec: what nothing shows where the container has no checksums, with room for other builds."""


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """`sound("h264.mp4")` is the film of that name."""
    folder, made = tmp_path_factory.mktemp("films"), {}

    def make(film):
        if film not in made:
            made[film] = draw(film, folder)
        return made[film]

    return make


def tally(path, seeds, backend="auto"):
    """Outcomes of the damages with these seeds."""
    found = Tally()
    for seed in seeds:
        found.add(try_damage(path, seed, backend))
    return found


@pytest.mark.parametrize("film", ["h264.ts", "vp9.webm", "mpeg4.avi"])
def test_a_sound_film_is_right_and_shows_nothing(sound, film):
    assert judge(sound(film), sound(film), "auto") == "right"
    video = probe(sound(film))
    frames = iter_frames(video, video.measured.frame_seconds[[0, 77, 199]], height=96, width=120)
    assert [read_number(frame) for frame in frames] == [0, 77, 199]


def test_a_film_with_other_pictures_in_it_is_wrong(sound):
    assert judge(sound("mpeg4.avi"), sound("mjpeg.avi"), "auto") == "wrong"


def test_every_seed_hurts_the_file_in_one_way_and_the_same_seed_in_the_same_way(sound):
    data = sound("h264.mp4").read_bytes()
    kinds = [hurt(data, seed) for seed in range(40)]
    assert all(damaged != data for damaged in kinds)
    assert kinds == [hurt(data, seed) for seed in range(40)]
    assert sum(len(damaged) < len(data) for damaged in kinds) == 10


def test_what_a_decoder_says_of_a_broken_frame_is_shown(sound, tmp_path):
    path = tmp_path / "broken.mp4"
    data = bytearray(sound("mpeg4.mp4").read_bytes())
    middle = data.index(b"mdat") + 4000
    data[middle : middle + 200] = bytes(np.random.default_rng(0).bytes(200))
    path.write_bytes(data)
    assert shown(path) - shown(sound("mpeg4.mp4"))


@pytest.mark.parametrize("film", list(FILMS))
def test_seeded_damage_is_seen_where_anything_shows_it(sound, film):
    """The first 12 seeds: nothing that a full decode with every check shows goes unnoticed, in any film."""
    found = tally(sound(film), range(12))
    assert found.num_shown_wrong == 0, found
    assert found.outcomes["wrong"] <= 12 * MOST_WRONG[film.split(".")[0]] + 2
    assert found.outcomes["refused"] > 0


@pytest.mark.parametrize("film", ["h264.mkv", "hevc.mkv", "av1.mkv", "mpeg4.mkv", "mjpeg.mkv"])
def test_a_checksum_leaves_nothing_unseen_whatever_the_codec(sound, film):
    assert tally(sound(film), range(12, 40)).outcomes["wrong"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("film", list(FILMS))
def test_two_hundred_damages_per_film_are_seen_where_anything_shows_them(sound, film):
    found = tally(sound(film), range(200))
    assert found.num_shown_wrong <= (0 if film in GOALS else 2), found
    assert found.outcomes["wrong"] <= 200 * MOST_WRONG[film.split(".")[0]]


def test_a_decoder_that_dies_or_hangs_is_counted_as_crashed_and_the_next_call_is_answered():
    with damage._Patient(deadline_seconds=20.0) as patient:
        assert patient.call(dies) == ("crashed", False)
        assert patient.call(answers) == ("right", False)
        assert patient.call(raises) == ("crashed", False)


def dies():
    os._exit(1)


def raises():
    raise RuntimeError("not refused by name")


def answers():
    return "right", False
