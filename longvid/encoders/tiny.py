"""`patch-statistics`: a small encoder with no training and no weights.

Each patch of each frame is described by twelve hand-made numbers and by a random projection of its thumbnail. It sees
colour, texture and motion at a coarse grid, but no objects; it is meant for trying out the pipeline, for tests, and for
data whose classes such numbers can separate. On one CPU core it takes thousands of small frames per second.

| numbers | of each patch                                                            |
|---------|--------------------------------------------------------------------------|
| 3       | mean of red, green, blue                                                 |
| 3       | standard deviation of red, green, blue                                   |
| 2       | mean absolute difference of brightness to the right and lower neighbour  |
| 3       | mean change of red, green, blue since the previous frame of the clip     |
| 1       | mean absolute change of brightness since the previous frame of the clip  |
| dim-12  | random projection (seeded) of the patch's 4 x 4 thumbnail, mean removed  |
"""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from longvid.clips.preprocessing import Preprocessing
from longvid.clips.sampling import Sampling
from longvid.encoders.base import Encoder, EncoderOutput, EncoderSpec
from longvid.errors import EncoderError
from longvid.weights import state_sha256

NUM_STATISTICS = 12
THUMBNAIL = 4


def build_patch_statistics(
    *, weights: str | None = None, seed: int = 0, size: int = 64, patch: int = 16, dim: int = 64, frames: int = 4
) -> "PatchStatistics":
    """An encoder by statistics of patches of `patch` pixels in square frames of `size` pixels, `dim` numbers each.

    `frames`: frames per clip, sampled at four per second. The seed draws the projection.
    """
    if weights not in (None, "random"):
        raise EncoderError(
            f"patch-statistics: weights={weights!r}; it has none to load, only a seeded projection: leave --weights out"
        )
    if patch % THUMBNAIL or size % patch:
        raise EncoderError(
            f"patch-statistics: size={size} must be a multiple of patch={patch}, and patch a multiple of {THUMBNAIL}"
        )
    if dim <= NUM_STATISTICS:
        raise EncoderError(f"patch-statistics: dim={dim}; {NUM_STATISTICS} are statistics, so it must be larger")
    return PatchStatistics(size=size, patch=patch, dim=dim, frames=frames, seed=seed)


class PatchStatistics(Encoder):
    """Twelve statistics and a random projection of every patch; see the table above."""

    projection: Tensor

    def __init__(self, *, size: int, patch: int, dim: int, frames: int, seed: int) -> None:
        super().__init__()
        self.patch = patch
        values = 3 * THUMBNAIL**2
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randn(values, dim - NUM_STATISTICS, generator=generator)
        self.register_buffer("projection", drawn / values**0.5)
        self.spec = EncoderSpec(
            name="patch-statistics",
            sampling=Sampling(frames=frames, fps=4.0, stride_seconds=frames / 4.0),
            preprocessing=Preprocessing(height=size, width=size, resize="squash", interpolation="area"),
            default_pooling="spatial",
            config={"size": size, "patch": patch, "dim": dim, "frames": frames, "seed": seed},
            weights=f"random (seed {seed})",
            weights_sha256=state_sha256(self.state_dict()),
            weights_seed=seed,
        )

    def forward(self, clips: Float[Tensor, "batch channel time height width"]) -> EncoderOutput:
        """Tokens of each clip; the first frame of a clip has no previous one, so its changes are zero."""
        batch, channels, _, height, width = clips.shape
        if channels != 3 or height % self.patch or width % self.patch:
            raise EncoderError(
                f"patch-statistics: frames of {channels} x {height} x {width}; give 3 channels and sides that are "
                f"multiples of {self.patch}"
            )
        frames = clips.transpose(1, 2)
        tokens = torch.cat([self._statistics(frames), self._thumbnails(frames)], dim=1)
        return EncoderOutput(rearrange(tokens, "(batch time) dim row col -> batch time (row col) dim", batch=batch))

    def _statistics(self, frames: Float[Tensor, "batch time 3 height width"]) -> Float[Tensor, "frame 12 row col"]:
        change = torch.diff(frames, dim=1, prepend=frames[:, :1]).flatten(0, 1)
        frames = frames.flatten(0, 1)
        brightness = frames.mean(dim=1, keepdim=True)
        mean, square = patch_mean(frames, self.patch), patch_mean(frames.square(), self.patch)
        right = torch.diff(brightness, dim=3, append=brightness[..., -1:]).abs_()
        lower = torch.diff(brightness, dim=2, append=brightness[..., -1:, :]).abs_()
        moved = change.mean(dim=1, keepdim=True).abs_()
        parts = [mean, (square - mean.square()).clamp(min=0).sqrt()]
        parts += [patch_mean(plane, self.patch) for plane in (right, lower, change, moved)]
        return torch.cat(parts, dim=1)

    def _thumbnails(self, frames: Float[Tensor, "batch time 3 height width"]) -> Float[Tensor, "frame dim row col"]:
        small = patch_mean(frames.flatten(0, 1), self.patch // THUMBNAIL)
        cells = rearrange(
            small, "frame channel (row y) (col x) -> frame row col channel (y x)", y=THUMBNAIL, x=THUMBNAIL
        )
        cells = (cells - cells.mean(dim=-1, keepdim=True)).flatten(-2)
        return (cells @ self.projection).movedim(-1, 1)


def patch_mean(planes: Float[Tensor, "frame plane height width"], side: int) -> Float[Tensor, "frame plane row col"]:
    """Mean of each square of `side` pixels; rows are added first, which is several times as fast as `avg_pool2d`."""
    rows = rearrange(planes, "frame plane (row y) width -> frame plane row y width", y=side).mean(dim=3)
    return rearrange(rows, "frame plane row (col x) -> frame plane row col x", x=side).mean(dim=4)
