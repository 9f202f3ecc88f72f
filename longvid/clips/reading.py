"""Reading the clips of a video, in one pass and constant memory.

`iter_clips` refuses a damaged video. `iter_clips_there` gives its sound clips, and the reason in the place of each lost
one. Damage is shown by the container (`VideoProbe.damage`), which is known before anything is decoded, or by the
decoder when it comes to it. A frame that the decoder cannot give spoils all up to the next keyframe, as it would in one
pass.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import Int64, UInt8

from longvid.clips.preprocessing import Preprocessing
from longvid.clips.sampling import ClipPlan
from longvid.errors import DamagedVideo
from longvid.video.frames import Frame, frames_on_screen
from longvid.video.metadata import VideoProbe
from longvid.video.probing import probe
from longvid.video.reader import decoded_frames, refuse_truncated, require_readable, touching

Clip = UInt8[np.ndarray, "frames height width 3"]
Decode = Callable[[Int64[np.ndarray, "frames"]], Iterator[tuple[int, Frame]]]
"""The frames at these display positions, each with its position; DamagedVideo at the first that cannot be had."""
Part = TypeVar("Part")
"""A frame, or the reason why there is none."""
Joined = TypeVar("Joined")


def iter_clips(
    video: str | Path | VideoProbe,
    plan: ClipPlan,
    preprocessing: Preprocessing,
    *,
    backend: str = "auto",
    allow_truncated: bool = False,
    num_threads: int = 1,
) -> Iterator[Clip]:
    """The clips of a plan in order, uint8 (frames, height, width, 3), with the preprocessing's geometry applied.

    A frame that several clips share is decoded once and kept until the last of them is complete, so memory is that of
    the frames between the start and the end of one clip. Raises as `iter_frames` does.
    """
    video = video if isinstance(video, VideoProbe) else probe(video)
    require_readable(video, np.sort(plan.frame_seconds, axis=None), allow_truncated)
    if (np.diff(plan.frame_seconds, axis=1) < 0).any() or (np.diff(plan.frame_seconds[:, :1], axis=0) < 0).any():
        raise ValueError("plan: expected frames in order within each clip, and clips in the order of their starts")
    indices = frames_on_screen(video.measured.frame_seconds, plan.frame_seconds)
    height, width = preprocessing.resized(video.height, video.width)
    rows, columns = preprocessing.crop(height, width)
    wanted = indices.reshape(-1)
    frames = decoded_frames(video, wanted, height, width, preprocessing.interpolation, backend, num_threads)
    return _gathered(indices, ((index, frame[rows, columns]) for index, frame in frames), np.stack)


def damaged_clips(video: VideoProbe, plan: ClipPlan) -> dict[int, str]:
    """Why a clip of the plan cannot be had, by its number, as far as the container shows it."""
    reasons: dict[int, str] = {}
    for damage, touches in zip(video.damage, touching(video, plan.frame_seconds), strict=True):
        for clip in np.flatnonzero(touches.any(axis=1)).tolist():
            reasons.setdefault(clip, str(damage))
    return reasons


def iter_clips_there(
    video: VideoProbe,
    plan: ClipPlan,
    preprocessing: Preprocessing,
    *,
    backend: str = "auto",
    allow_truncated: bool = False,
    num_threads: int = 1,
) -> Iterator[Clip | str]:
    """The clips of a plan in order, as `iter_clips` gives them; in the place of one that cannot be had, the reason.

    Raises as `iter_clips` does, but for damage.
    """
    refuse_truncated(video, allow_truncated)
    reasons = damaged_clips(video, plan)
    indices = frames_on_screen(video.measured.frame_seconds, plan.frame_seconds)
    height, width = preprocessing.resized(video.height, video.width)
    rows, columns = preprocessing.crop(height, width)
    shown = [clip for clip in range(len(plan)) if clip not in reasons]
    frames = _frames_or_reasons(
        video,
        np.unique(indices[shown]),
        lambda wanted: decoded_frames(video, wanted, height, width, preprocessing.interpolation, backend, num_threads),
    )
    cropped = ((i, frame if isinstance(frame, str) else frame[rows, columns]) for i, frame in frames)
    clips = _gathered(indices[shown], cropped, _clip_or_reason)
    for number in range(len(plan)):
        yield reasons[number] if number in reasons else next(clips)


def _clip_or_reason(parts: list[Frame | str]) -> Clip | str:
    """The clip of these frames, or the first reason why one of them is lost."""
    lost = next((part for part in parts if isinstance(part, str)), None)
    return np.stack(parts) if lost is None else lost


def _gathered(
    indices: Int64[np.ndarray, "clips frames"],
    frames: Iterator[tuple[int, Part]],
    join: Callable[[list[Part]], Joined],
) -> Iterator[Joined]:
    """Clips joined out of a stream of frames; a frame is dropped once no later clip starts at or before it."""
    held: dict[int, Part] = {}
    at = -1
    for clip in indices:
        first, last = int(clip[0]), int(clip[-1])
        held = {index: frame for index, frame in held.items() if index >= first}
        while at < last:
            at, frame = next(frames)
            held[at] = frame
        yield join([held[index] for index in clip.tolist()])


def _frames_or_reasons(
    video: VideoProbe, unique: Int64[np.ndarray, "frames"], decode: Decode
) -> Iterator[tuple[int, Frame | str]]:
    """Each frame with its display position; from one that cannot be decoded to the next keyframe, the reason."""
    keyframes = video.measured.keyframe_indices
    while len(unique):
        done = 0
        try:
            for index, frame in decode(unique):
                yield index, frame
                done += 1
            return
        except DamagedVideo as error:
            reason = str(error).removeprefix(f"{video.path}: ")
        first = int(unique[done])
        later = keyframes[np.searchsorted(keyframes, first, side="right") :]
        stop = int(later[0]) if len(later) else int(unique[-1]) + 1
        num_lost = int(np.searchsorted(unique, stop))
        yield from ((int(index), reason) for index in unique[done:num_lost])
        unique = unique[num_lost:]
