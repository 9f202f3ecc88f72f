"""From decoded frames to an encoder's input: geometry, normalisation.

The geometry (the size a frame is resized to, the crop) is applied while decoding, so that full-size frames
never pile up; the normalisation is applied on the encoder's device, so that frames travel as uint8.
"""

from typing import TYPE_CHECKING, Literal

from longvid.errors import ConfigError
from longvid.validation import Count, Number, Positive, settings
from longvid.video.frames import Interpolation

if TYPE_CHECKING:
    from torch import Tensor

Resize = Literal["squash", "short_side"]


@settings(ConfigError)
class Preprocessing:
    """How a frame of any size becomes the encoder's input.

    `resize="squash"` resizes straight to (height, width) and changes the aspect ratio. `"short_side"` resizes the
    shorter side to `short_side` pixels, keeps the aspect ratio, and crops the centre (height, width).
    """

    height: Count = 224
    width: Count = 224
    resize: Resize = "short_side"
    short_side: Count | None = None
    """Pixels of the shorter side after resizing; None: the smallest that covers (height, width)."""
    squash_side: Count | None = None
    """With `"squash"`: frames become squares of this side, of which the centre is cropped; None: no crop."""
    interpolation: Interpolation = "bilinear"
    mean: tuple[Number, Number, Number] = (0.5, 0.5, 0.5)
    std: tuple[Positive, Positive, Positive] = (0.5, 0.5, 0.5)
    """Per RGB channel, of pixel values scaled to 0..1."""

    def __post_init__(self) -> None:
        if self.short_side is not None and self.resize != "short_side":
            raise ConfigError(f"short_side={self.short_side} is not allowed with resize={self.resize!r}")
        if self.squash_side is not None and self.resize != "squash":
            raise ConfigError(f"squash_side={self.squash_side} is not allowed with resize={self.resize!r}")
        for name, side in (("short_side", self.short_side), ("squash_side", self.squash_side)):
            if side is not None and side < max(self.height, self.width):
                raise ConfigError(f"{name}={side} is smaller than the crop of {self.height}x{self.width} pixels")

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """Size (height, width) to which an upright frame of the given size is resized before the crop."""
        if self.resize == "squash":
            return self.squash_side or self.height, self.squash_side or self.width
        if self.short_side is not None:
            scale = self.short_side / min(height, width)
        else:
            scale = max(self.height / height, self.width / width)
        return max(self.height, round(height * scale)), max(self.width, round(width * scale))

    def crop(self, height: int, width: int) -> tuple[slice, slice]:
        """Rows and columns of the centre crop in a resized frame of the given size."""
        top, left = (height - self.height) // 2, (width - self.width) // 2
        return slice(top, top + self.height), slice(left, left + self.width)

    def normalise(self, frames: "Tensor") -> "Tensor":
        """Float32 clips (batch, 3, time, height, width) from uint8 frames (batch, time, height, width, 3)."""
        import torch

        mean = torch.tensor(self.mean, device=frames.device).mul(255)
        std = torch.tensor(self.std, device=frames.device).mul(255)
        return ((frames.float() - mean) / std).movedim(-1, 1).contiguous()
