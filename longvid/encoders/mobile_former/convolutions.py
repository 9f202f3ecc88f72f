"""The convolutions of Mobile-Former: per frame, and along time.

Only video nets have taps along time. Maps are (batch, dim, time, height, width), channels-last in memory, so that both
convolutions are plain 2D ones on
views of the same bytes:

    spatial     batch*time images of height x width
    temporal    batch images of time x (height*width)

Measured on one core (depth-wise, 16x28x28x72, float32): 3x3 spatial 0.6 ms and 3-tap temporal 0.4 ms this way, against
1.2 + 2.9 ms as 1x3x3 and 3x1x1 3D convolutions, and 0.9 ms for a cubic 3x3x3 at three times the arithmetic. The whole
video-mobile-former-1g takes 2.3 times as long with those 3D convolutions and plain activations, 1.7 times with cubic
ones.

In evaluation batch norm is a factor and an offset per channel, folded into the kernel on use: the same numbers up to
rounding, one pass over the map less, and nothing cached that could become stale.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


def channel_shuffle(
    features: Float[Tensor, "batch dim time height width"], groups: int
) -> Float[Tensor, "batch dim time height width"]:
    """The channels viewed as (groups, dim/groups) and transposed, so that adjacent ones come from different groups."""
    if groups == 1:
        return features
    grouped: Tensor = features.unflatten(1, (groups, -1))
    return grouped.transpose(1, 2).flatten(1, 2)


class ConvNorm(nn.Module):
    """A bias-free convolution of each frame, temporal taps if requested, then batch norm.

    With `time_taps` = k > 1 each output channel is also convolved along time (k weights per channel, zeros beyond the
    clip's ends): together a depth-wise spatial kernel and its taps are a rank-one k x 3 x 3 kernel.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        time_taps: int = 1,
        time_stride: int = 1,
        shuffle: int = 1,
    ) -> None:
        super().__init__()
        self.shuffle = shuffle
        self.conv = nn.Conv2d(in_dim, out_dim, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
        self.taps = (
            nn.Conv2d(
                out_dim,
                out_dim,
                (time_taps, 1),
                (time_stride, 1),
                padding=(time_taps // 2, 0),
                groups=out_dim,
                bias=False,
            )
            if time_taps > 1
            else None
        )
        self.norm = nn.BatchNorm3d(out_dim)

    def forward(
        self, features: Float[Tensor, "batch dim time height width"]
    ) -> Float[Tensor, "batch outdim outtime outheight outwidth"]:
        """The convolved, normalised (and, with groups, shuffled) map."""
        if self.training:
            features = self._over_frames(features, self.conv.weight, None)
            if self.taps is not None:
                features = self._over_time(features, self.taps.weight, None)
            return channel_shuffle(self.norm(features), self.shuffle)
        scale, offset = self._folded_norm()
        if self.taps is None:
            features = self._over_frames(features, self.conv.weight * scale, offset)
        else:
            features = self._over_frames(features, self.conv.weight, None)
            features = self._over_time(features, self.taps.weight * scale, offset)
        return channel_shuffle(features, self.shuffle)

    def _folded_norm(self) -> tuple[Tensor, Tensor]:
        """Batch norm with running statistics as a factor (dim, 1, 1, 1) and an offset (dim,)."""
        norm = self.norm
        assert norm.running_var is not None
        assert norm.running_mean is not None
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        return scale[:, None, None, None], norm.bias - norm.running_mean * scale

    def _over_frames(self, features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        conv = self.conv
        images = features.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        images = functional.conv2d(images, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)
        clips: Tensor = images.unflatten(0, (features.shape[0], features.shape[2]))
        return clips.transpose(1, 2)

    def _over_time(self, features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        taps = self.taps
        assert taps is not None
        # flattened with channels last: for a single clip, flattening height and width in place would leave a batch
        # stride that torch does not accept as channels-last, and the convolution would copy the map
        images = features.permute(0, 2, 3, 4, 1).contiguous().flatten(2, 3).permute(0, 3, 1, 2)
        images = functional.conv2d(images, weight, bias, taps.stride, taps.padding, taps.dilation, taps.groups)
        clips: Tensor = images.unflatten(3, features.shape[3:])
        return clips
