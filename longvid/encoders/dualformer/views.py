"""The authors' test: the clips of a short video and their mean score."""

from jaxtyping import Float, Int
from torch import Tensor, arange


def view_frames(
    total_frames: int, *, frames: int = 32, interval: int = 2, clips: int = 4
) -> Int[Tensor, "clips frames"]:
    """Frame indices of `clips` clips spread evenly over a video of `total_frames` frames.

    A video shorter than one clip is looped from its first frame, in every clip in the same way.
    """
    if min(total_frames, frames, interval, clips) < 1:
        raise ValueError(f"{total_frames=}, {frames=}, {interval=}, {clips=}: all must be at least 1")
    span = frames * interval
    spacing = (total_frames - span + 1) / clips if total_frames >= span else 0.0
    starts = (arange(clips).double() * spacing + spacing / 2).floor().long()
    return (starts[:, None] + interval * arange(frames)) % total_frames


def mean_probabilities(logits: Float[Tensor, "views classes"], views_per_video: int) -> Float[Tensor, "videos classes"]:
    """Mean of the views' softmax probabilities; the views of one video are adjacent."""
    by_video: Tensor = logits.softmax(dim=-1).unflatten(0, (-1, views_per_video))
    return by_video.mean(dim=1)


def mean_features(clips: Float[Tensor, "views dim"], views_per_video: int) -> Float[Tensor, "videos dim"]:
    """Mean of the views' clip vectors; the views of one video are adjacent."""
    by_video: Tensor = clips.unflatten(0, (-1, views_per_video))
    return by_video.mean(dim=1)
