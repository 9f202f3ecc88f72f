"""A decoder's scores along one video.

| `kind`    | for                           | a row is                                                |
|-----------|-------------------------------|---------------------------------------------------------|
| `windows` | windows shorter than a video  | the answer for one window, over the seconds that it spans |
| `so far`  | windows that are whole videos | the answer for the video from its start to that time    |
| `clips`   | dense tasks                   | the answer for one clip                                 |
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from longvid.decoders import Decoder
from longvid.errors import DecoderError
from longvid.metrics.items import mean_by_item, probabilities
from longvid.tasks import Task
from longvid.windows import Windows

PREFIXES = 48
"""Most rows of a `so far` timeline."""
_BATCH_TOKENS = 200_000


@dataclass(frozen=True)
class Timeline:
    """Scores of each row, over time; `total` is the answer for the whole video (mean over clips for dense tasks)."""

    kind: str
    seconds: Float[np.ndarray, "rows 2"]
    scores: Float[np.ndarray, "rows outputs"]
    total: Float[np.ndarray, " outputs"]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; scores with four digits."""
        return {
            "kind": self.kind,
            "seconds": self.seconds.round(3).tolist(),
            "scores": self.scores.round(4).tolist(),
            "total": self.total.round(4).tolist(),
        }


ReadClips = Callable[[int, int], Float[Tensor, "clips tokens dim"]]
"""Tokens of the clips [first, stop), on the decoder's device."""


@torch.inference_mode()
def timeline(
    decoder: Decoder, read: ReadClips, seconds: Float[np.ndarray, "clips 2"], *, task: Task, windows: Windows
) -> Timeline:
    """The decoder's scores along a video whose clips have these times.

    Windows are read a few at a time, so a video may be larger than memory unless the window is the whole video.
    Raises `DecoderError` for a video that is too short for the decoder.
    """
    decoder = decoder.eval()
    ranges = windows.evaluated(len(seconds), seconds)
    if task.kind == "dense":
        return _clips(decoder, read, seconds, task, windows, ranges)
    if windows.segments or len(ranges) == 1:
        return _so_far(decoder, read(0, len(seconds)), seconds, task, windows)
    scores = _scores(decoder, (_seen(read(first, stop), windows) for first, stop in ranges.tolist()), task)
    spans = np.stack([seconds[ranges[:, 0], 0], seconds[ranges[:, 1] - 1, 1]], axis=1)
    return Timeline("windows", spans, scores, scores.mean(axis=0))


def _so_far(
    decoder: Decoder, tokens: Float[Tensor, "clips tokens dim"], seconds: np.ndarray, task: Task, windows: Windows
) -> Timeline:
    """Answers for ever longer parts from the video's start, from the shortest that the decoder accepts."""
    stops = np.unique(np.ceil(np.linspace(0, len(seconds), PREFIXES + 1)[1:]).astype(int)).tolist()
    parts = [_seen(tokens[:stop], windows) for stop in stops]
    enough = next((i for i in range(len(parts) - 1) if _long_enough(decoder, parts[i])), len(parts) - 1)
    scores = _scores(decoder, parts[enough:], task)
    ends = seconds[np.array(stops[enough:]) - 1, 1]
    begins = np.concatenate([seconds[:1, 0], ends[:-1]])
    return Timeline("so far", np.stack([begins, ends], axis=1), scores, scores[-1])


def _clips(
    decoder: Decoder, read: ReadClips, seconds: np.ndarray, task: Task, windows: Windows, ranges: np.ndarray
) -> Timeline:
    """Scores of each clip, averaged over the windows that contain it."""
    answers, indices = [], []
    for first, stop in ranges.tolist():
        index = windows.picks(stop - first, None) if windows.segments else np.arange(stop - first)
        logits = decoder(read(first, stop)[index].flatten(0, 1)[None])[0]
        answers.append(logits.unflatten(0, (len(index), -1)).mean(dim=1).float().cpu().numpy())
        indices.append(first + index)
    scores = probabilities(np.concatenate(answers), task.kind)
    by_clip = mean_by_item(scores, np.concatenate(indices), len(seconds))
    seen = ~np.isnan(by_clip).any(axis=1)
    return Timeline("clips", seconds[seen], by_clip[seen], by_clip[seen].mean(axis=0))


def _seen(clips: Float[Tensor, "clips tokens dim"], windows: Windows) -> Float[Tensor, "seen tokens dim"]:
    """What the decoder sees of a window: the segments picked from it, or its clips, padded with zeros."""
    if windows.segments:
        return clips[windows.picks(len(clips), None)]
    lacking = windows.lacking(len(clips))
    return torch.cat([clips, clips.new_zeros(lacking, *clips.shape[1:])]) if lacking else clips


def _long_enough(decoder: Decoder, clips: Float[Tensor, "clips tokens dim"]) -> bool:
    try:
        decoder(clips.flatten(0, 1)[None])
    except DecoderError:
        return False
    return True


def _scores(decoder: Decoder, parts: Iterable[Tensor], task: Task) -> Float[np.ndarray, "parts outputs"]:
    """Scores of sequences of clips, in padded batches of a bounded number of tokens."""
    logits: list[np.ndarray] = []
    waiting: list[Tensor] = []
    for part in parts:
        flat = part.flatten(0, 1)
        if waiting and (len(waiting) + 1) * max(len(flat), *map(len, waiting)) > _BATCH_TOKENS:
            logits.append(_logits(decoder, waiting))
            waiting = []
        waiting.append(flat)
    logits.append(_logits(decoder, waiting))
    return probabilities(np.concatenate(logits), task.kind)


def _logits(decoder: Decoder, sequences: list[Tensor]) -> np.ndarray:
    lengths = torch.tensor([len(tokens) for tokens in sequences], device=sequences[0].device)
    batch = torch.nn.utils.rnn.pad_sequence(sequences, batch_first=True)
    return decoder(batch, lengths).float().cpu().numpy()
