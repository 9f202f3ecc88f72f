"""Views of multi-view testing: frames, crops, joining of scores.

A view is one clip at one crop. Every rule counts as one group of authors' code does, with its rounding:

    centred    DualFormer: starts floor(i a + a / 2), a = (frames of the video - span + 1) / clips; short videos loop
    starts     X-ViT on Kinetics: starts (frames - span) i / clips; positions evenly over the span, rounded down
    segments   X-ViT on SSv2: parts with borders round((frames - 1) i / T); view 0 their middle, 1 start, 2 end
    spread     UMT, InternVideo2: view k of m at round(part i) + int(part (k + 1) / (m + 1)) in part i
    seconds    longvid: in measured seconds, clips centred in equal parts of the video
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from longvid.clips.preprocessing import Preprocessing
from longvid.clips.sampling import Sampling
from longvid.encoders.dualformer.views import view_frames
from longvid.errors import ConfigError
from longvid.recognition.frame_rules import within
from longvid.recognition.training_sampling import DrawnClip, clip_from, counted_clip, listed_part
from longvid.validation import Count, Positive, settings
from longvid.video.frames import frames_on_screen
from longvid.video.metadata import VideoProbe
from longvid.video.reader import decoded_frames, require_readable

ViewRule = Literal["centred", "starts", "segments", "spread", "seconds"]
Join = Literal["sum-logits", "mean-logits", "mean-softmax"]
Crops = Literal[1, 3]
Offset = tuple[int, int]
"""Top and left of a crop in the resized frame."""


@settings(ConfigError)
class Views:
    """The views of a video and the joining of their scores."""

    frames: Count = 16
    rule: ViewRule = "seconds"
    clips: Count = 1
    """Clips along the video."""
    crops: Crops = 1
    """1: the centre; 3: both ends of the longer side and the centre."""
    join: Join = "mean-softmax"
    """How the views' scores become those of the video: one rule per group of authors."""
    step: Count = 1
    """Frames of the file from one frame of a clip to the next, for `centred` and `starts`."""
    fps: Positive | None = None
    """Frames per second, for `seconds`."""
    rounding: Literal["down", "up"] = "down"
    """Rounding of the centre crop's offset, where the rest is odd: down as mmaction2, up as X-ViT. X-ViT's resizing
    rounds the longer side down, mmaction2 to the nearest; three crops of mmaction2 end at twice the centre's offset."""
    resize: Literal["reader", "linear", "linear-rounded"] = "reader"
    """`reader`: as longvid decodes, filtered over the area of the source. `linear`: from the full picture by the four
    nearest pixels, as X-ViT; `linear-rounded`: the same, rounded to whole levels, as mmaction2."""

    def __post_init__(self) -> None:
        if (self.rule == "seconds") != (self.fps is not None):
            raise ConfigError(f"rule={self.rule!r} with fps={self.fps}: fps belongs to rule='seconds', and only there")
        if self.rule == "segments" and self.clips > 3:
            raise ConfigError(f"clips={self.clips}: a segment has a middle, a start and an end; use up to 3")
        if self.step > 1 and self.rule not in ("centred", "starts"):
            raise ConfigError(f"step={self.step}: rule={self.rule!r} has no step; leave it out")

    @property
    def views(self) -> int:
        """Scored clips of each video."""
        return self.clips * self.crops

    @property
    def written(self) -> str:
        """`4 x 3`: clips x crops."""
        return f"{self.clips} x {self.crops}"

    @classmethod
    def of(cls, sampling: Sampling, *, clips: int = 1, crops: Crops = 1) -> "Views":
        """Views in seconds of an encoder that was trained on clips of this sampling."""
        if sampling.fps is None:
            return cls(frames=sampling.frames, rule="centred", clips=clips, crops=crops)
        return cls(frames=sampling.frames, fps=sampling.fps, clips=clips, crops=crops)


def clip_positions(views: Views, total: int) -> Int64[np.ndarray, "clips frames"]:
    """Positions of each clip's frames in a video of `total` frames, for the rules that count frames."""
    match views.rule:
        case "centred":
            return view_frames(total, frames=views.frames, interval=views.step, clips=views.clips).numpy()
        case "starts":
            return _from_starts(total, views.frames, views.frames * views.step, views.clips)
        case "segments":
            return _in_segments(total, views.frames, views.clips)
        case "spread":
            return _spread(total, views.frames, views.clips)
    raise ConfigError("rule='seconds' measures time and counts no frames")


def _from_starts(total: int, frames: int, span: int, clips: int) -> Int64[np.ndarray, "clips frames"]:
    starts = max(total - span, 0) * np.arange(clips) / clips
    positions = np.stack([np.linspace(start, start + span - 1, frames) for start in starts])
    return within(np.minimum(positions, total - 1).astype(np.int64), total, "repeat")


