"""Patch statistics are what their table says: colour, texture, edges, motion, and a seeded projection."""

import pytest
import torch
from rounding import assert_same_numbers

from longvid.encoders import build_encoder, pool
from longvid.encoders.tiny import NUM_STATISTICS, patch_mean
from longvid.errors import EncoderError

ROUNDING = {"terms": 256, "layers": 1}
"""Rounding of one sum over the pixels of a patch."""

SIZE, PATCH = 64, 16


@pytest.fixture
def clips():
    return torch.randn(2, 3, 4, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


def described(patch, before):
    """The twelve statistics of one patch (3, side, side) and the same place a frame before, number by number."""
    bright, change = patch.mean(0), patch - before
    return (
        torch.stack([*patch.mean((1, 2)), *patch.var((1, 2), correction=0).sqrt()]),
        torch.stack([*change.mean((1, 2)), change.mean(0).abs().mean()]),
        bright,
    )


def test_a_patchs_numbers_are_those_of_the_table(clips):
    tokens = build_encoder("patch-statistics")(clips).tokens
    row, column, time = 1, 2, 3
    place = (slice(row * PATCH, (row + 1) * PATCH), slice(column * PATCH, (column + 1) * PATCH))
    patch, before = clips[1, :, time, *place], clips[1, :, time - 1, *place]
    token = tokens[1, time, row * (SIZE // PATCH) + column]
    colour, motion, _ = described(patch, before)
    assert_same_numbers(token[:6], colour, **ROUNDING)
    assert_same_numbers(token[8:12], motion, **ROUNDING)
    bright = clips[1, :, time].mean(0)
    right = (bright[:, 1:] - bright[:, :-1]).abs()[place]
    lower = (bright[1:] - bright[:-1]).abs()[place]
    assert_same_numbers(token[6:8], torch.stack([right.mean(), lower.mean()]), **ROUNDING)


def test_the_rest_is_a_projection_of_the_thumbnail_that_ignores_its_mean(clips):
    encoder = build_encoder("patch-statistics")
    shifted = clips + torch.tensor([0.5, -0.25, 1.0])[:, None, None, None]
    plain, moved = encoder(clips).tokens, encoder(shifted).tokens
    assert_same_numbers(plain[..., NUM_STATISTICS:], moved[..., NUM_STATISTICS:], **ROUNDING)
    assert (plain[..., :3] - moved[..., :3]).abs().max() > 0.2
    assert plain[..., NUM_STATISTICS:].std() > 0.01


def test_the_first_frame_of_a_clip_has_not_moved(clips):
    tokens = build_encoder("patch-statistics")(clips).tokens
    assert tokens[:, 0, :, 8:12].abs().max() == 0
    assert tokens[:, 1, :, 8:12].abs().min() > 0


def test_a_clip_has_the_same_tokens_alone_and_in_a_batch(clips):
    encoder = build_encoder("patch-statistics")
    assert_same_numbers(encoder(clips).tokens[1], encoder(clips[1:]).tokens[0], **ROUNDING)


def test_only_the_seed_decides_the_weights_and_they_are_called_random():
    first, again, other = (build_encoder("patch-statistics", seed=seed).spec for seed in (1, 1, 2))
    assert first == again
    assert first.weights_sha256 != other.weights_sha256
    assert first.weights == "random (seed 1)"


@pytest.mark.parametrize(("size", "patch", "dim"), [(32, 8, 20), (112, 16, 64), (96, 32, 128)])
def test_its_options_decide_its_shape(size, patch, dim):
    encoder = build_encoder("patch-statistics", size=size, patch=patch, dim=dim, frames=2)
    output = encoder(torch.zeros(1, 3, 2, size, size))
    assert output.tokens.shape == (1, 2, (size // patch) ** 2, dim)
    for pooling in encoder.spec.poolings:
        assert pool(output, pooling).isfinite().all()


def test_patch_mean_is_average_pooling():
    planes = torch.randn(2, 3, 8, 12)
    assert_same_numbers(patch_mean(planes, 4), torch.nn.functional.avg_pool2d(planes, 4), **ROUNDING)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 60}, "must be a multiple of patch"),
        ({"patch": 6, "size": 60}, "and patch a multiple of 4"),
        ({"dim": 12}, "12 are statistics"),
        ({"weights": "some.safetensors"}, "none to load"),
    ],
)
def test_an_impossible_option_is_refused(options, message):
    with pytest.raises(EncoderError, match=message):
        build_encoder("patch-statistics", **options)


def test_frames_that_do_not_divide_into_patches_are_refused():
    with pytest.raises(EncoderError, match="multiples of 16"):
        build_encoder("patch-statistics")(torch.zeros(1, 3, 1, 60, 64))
