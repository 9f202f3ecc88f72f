"""What a decoder says along one video.

| `kind`    | for                           | a row is                                                 |
|-----------|-------------------------------|----------------------------------------------------------|
| `windows` | windows shorter than a video  | the answer to one window, over the seconds it spans      |
| `so far`  | windows that are whole videos | the answer to everything from the beginning to that time |
| `clips`   | dense tasks                   | the answer for one clip                                  |
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from longvid.data import Windows
from longvid.datasets import Task
from longvid.decoders import Decoder
from longvid.errors import DecoderError
from longvid.metrics import mean_by_item, probabilities

PREFIXES = 48
"""Rows of a `so far` timeline."""
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


@torch.inference_mode()
def timeline(
    decoder: Decoder,
    tokens: Float[Tensor, "clips tokens dim"],
    seconds: Float[np.ndarray, "clips 2"],
    *,
    task: Task,
    windows: Windows,
) -> Timeline:
    """What the decoder says along a video with these tokens and times, on the decoder's device.

    Raises `DecoderError` for a video too short for the decoder.
    """
    decoder = decoder.eval()
    if task.kind == "dense":
        return _clips(decoder, tokens, seconds, task, windows)
    ranges = windows.evaluated(len(seconds), seconds)
    whole = windows.whole or windows.segments is not None or len(ranges) == 1
    if whole:
        return _so_far(decoder, tokens, seconds, task, windows)
    scores = _scores(decoder, [tokens[first:stop] for first, stop in ranges], task)
    spans = np.stack([seconds[ranges[:, 0], 0], seconds[ranges[:, 1] - 1, 1]], axis=1)
    return Timeline("windows", spans, scores, scores.mean(axis=0))


def _so_far(decoder: Decoder, tokens: Tensor, seconds: np.ndarray, task: Task, windows: Windows) -> Timeline:
    num_clips = len(seconds)
    stops = np.unique(np.ceil(np.linspace(0, num_clips, PREFIXES + 1)[1:]).astype(int))
    parts = [_picked(tokens[:stop], windows) for stop in stops]
    enough = next(i for i in range(len(parts)) if i == len(parts) - 1 or _long_enough(decoder, parts[i]))
    scores = _scores(decoder, parts[enough:], task)
    ends = seconds[stops[enough:] - 1, 1]
    begins = np.concatenate([[seconds[0, 0]], ends[:-1]])
    return Timeline("so far", np.stack([begins, ends], axis=1), scores, scores[-1])


def _clips(decoder: Decoder, tokens: Tensor, seconds: np.ndarray, task: Task, windows: Windows) -> Timeline:
    """Mean over the windows that hold a clip of what each says about it."""
    ranges = windows.evaluated(len(seconds), seconds)
    answers, indices = [], []
    for first, stop in ranges.tolist():
        index = np.arange(first, stop)
        index = index[windows.picks(len(index), None)] if windows.segments else index
        logits = decoder(tokens[torch.from_numpy(index)].flatten(0, 1)[None])[0]
        answers.append(logits.unflatten(0, (len(index), -1)).mean(dim=1).float().cpu().numpy())
        indices.append(index)
    scores = probabilities(np.concatenate(answers), task.kind)
    by_clip = mean_by_item(scores, np.concatenate(indices), len(seconds))
    seen = ~np.isnan(by_clip).any(axis=1)
    return Timeline("clips", seconds[seen], by_clip[seen], by_clip[seen].mean(axis=0))


def _picked(tokens: Tensor, windows: Windows) -> Tensor:
    return tokens[torch.from_numpy(windows.picks(len(tokens), None))] if windows.segments else tokens


def _long_enough(decoder: Decoder, tokens: Tensor) -> bool:
    try:
        decoder(tokens.flatten(0, 1)[None])
    except DecoderError:
        return False
    return True


def _scores(decoder: Decoder, parts: list[Tensor], task: Task) -> np.ndarray:
    """Scores (parts, outputs) of sequences of clips, in padded batches."""
    return np.concatenate(
        [probabilities(decoder(x, lengths).float().cpu().numpy(), task.kind) for x, lengths in _batches(parts)]
    )


def _batches(parts: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    longest = max(part.shape[0] * part.shape[1] for part in parts)
    step = max(1, _BATCH_TOKENS // longest)
    for first in range(0, len(parts), step):
        flat = [part.flatten(0, 1) for part in parts[first : first + step]]
        lengths = torch.tensor([len(x) for x in flat], device=flat[0].device)
        yield torch.nn.utils.rnn.pad_sequence(flat, batch_first=True), lengths
