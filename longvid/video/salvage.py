"""The sound clips of a damaged video, and why the others are lost.

Damage is shown by the container (`VideoProbe.damage`), which is known before anything is decoded, or by the decoder
when it comes to it. A frame that the decoder cannot give spoils all up to the next keyframe, as it would in one pass.
"""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Int64

from longvid.clips.preprocessing import Preprocessing
from longvid.clips.sampling import ClipPlan, frames_on_screen
from longvid.errors import DamagedVideo
from longvid.video.metadata import VideoProbe
from longvid.video.reader import Clip, decoded_frames, refuse_truncated, touching
from longvid.video.scaling import Frame

Decode = Callable[[Int64[np.ndarray, "frames"]], Iterator[tuple[int, Frame]]]
"""The frames at these display positions, each with its position; DamagedVideo at the first that cannot be had."""


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
    held: dict[int, Frame | str] = {}
    at = -1
    for number, clip in enumerate(indices):
        if number in reasons:
            yield reasons[number]
            continue
        held = {index: frame for index, frame in held.items() if index >= int(clip[0])}
        while at < int(clip[-1]):
            at, frame = next(frames)
            held[at] = frame if isinstance(frame, str) else frame[rows, columns]
        parts = [held[index] for index in clip.tolist()]
        lost = next((part for part in parts if isinstance(part, str)), None)
        yield lost if lost is not None else np.stack(parts)


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
