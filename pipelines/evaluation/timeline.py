"""A decoder's scores along one video.

| `kind`    | for                           | a row is                                             |
|-----------|-------------------------------|------------------------------------------------------|
| `windows` | windows shorter than a video  | the answer for one window, over its seconds          |
| `so far`  | windows that are whole videos | the answer for the video from its start to that time |
| `clips`   | dense tasks                   | the answer for one clip                              |

Windows and clips are those that the data set was scored on. Scores so far come from one pass if the decoder streams
(`longvid.decoders.streams`), else from ever longer parts from the video's start.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from longvid.decoders import Decoder
from longvid.decoders.streams import Stream, open_stream
from longvid.errors import DecoderError
from longvid.metrics.items import probabilities
from longvid.pipelines.training.scoring import Answers
from longvid.windows import WindowDataset, Windows

MOST_ROWS = 48
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


def timeline(decoder: Decoder, answers: Answers, data: WindowDataset, video: int = 0) -> Timeline:
    """The scores along one row of the data set, from the decoder and its `answers` to that data set.

    Raises `DecoderError` for a video that is too short for the decoder.
    """
    if answers.kind == "dense":
        along = answers.along[video]
        return Timeline("clips", along.seconds, along.scores, along.scores.mean(axis=0))
    own = answers.window_videos == video
    ranges, scores = answers.window_clips[own], answers.windows[own]
    if data.windows.segments or len(ranges) == 1:
        return so_far(decoder, data, video, kind=answers.kind)
    seconds = data.seconds(video)
    spans = np.stack([seconds[ranges[:, 0], 0], seconds[ranges[:, 1] - 1, 1]], axis=1)
    return Timeline("windows", spans, scores, scores.mean(axis=0))


@torch.inference_mode()
def so_far(decoder: Decoder, data: WindowDataset, video: int, *, kind: str) -> Timeline:
    """Answers for the video from its start to ever later times, from the first that the decoder accepts."""
    decoder = decoder.eval()
    first, last = data.span(video)
    stops = first + np.unique(np.ceil(np.linspace(0, last - first, MOST_ROWS + 1)[1:]).astype(int))
    stream = _stream(decoder, data.windows)
    if stream is not None:
        logits = list(_streamed(stream, decoder, data, video, [first, *stops.tolist()]))
    else:
        logits = list(from_prefixes(decoder, data, video, stops.tolist()))
    if not logits:  # raises the decoder's error for a video that is too short
        decoder(_tokens(decoder, data, video, first, last).flatten(0, 1)[None])
    scores = probabilities(torch.stack(logits).float().cpu().numpy(), kind)
    ends = data.seconds(video)[stops[-len(logits) :] - 1, 1]
    starts = np.concatenate([data.seconds(video)[first : first + 1, 0], ends[:-1]])
    return Timeline("so far", np.stack([starts, ends], axis=1), scores, scores[-1])


def _stream(decoder: Decoder, windows: Windows) -> Stream | None:
    """The decoder's stream, or None; only if the decoder sees the clips as they are, not picked or padded."""
    if windows.segments or windows.short == "padded":
        return None
    try:
        return open_stream(decoder)
    except DecoderError:
        return None


def _streamed(
    stream: Stream, decoder: Decoder, data: WindowDataset, video: int, edges: list[int]
) -> Iterator[Float[Tensor, " outputs"]]:
    """Logits after each part of the video, once there are any; parts are read one by one."""
    for first, stop in pairwise(edges):
        logits = stream.push(_tokens(decoder, data, video, first, stop).flatten(0, 1)[None])
        if logits is not None:
            yield logits[0]


def from_prefixes(
    decoder: Decoder, data: WindowDataset, video: int, stops: list[int]
) -> Iterator[Float[Tensor, " outputs"]]:
    """Logits of the clips before each stop, from the shortest part that the decoder accepts.

    Sequences go through the decoder in padded batches of a bounded number of tokens.
    """
    first, last = data.span(video)
    tokens = _tokens(decoder, data, video, first, last)
    parts = [_seen(tokens[: stop - first], data.windows).flatten(0, 1) for stop in stops]
    enough = next((i for i in range(len(parts) - 1) if _long_enough(decoder, parts[i])), len(parts) - 1)
    waiting: list[Tensor] = []
    for part in parts[enough:]:
        if waiting and (len(waiting) + 1) * max(len(part), *map(len, waiting)) > _BATCH_TOKENS:
            yield from _logits(decoder, waiting)
            waiting = []
        waiting.append(part)
    yield from _logits(decoder, waiting)


def _tokens(
    decoder: Decoder, data: WindowDataset, video: int, first: int, stop: int
) -> Float[Tensor, "clips tokens dim"]:
    """Stored clips, as float32 on the decoder's device."""
    device = next(decoder.parameters()).device
    return torch.from_numpy(data.video(video).read(first, stop)).to(device).float()


def _seen(clips: Float[Tensor, "clips tokens dim"], windows: Windows) -> Float[Tensor, "seen tokens dim"]:
    """What the decoder sees of a window: the segments picked from it, or its clips, padded with zeros."""
    if windows.segments:
        return clips[windows.picks(len(clips), None)]
    lacking = windows.lacking(len(clips))
    return torch.cat([clips, clips.new_zeros(lacking, *clips.shape[1:])]) if lacking else clips


def _long_enough(decoder: Decoder, tokens: Float[Tensor, "length dim"]) -> bool:
    try:
        decoder(tokens[None])
    except DecoderError:
        return False
    return True


def _logits(decoder: Decoder, sequences: list[Tensor]) -> Float[Tensor, "sequences outputs"]:
    lengths = torch.tensor([len(tokens) for tokens in sequences], device=sequences[0].device)
    logits: Tensor = decoder(torch.nn.utils.rnn.pad_sequence(sequences, batch_first=True), lengths)
    return logits
