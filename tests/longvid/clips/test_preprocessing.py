"""The geometry and the normalisation between a decoded frame and an encoder."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rounding import assert_same_numbers

from longvid.clips.preprocessing import Preprocessing
from longvid.errors import ConfigError
from longvid.plain import as_json

sides = st.integers(16, 2160)
small_sides = st.integers(8, 256)


@given(sides, sides, small_sides, small_sides)
def test_a_resized_frame_covers_its_crop_whatever_its_shape(height, width, crop_height, crop_width):
    for preprocessing in (
        Preprocessing(crop_height, crop_width),
        Preprocessing(crop_height, crop_width, resize="squash"),
        Preprocessing(crop_height, crop_width, short_side=max(crop_height, crop_width) + 5),
    ):
        resized_height, resized_width = preprocessing.resized(height, width)
        rows, columns = preprocessing.crop(resized_height, resized_width)
        assert rows.start >= 0
        assert rows.stop <= resized_height
        assert columns.start >= 0
        assert columns.stop <= resized_width
        assert (rows.stop - rows.start, columns.stop - columns.start) == (crop_height, crop_width)


@given(sides, sides, small_sides)
def test_the_short_side_keeps_the_aspect_ratio_to_a_pixel(height, width, side):
    resized_height, resized_width = Preprocessing(side, side, short_side=side).resized(height, width)
    assert min(resized_height, resized_width) == side
    assert abs(max(resized_height, resized_width) - side * max(height, width) / min(height, width)) <= 0.5


def test_the_crop_is_the_centre():
    rows, columns = Preprocessing(224, 224, short_side=256).crop(256, 455)
    assert (rows, columns) == (slice(16, 240), slice(115, 339))


def test_normalised_clips_have_channels_first_and_the_stated_mean_and_deviation():
    preprocessing = Preprocessing(4, 6, mean=(0.5, 0.25, 0.75), std=(0.5, 0.25, 1.0))
    frames = torch.zeros(2, 3, 4, 6, 3, dtype=torch.uint8)
    frames[..., 0], frames[..., 1], frames[..., 2] = 255, 0, 51
    clips = preprocessing.normalise(frames)
    assert clips.shape == (2, 3, 3, 4, 6)
    assert clips.dtype == torch.float32
    assert clips.is_contiguous()
    for channel, expected in enumerate([(1 - 0.5) / 0.5, (0 - 0.25) / 0.25, (0.2 - 0.75) / 1.0]):
        assert_same_numbers(clips[:, channel], torch.full_like(clips[:, channel], expected), terms=3, size=1.0)


def test_normalising_is_the_formula_on_every_pixel():
    preprocessing = Preprocessing(5, 7, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    frames = np.random.default_rng(0).integers(0, 256, (1, 2, 5, 7, 3), dtype=np.uint8)
    expected = (frames / 255 - np.array(preprocessing.mean)) / np.array(preprocessing.std)
    got = preprocessing.normalise(torch.from_numpy(frames)).numpy()
    assert_same_numbers(got, np.moveaxis(expected, -1, 1), terms=3)  # scaled, less the mean, over the deviation


def test_a_preprocessing_becomes_plain_json():
    values = json.loads(json.dumps(as_json(Preprocessing(short_side=256))))
    assert values["short_side"] == 256
    assert values["mean"] == [0.5, 0.5, 0.5]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"height": 0}, r"Preprocessing\.height=0: should be at least 1"),
        ({"std": (0.5, 0.0, 0.5)}, r"Preprocessing\.std\[1\]=0\.0: should be more than 0"),
        ({"resize": "squash", "short_side": 256}, "short_side=256 is not allowed with resize='squash'"),
        ({"short_side": 200}, "short_side=200 is smaller than the crop of 224x224 pixels"),
    ],
)
def test_impossible_geometry_is_refused_with_the_value_given(options, message):
    with pytest.raises(ConfigError, match=message):
        Preprocessing(**options)