def _in_segments(total: int, frames: int, clips: int) -> Int64[np.ndarray, "clips frames"]:
    borders = np.round((total - 1) * np.arange(frames + 1) / frames).astype(np.int64)
    starts, ends = borders[:-1], borders[1:]
    return np.stack([(starts + ends) // 2, starts, ends][:clips])


def _spread(total: int, frames: int, clips: int) -> Int64[np.ndarray, "clips frames"]:
    part = (total - 1) / frames
    starts = np.round(part * np.arange(frames)).astype(np.int64)
    return np.stack([np.minimum(starts + int(part * (k + 1) / (clips + 1)), total - 1) for k in range(clips)])


def view_clips(
    views: Views, video: VideoProbe, listed: tuple[float | None, float | None] = (None, None)
) -> list[DrawnClip]:
    """The clips of a probed video, of the part that its manifest lists."""
    begin, end, frame_seconds = listed_part(video, listed)
    if views.fps is None:
        return [counted_clip(frame_seconds, end, clip) for clip in clip_positions(views, len(frame_seconds))]
    span = views.frames / views.fps
    free = max(end - begin - span, 0.0) / views.clips
    starts = begin + free * (np.arange(views.clips) + 0.5)
    return [clip_from(float(start), views.frames, 1 / views.fps, begin, end) for start in starts]


def resized_size(views: Views, side: int, height: int, width: int) -> tuple[int, int]:
    """Rows and columns after the shorter side has become `side`."""
    short, long = min(height, width), max(height, width)
    longer = int(np.floor(long / short * side)) if views.rounding == "up" else int(long * (side / short) + 0.5)
    return (side, max(longer, side)) if height <= width else (max(longer, side), side)


def crop_offsets(views: Views, size: tuple[int, int], crop: tuple[int, int]) -> list[Offset]:
    """Where each crop starts: the one in the centre, or start, centre and end along the longer side."""
    spare = [length - wanted for length, wanted in zip(size, crop, strict=True)]
    halves = [-(-rest // 2) if views.rounding == "up" else rest // 2 for rest in spare]
    top, left = halves
    if views.crops == 1:
        return [(top, left)]
    along = 0 if size[0] > size[1] else 1
    end = spare[along] if views.rounding == "up" else 2 * halves[along]
    places = (0, halves[along], end)
    return [(place, left) if along == 0 else (top, place) for place in places]


def video_views(
    views: Views,
    preprocessing: Preprocessing,
    video: VideoProbe,
    listed: tuple[float | None, float | None] = (None, None),
    *,
    backend: str = "auto",
    allow_truncated: bool = False,
) -> tuple[Float[Tensor, "views 3 time height width"], list[DrawnClip]]:
    """The views of a video, normalised: clip by clip, each with its crops; every frame is decoded once.

    Raises VideoError, as `longvid.clips.iter_clips` does, where a frame cannot be had.
    """
    clips = view_clips(views, video, listed)
    instants = np.stack([clip.frame_seconds for clip in clips])
    require_readable(video, np.sort(instants, axis=None), allow_truncated)
    indices = frames_on_screen(video.measured.frame_seconds, instants)
    if preprocessing.resize == "squash" and views.crops == 1 and views.resize == "reader":
        rows, columns = preprocessing.resized(video.height, video.width)
        offsets = [(preprocessing.crop(rows, columns)[0].start, preprocessing.crop(rows, columns)[1].start)]
    else:
        side = preprocessing.short_side or max(preprocessing.height, preprocessing.width)
        if views.resize == "reader" and views.crops == 1:
            rows, columns = preprocessing.resized(video.height, video.width)
        else:
            rows, columns = resized_size(views, side, video.height, video.width)
        offsets = crop_offsets(views, (rows, columns), (preprocessing.height, preprocessing.width))
    size = (rows, columns) if views.resize == "reader" else (video.height, video.width)
    decoded = dict(decoded_frames(video, indices.reshape(-1), *size, preprocessing.interpolation, backend, 1))
    numbers, inverse = np.unique(indices, return_inverse=True)
    pixels = torch.from_numpy(np.stack([decoded[number] for number in numbers.tolist()]))
    frames = _prepared(pixels, views, preprocessing, (rows, columns))
    made = []
    for clip in inverse.reshape(indices.shape):
        for top, left in offsets:
            crop = frames[clip][..., top : top + preprocessing.height, left : left + preprocessing.width]
            made.append(crop.movedim(1, 0))
    return torch.stack(made), clips


def _prepared(
    pixels: UInt8[Tensor, "frames height width 3"],
    views: Views,
    preprocessing: Preprocessing,
    size: tuple[int, int],
) -> Float[Tensor, "frames 3 rows columns"]:
    """Frames of that size, normalised as the preprocessing says."""
    frames = pixels.movedim(-1, 1).float()
    if views.resize != "reader":
        frames = interpolate(frames, size, mode="bilinear", align_corners=False)
        frames = frames.round() if views.resize == "linear-rounded" else frames
    mean, std = (torch.tensor(values).mul(255).view(3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    return (frames - mean) / std


def sum_of_logits(logits: Float[Tensor, "views classes"]) -> Float[Tensor, " classes"]:
    """X-ViT: raw scores are added up."""
    return logits.sum(dim=0)


def mean_of_logits(logits: Float[Tensor, "views classes"]) -> Float[Tensor, " classes"]:
    """The mean of raw scores: the order of classes is that of their sum."""
    return logits.mean(dim=0)


def mean_of_softmax(logits: Float[Tensor, "views classes"]) -> Float[Tensor, " classes"]:
    """DualFormer and the VideoMAE family: the mean of the views' probabilities."""
    return logits.softmax(dim=-1).mean(dim=0)


JOINS: dict[str, Callable[[Tensor], Tensor]] = {
    "sum-logits": sum_of_logits,
    "mean-logits": mean_of_logits,
    "mean-softmax": mean_of_softmax,
}
"""Ways to join the scores of one video's views, (views, classes) to (classes)."""
