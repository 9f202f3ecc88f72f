"""Which clips DualFormer takes, and what it says of the others."""

import pytest
import torch

from longvid.encoders.dualformer import VARIANTS, DualFormer, DualFormerConfig, StageConfig
from longvid.encoders.dualformer.config import COARSE_FIRST_KERNEL
from longvid.encoders.dualformer.sizes import fitted_size, misfit, nearest_sizes
from longvid.errors import EncoderError

TINY = VARIANTS["dualformer-tiny"]

SMALL = DualFormerConfig(
    stages=(
        StageConfig(dim=8, heads=2, blocks=2, window=(2, 4, 4), fine=(2, 4, 4), coarse=(2, 2, 2)),
        StageConfig(dim=12, heads=3, blocks=2, window=(2, 4, 4), fine=(4, 4, 4)),
    ),
    video_size=(8, 64, 64),
)


@pytest.mark.parametrize("size", [(16, 224, 224), (32, 224, 448), (48, 448, 224), (128, 672, 224)])
def test_released_models_take_multiples_of_sixteen_frames_and_224_pixels(size: tuple[int, int, int]) -> None:
    for config in VARIANTS.values():
        assert fitted_size(config, size, "refuse") == size
        assert fitted_size(config, size, "crop") == size


def test_where_a_released_window_divides_so_does_every_pooling_kernel() -> None:
    """Nothing of a clip that is accepted by default is left unseen."""
    for frames, side in ((16, 224), (48, 448), (80, 672)):
        for index, grid in enumerate(TINY.grids((frames, side, side))):
            kernels = TINY.pyramid(index)
            if kernels is None:
                continue
            assert all(length % part == 0 for length, part in zip(grid, kernels.fine, strict=True))
            if kernels.coarse:
                first = [length // part for length, part in zip(grid, COARSE_FIRST_KERNEL, strict=True)]
                assert all(length % part == 0 for length, part in zip(grid, COARSE_FIRST_KERNEL, strict=True))
                assert all(length % part == 0 for length, part in zip(first, kernels.coarse, strict=True))


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((32, 256, 224), r"32x256x224 .*stage 0's window of 7 does not divide its grid of 64 in height.* 224 or 448"),
        ((32, 224, 225), r"stage 0's stride of 4 does not divide 225 in width.* 224 or 448"),
        ((34, 224, 224), r"stage 0's window of 8 does not divide its grid of 17 in time.* 32 or 48"),
        ((32, 200, 224), r"height; nearest height that works: 224$"),
        ((8, 224, 224), r"time; nearest time that works: 16$"),
    ],
)
def test_a_size_that_does_not_divide_is_refused_with_the_nearest_that_work(
    size: tuple[int, int, int], message: str
) -> None:
    with pytest.raises(EncoderError, match=message):
        fitted_size(TINY, size, "refuse")


@pytest.mark.parametrize(
    ("size", "fitted"),
    [
        ((33, 227, 225), (33, 227, 225)),  # the authors' code takes these, and drops the rest in its strides
        ((34, 256, 320), (33, 227, 227)),  # and fails here
        ((40, 451, 452), (33, 451, 451)),
    ],
)
def test_cropping_takes_what_the_authors_take_and_cuts_the_rest_to_it(
    size: tuple[int, int, int], fitted: tuple[int, int, int]
) -> None:
    assert fitted_size(TINY, size, "crop") == fitted


def test_cropping_cannot_make_a_clip_larger() -> None:
    with pytest.raises(EncoderError, match=r"nearest height that works: 224$"):
        fitted_size(TINY, (32, 223, 224), "crop")


def test_what_is_accepted_by_default_is_accepted_when_cropping_too() -> None:
    for axis in range(3):
        exact = [length for length in range(1, 200) if misfit(SMALL, axis, length, exact=True) is None]
        loose = [length for length in range(1, 200) if misfit(SMALL, axis, length, exact=False) is None]
        assert exact
        assert set(exact) < set(loose)
        for length in range(1, 100):
            below, above = nearest_sizes(SMALL, axis, length, exact=True)
            assert below == max((other for other in exact if other < length), default=None)
            assert above == min(other for other in exact if other > length)


def test_a_clip_too_small_for_a_pyramid_level_is_refused_by_name() -> None:
    with pytest.raises(EncoderError, match="stage 0's pyramid is larger than its grid of 4 in height"):
        fitted_size(SMALL, (8, 16, 64), "crop")


def test_a_cropped_clip_gives_what_its_fitting_part_gives() -> None:
    torch.manual_seed(0)
    model = DualFormer(SMALL, odd_sizes="crop").double().eval()
    clips = torch.randn(1, 3, 11, 78, 69, dtype=torch.float64)
    fitted = fitted_size(SMALL, (11, 78, 69), "crop")
    assert fitted == (9, 67, 67)
    whole, part = model(clips), model(clips[:, :, :8, :64, :64])
    torch.testing.assert_close(whole.tokens, part.tokens)  # the end is dropped, the start kept


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(EncoderError, match="odd_sizes='pad' is not one of refuse, crop"):
        fitted_size(TINY, (32, 224, 224), "pad")


def test_impossible_configurations_are_refused_when_they_are_made() -> None:
    with pytest.raises(EncoderError, match="dim=10 cannot be cut into heads=3"):
        StageConfig(dim=10, heads=3, blocks=1)
    with pytest.raises(EncoderError, match="at least 1"):
        StageConfig(dim=8, heads=2, blocks=0)
    with pytest.raises(EncoderError, match=r"gives stage 1 the coarse kernel \(4, 0, 0\)"):
        DualFormerConfig(stages=TINY.stages, video_size=(32, 192, 192))
    with pytest.raises(EncoderError, match="too small for 4 stages"):
        DualFormerConfig(stages=TINY.stages, video_size=(32, 16, 16))
    with pytest.raises(EncoderError, match="set num_classes"):
        DualFormerConfig(stages=TINY.stages, token_label=True)
