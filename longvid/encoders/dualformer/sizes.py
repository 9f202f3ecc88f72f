"""Clip sizes that a DualFormer takes, and how others are handled.

The released code drops what an embedding's stride leaves over (last frames, bottom rows, right columns), never pads,
and fails if a window does not divide a grid. Here each axis is judged on its own:

    odd_sizes="refuse"   every stride and every window must divide: no part of a clip is dropped
    odd_sizes="crop"     the released rule; if a window would not divide, the clip is first cut at the end
                         (last frames, bottom rows, right columns) to the largest size that the released rule takes

With the released configurations: time is a multiple of 16, height and width are multiples of 224 (and, under "crop",
one frame or up to three pixels more without a cut).
"""

from itertools import count

from longvid.encoders.dualformer.config import COARSE_FIRST_KERNEL, DualFormerConfig, Size
from longvid.errors import EncoderError

ODD_SIZES = ("refuse", "crop")

_AXES = ("time", "height", "width")


def fitted_size(config: DualFormerConfig, size: Size, odd_sizes: str) -> Size:
    """The (time, height, width) to which a clip of `size` is cut at its end; `size` itself if nothing needs to be cut.

    Raises `EncoderError` that names the stage, what does not divide, and the nearest sizes that work.
    """
    if odd_sizes not in ODD_SIZES:
        raise EncoderError(f"odd_sizes={odd_sizes!r} is not one of {', '.join(ODD_SIZES)}")
    time, height, width = (_fitted_axis(config, axis, size, odd_sizes) for axis in range(3))
    return time, height, width


def _fitted_axis(config: DualFormerConfig, axis: int, size: Size, odd_sizes: str) -> int:
    exact = odd_sizes == "refuse"
    reason = misfit(config, axis, size[axis], exact=exact)
    if reason is None:
        return size[axis]
    below, above = nearest_sizes(config, axis, size[axis], exact=exact)
    if not exact and below is not None:
        return below
    nearest = " or ".join(str(near) for near in (below, above) if near is not None)
    also = "; odd_sizes='crop' drops what does not fit" if exact and below is not None else ""
    raise EncoderError(
        f"clips of {'x'.join(map(str, size))} (time x height x width): {reason}; "
        f"nearest {_AXES[axis]} that works: {nearest}{also}"
    )


def misfit(config: DualFormerConfig, axis: int, length: int, *, exact: bool) -> str | None:
    """Why a clip of `length` along an axis (0 time, 1 height, 2 width) does not fit, or None if it does.

    `exact`: strides must divide too, not only windows.
    """
    grid = length
    for index, stage in enumerate(config.stages):
        stride, window = config.stride(index)[axis], stage.window[axis]
        if exact and grid % stride:
            return f"stage {index}'s stride of {stride} does not divide {grid} in {_AXES[axis]}"
        grid //= stride
        if grid < 1 or grid % window:
            return f"stage {index}'s window of {window} does not divide its grid of {grid} in {_AXES[axis]}"
        if _pooled_away(config, index, axis, grid):
            return f"stage {index}'s pyramid is larger than its grid of {grid} in {_AXES[axis]}"
    return None


def _pooled_away(config: DualFormerConfig, index: int, axis: int, grid: int) -> bool:
    """Whether a level of the stage's pyramid would have no token along the axis."""
    kernels = config.pyramid(index)
    if kernels is None:
        return False
    if grid < kernels.fine[axis]:
        return True
    return kernels.coarse is not None and grid // COARSE_FIRST_KERNEL[axis] < kernels.coarse[axis]


def nearest_sizes(config: DualFormerConfig, axis: int, length: int, *, exact: bool) -> tuple[int | None, int]:
    """The largest length below that fits (None if there is none) and the smallest above.

    There is always one above: a large enough common multiple of the strides times the windows.
    """

    def fits(candidate: int) -> bool:
        return misfit(config, axis, candidate, exact=exact) is None

    return next(filter(fits, range(length - 1, 0, -1)), None), next(filter(fits, count(length + 1)))
