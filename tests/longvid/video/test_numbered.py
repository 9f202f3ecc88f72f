"""Numbered pictures survive what is done to pictures, and notice what must not be done to them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from longvid.video.numbered import NUM_NUMBERS, numbered_picture, read_number
from longvid.video.scaling import Scaler

numbers = st.integers(0, NUM_NUMBERS - 1)


@given(numbers, st.integers(32, 150), st.integers(40, 150))
def test_the_number_can_be_read_at_any_size(number, height, width):
    assert read_number(numbered_picture(number, height, width)) == number


@given(numbers, st.integers(1, 3))
def test_a_picture_that_lies_on_its_side_or_head_has_no_number(number, quarter_turns):
    assert read_number(np.rot90(numbered_picture(number, 64, 80), quarter_turns)) is None


@given(numbers)
def test_the_number_survives_shrinking_and_noise(number):
    picture = numbered_picture(number, 96, 120)
    noise = np.random.default_rng(number).integers(-30, 31, picture.shape)
    noisy = np.clip(picture + noise, 0, 255).astype(np.uint8)
    assert read_number(Scaler(24, 32, "bilinear").scale_rgb(noisy)) == number


def test_grey_has_no_number():
    assert read_number(np.full((64, 80, 3), 128, np.uint8)) is None
