"""Augmentation: one draw per clip, the same in every frame; what it may never do."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from rounding import assert_same_numbers

from longvid.clips.preprocessing import Preprocessing
from longvid.errors import ConfigError
from longvid.recognition import NO_AUGMENTATION, Augmentation, Mixing, mixed
from longvid.recognition.augmentation import (
    MULTI_SCALES,
    augmented,
    decoded_size,
    mean_colour,
    multi_scale_box,
    random_resized_box,
)
from longvid.recognition.colour_policies import (
    AUTO_AUGMENT_V0,
    RAND_AUGMENT,
    apply_steps,
    auto_augment_steps,
    rand_augment_steps,
)
from longvid.recognition.mixing import soft_targets

PREPROCESSING = Preprocessing(height=24, width=24, mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.2))


def picture(seed=0, height=36, width=44):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def still(count=4, **size):
    """A clip whose frames are equal: what is drawn per frame would show as a difference between them."""
    return np.repeat(picture(**size)[None], count, axis=0)


@pytest.mark.parametrize(
    "settings",
    [
        {"crop": "random-resized"},
        {"crop": "multi-scale"},
        {"crop": "random"},
        {"policy": "rand-augment"},
        {"policy": "auto-augment-v0"},
        {"colour": 0.4},
        {"erase": 1},
        {"flip": 1},
    ],
)
def test_augment_draws_once_per_clip_so_that_a_still_clip_stays_still(settings):
    augmentation = Augmentation(**({"crop": "centre", "flip": 0.5} | settings))
    made = [augmented(still(), augmentation, PREPROCESSING, np.random.default_rng(seed)) for seed in range(12)]
    for clip in made:
        assert clip.shape == (4, 24, 24, 3)
        assert clip.dtype == np.uint8
        assert (clip == clip[:1]).all()
    assert any((clip != made[0]).any() for clip in made) or settings == {"flip": 1}


def test_augment_is_a_function_of_its_random_numbers():
    augmentation = Augmentation(policy="rand-augment", colour=0.4, erase=1, erase_with="noise")
    one, again, other = (
        augmented(still(), augmentation, PREPROCESSING, np.random.default_rng(seed)) for seed in (3, 3, 4)
    )
    assert (one == again).all()
    assert (one != other).any()


def test_augment_flips_whole_clips_half_of_the_time():
    frames, flipped = still(height=24, width=24), 0
    for seed in range(200):
        clip = augmented(frames, Augmentation(crop="centre"), PREPROCESSING, np.random.default_rng(seed))
        mirrored = (clip == frames[:, :, ::-1]).all()
        assert mirrored or (clip == frames).all()
        flipped += bool(mirrored)
    assert 70 < flipped < 130
    never = Augmentation(crop="centre", flip=0)
    assert never.changes_nothing
    assert all(
        (augmented(frames, never, PREPROCESSING, np.random.default_rng(seed)) == frames).all() for seed in range(20)
    )


def test_random_resized_boxes_of_augment_have_the_area_and_shape_asked_for():
    random = np.random.default_rng(0)
    areas, shapes = [], []
    for _ in range(400):
        top, left, height, width = random_resized_box((240, 320), (0.08, 1.0), (3 / 4, 4 / 3), random)
        assert 0 <= top <= 240 - height
        assert 0 <= left <= 320 - width
        areas.append(height * width / (240 * 320))
        shapes.append(width / height)
    assert min(areas) > 0.07
    assert max(areas) <= 1
    assert 0.3 < np.mean(areas) < 0.65
    assert 0.73 < min(shapes) < 0.85
    assert 1.2 < max(shapes) < 1.36
    # no box fits: the largest in the centre
    assert random_resized_box((10, 100), (1.0, 1.0), (3 / 4, 4 / 3), random) == (0, 43, 10, 13)


def test_multi_scale_boxes_of_augment_are_xvits_thirteen_places():
    random, places, sides = np.random.default_rng(0), set(), set()
    for _ in range(2000):
        top, left, height, width = multi_scale_box((256, 340), random)
        sides.add((height, width))
        places.add((round(top / max(256 - height, 1), 2), round(left / (340 - width), 2), height == 256))
    steps = [int(256 * scale) for scale in MULTI_SCALES]
    assert sides == {(a, b) for i, a in enumerate(steps) for j, b in enumerate(steps) if abs(i - j) <= 1}
    assert len({(a, b) for a, b, whole in places if not whole}) >= 13


def test_erasing_augments_one_box_in_all_frames_with_the_mean_colour():
    frames = np.stack([picture(seed, 24, 24) for seed in range(3)])
    augmentation = Augmentation(crop="centre", flip=0, erase=1)
    shares = []
    for seed in range(60):
        clip = augmented(frames, augmentation, PREPROCESSING, np.random.default_rng(seed))
        changed = (clip != frames).any(axis=-1)
        rows, columns = np.flatnonzero(changed.any(axis=(0, 2))), np.flatnonzero(changed.any(axis=(0, 1)))
        box = clip[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert (box == mean_colour(PREPROCESSING)).all()
        shares.append(box[0, ..., 0].size / 24**2)
    assert min(shares) < 0.1
    assert max(shares) <= 0.4
    noise = augmented(
        frames,
        Augmentation(crop="centre", flip=0, erase=1, erase_with="noise"),
        PREPROCESSING,
        np.random.default_rng(1),
    )
    assert len(np.unique(noise[noise != frames])) > 20


def test_rand_augment_uses_every_operation_at_levels_around_the_one_asked_for():
    used, random = {}, np.random.default_rng(0)
    for _ in range(1500):
        for name, argument in rand_augment_steps(random, count=4, level=7, spread=0.5):
            used.setdefault(name, []).append(argument)
    assert set(used) == set(RAND_AUGMENT)
    assert 1500 * 4 * 0.45 < sum(map(len, used.values())) < 1500 * 4 * 0.55
    assert np.mean(np.abs(used["rotate"])) == pytest.approx(21, abs=0.5)
    assert 0.4 < np.mean(np.array(used["rotate"]) > 0) < 0.6
    assert np.mean(np.abs(np.array(used["colour-up"]) - 1)) == pytest.approx(0.63, abs=0.02)
    assert set(used["posterize-up"]) <= {1, 2, 3}
    assert np.mean(used["solarize-up"]) == pytest.approx(256 * 0.3, abs=3)


def test_auto_augment_has_the_25_pairs_of_the_policy_and_uses_their_probabilities():
    pairs = AUTO_AUGMENT_V0.split(";")
    assert len(pairs) == 25
    assert all(len(pair.split(",")) == 2 for pair in pairs)
    random, counts = np.random.default_rng(0), {}
    for _ in range(4000):
        for name, _ in auto_augment_steps(random):
            counts[name] = counts.get(name, 0) + 1
    expected = {}
    for pair in pairs:
        for step in pair.split(","):
            name, probability, _ = step.split()
            expected[name] = expected.get(name, 0) + float(probability) / 25
    for name, share in expected.items():
        assert counts.get(name, 0) / 4000 == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize(
    ("name", "argument", "wanted"),
    [
        ("invert", 0, lambda one: 255 - one),
        ("solarize", 100, lambda one: np.where(one < 100, one, 255 - one)),
        ("solarize-add", 50, lambda one: np.where(one < 128, np.minimum(one.astype(int) + 50, 255), one)),
        ("posterize", 3, lambda one: one & 0b11100000),
        ("equalize", 0, lambda one: np.asarray(ImageOps.equalize(Image.fromarray(one)))),
        ("brightness-by", 0.5, lambda one: (one * 0.5).astype(np.uint8)),
        (
            "translate-x",
            0.25,
            lambda one: np.concatenate([one[:, 11:], np.broadcast_to([9, 8, 7], (36, 11, 3))], axis=1),
        ),
    ],
)
def test_operations_that_augment_frames_do_what_their_names_say(name, argument, wanted):
    frames = np.stack([picture(0), picture(1)])
    found = apply_steps(frames, [(name, argument)], (9, 8, 7))
    for one, expected in zip(frames, found, strict=True):
        assert np.abs(np.asarray(wanted(one)).astype(int) - expected).max() <= (1 if name == "brightness-by" else 0)


def test_frames_are_decoded_as_large_as_the_augmentation_needs_them():
    random = np.random.default_rng(0)
    net = Preprocessing()
    assert decoded_size(Augmentation(), net, 480, 640, random) == (256, 341)
    assert decoded_size(NO_AUGMENTATION, net, 480, 640, random) == net.resized(480, 640)
    jitter = Augmentation(crop="random", short_side=256, short_side_up_to=320)
    sides = {decoded_size(jitter, net, 480, 640, random)[0] for _ in range(200)}
    assert min(sides) >= 256
    assert max(sides) <= 320
    assert len(sides) > 30


def batch(count=4):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 3, 2, 20, 20, generator=generator), torch.arange(count)


def test_mixup_augments_clips_and_targets_with_the_same_share():
    clips, labels = batch()
    for seed in range(10):
        made, targets = mixed(clips, labels, 4, Mixing(mixup=0.8), random=np.random.default_rng(seed))
        share = float(targets[0, 0])
        assert_same_numbers(made, share * clips + (1 - share) * clips.flip(0), terms=2)
        assert_same_numbers(targets.sum(dim=1), torch.ones(4), terms=4)
        assert float(targets[0, 3]) == pytest.approx(1 - share)


def test_cutmix_augments_the_same_box_in_all_frames_and_counts_its_pixels():
    clips, labels = batch()
    for seed in range(20):
        made, targets = mixed(
            clips, labels, 4, Mixing(cutmix=1.0, partner="permutation"), random=np.random.default_rng(seed)
        )
        taken = (made[0] != clips[0]).any(dim=0)
        assert (taken == taken[:1]).all()
        share = float(taken[0].float().mean())
        assert float(targets[0].max()) == pytest.approx(max(share, 1 - share)) or share == 0
        assert_same_numbers(targets.sum(dim=1), torch.ones(4), terms=4)


def test_labels_are_smoothed_over_all_classes_and_single_clips_stay_unmixed():
    targets = soft_targets(torch.tensor([1]), 4, 0.3)
    assert_same_numbers(targets, [[0.075, 0.775, 0.075, 0.075]], terms=3)
    clips, labels = batch(1)
    made, soft = mixed(clips, labels, 4, Mixing(mixup=0.8), smoothing=0.1, random=np.random.default_rng(0))
    assert made is clips
    assert float(soft[0, 0]) == pytest.approx(0.925)
    scores, other = torch.randn(2, 4), torch.tensor([2, 0])
    one_by_one = torch.nn.functional.cross_entropy(scores, other, label_smoothing=0.3)
    together = torch.nn.functional.cross_entropy(scores, soft_targets(other, 4, 0.3))
    assert_same_numbers(together, one_by_one, terms=16)


def test_settings_that_augment_impossibly_are_refused_in_one_line():
    with pytest.raises(ConfigError, match=r"Augmentation\.area=\[0\.9, 0\.1\]: give the smaller first"):
        Augmentation(area=(0.9, 0.1))
    with pytest.raises(ConfigError, match=r"Augmentation\.flip=2: should be at most 1$"):
        Augmentation(flip=2)
    with pytest.raises(ConfigError, match=r"short_side_up_to=200 is less than short_side=256"):
        Augmentation(short_side=256, short_side_up_to=200)
