"""X-ViT over a film of any length as its frames arrive, in linear time.

Memory is bounded, and the tokens are those of one long pass but for rounding.
"""

from collections.abc import Iterable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from longvid.encoders.xvit.model import FrameTokens, XViT
from longvid.errors import EncoderError


def stream_tokens(
    model: XViT, frames: Iterable[Float[Tensor, "3 height width"]], *, chunk_frames: int = 64
) -> Iterator[FrameTokens]:
    """Normalised tokens of `chunk_frames` frames at a time (batch 1), as if the whole film were one segment.

    At most `chunk_frames` frames and a halo on both sides are held. Each chunk waits for the halo after it, since the
    backbone looks `model.halo_frames` frames ahead. `model.aggregate` of all class tokens together is the clip vector.
    """
    if model.config.summary_tokens:
        raise EncoderError("summary tokens depend on a whole segment, so they cannot be streamed")
    halo = model.halo_frames
    window: list[Tensor] = []
    first, given = 0, 0  # frame number of window[0]; how many frames have been given out
    for frame in frames:
        window.append(frame)
        if first + len(window) == given + chunk_frames + halo:
            yield _keep(model, window, first, given, given + chunk_frames)
            given += chunk_frames
            spent = max(0, given - halo - first)
            del window[:spent]
            first += spent
    stop = first + len(window)
    for start in range(given, stop, chunk_frames):
        yield _keep(model, window, first, start, min(start + chunk_frames, stop))


def _keep(model: XViT, window: list[Tensor], first: int, start: int, stop: int) -> FrameTokens:
    """Tokens of frames `start` to `stop`, computed with as much halo as the window (from frame `first`) contains."""
    begin = max(first, start - model.halo_frames)
    end = min(first + len(window), stop + model.halo_frames)
    clip = torch.stack(window[begin - first : end - first], dim=1).unsqueeze(0)
    tokens = model.segment_tokens(clip, first_frame=begin)
    return FrameTokens(*(kind[:, start - begin : stop - begin] for kind in tokens))
