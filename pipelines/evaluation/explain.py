"""Which seconds of a video carried a run's answer.

    found = explain("runs/order", "holiday.mp4")
    for stretch in found.stretches():
        print(stretch.start_seconds, stretch.end_seconds, stretch.share)

Two measures, each a number per clip, positive where the clip speaks for the answer. They measure the evidence for the
answer: the log-odds of a class against all others, the logit of a label, or a value.

* Occlusion: by how much the evidence falls where some clips are replaced by the video's mean clip. Every stretch of
  `width` clips is replaced once; a clip gets the mean over the stretches that hold it.
* Gradient x input: the gradient of the evidence times the clip's difference from the mean clip, summed over its
  numbers. The gradient is the mean over eight points of the straight way from the mean clip to the input (integrated
  gradients, Sundararajan et al. 2017): at the input alone it is noise where the answer is certain.

Both are means over the run's seeds, and over the windows that hold a clip. They say what this decoder used, not what is
true of the video.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from longvid.decoders import Decoder
from longvid.decoders.own import Builder
from longvid.errors import ConfigError
from longvid.hub import local_run
from longvid.metrics.items import probabilities
from longvid.pipelines.evaluation.evaluate import open_run_store, trained_decoder
from longvid.pipelines.evaluation.predict import VIDEO, Names, Options, extracted, given_encoders
from longvid.pipelines.extraction.coordinating import Progress
from longvid.pipelines.training.run_folder import RunFolder, RunRecord, torch_device
from longvid.tasks import ManifestRow, Task
from longvid.trained import GivenDecoder
from longvid.windows import WindowDataset
from longvid.windows.dataset import Features, WindowItem

WIDTH_SHARE = 0.03
"""Default width of what is occluded, in parts of the video."""
STEPS = 8
"""Points at which the gradient is taken."""
BATCH_TOKENS = 100_000
"""Tokens that the decoder sees at once."""

Method = Literal["occlusion", "gradient"]


@dataclass(frozen=True)
class Stretch:
    """Neighbouring clips that carried the answer."""

    start_seconds: float
    end_seconds: float
    share: float
    """Its part of all evidence for the answer, 0 to 1."""


@dataclass(frozen=True)
class Explanation:
    """The evidence for one answer along one video."""

    video: str
    run: str
    task: Task
    output: str
    """The class, label or value that is explained."""
    score: float
    """Its score for the video: a probability, or a value in the units of training."""
    seconds: Float[np.ndarray, "clips 2"]
    occlusion: Float[np.ndarray, " clips"]
    gradient: Float[np.ndarray, " clips"]
    width: int
    """Clips that were occluded at once."""
    seeds: tuple[int, ...]
    path: str | None = None
    """The video's file, where it is known."""

    def stretches(self, method: Method = "occlusion", *, most: int = 5) -> list[Stretch]:
        """The stretches of the top decile of the clips, in the order of their shares."""
        values = np.maximum(getattr(self, method), 0)
        all_of_it = float(values.sum()) or 1.0
        found: list[Stretch] = []
        for first, stop in _neighbours(top_decile(values)):
            share = float(values[first:stop].sum()) / all_of_it
            found.append(Stretch(float(self.seconds[first, 0]), float(self.seconds[stop - 1, 1]), share))
        return sorted(found, key=lambda one: -one.share)[:most]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: a row per clip."""
        rows = zip(self.seconds.tolist(), self.occlusion.tolist(), self.gradient.tolist(), strict=True)
        return {
            "video": self.video,
            "run": self.run,
            "task": self.task.name,
            "output": self.output,
            "score": self.score,
            "width_clips": self.width,
            "seeds": list(self.seeds),
            "clips": [
                {"start_seconds": start, "end_seconds": end, "occlusion": occlusion, "gradient": gradient}
                for (start, end), occlusion, gradient in rows
            ],
            "stretches": {
                method: [vars(one) for one in self.stretches(method)] for method in ("occlusion", "gradient")
            },
        }


def top_decile(values: Float[np.ndarray, " clips"]) -> Int[np.ndarray, " top"]:
    """Indices, rising, of the tenth of the clips (at least one) with the highest values."""
    count = max(1, round(len(values) / 10))
    return np.sort(np.argsort(-values, kind="stable")[:count])


def _neighbours(indices: Int[np.ndarray, " top"]) -> Iterator[tuple[int, int]]:
    """The half-open runs of consecutive indices."""
    for part in np.split(indices, np.flatnonzero(np.diff(indices) > 1) + 1):
        yield int(part[0]), int(part[-1]) + 1


def explain(
    run_dir: str | Path,
    video: str | Path,
    *,
    output: str | None = None,
    width: int | None = None,
    store: str | list[str] | None = None,
    encoder: Names = None,
    encoder_options: Options = None,
    weights: Names = None,
    decoder: str | Builder | None = None,
    decoder_options: dict[str, Any] | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Explanation:
    """Why a run answers as it does for a video: a file, or the key of a video of the run's store.

    `output`: the class, label or value to explain; None: the run's answer. `width`: clips occluded at once; None: 3 %
    of the video. `store`: as for `evaluate`; the other arguments as for `predict`. Raises `ConfigError` for a dense
    task, whose answer lies along the video already, and the errors of `predict`.
    """
    run = RunFolder(local_run(run_dir))
    record, seeds = run.record(), run.trained_seeds()
    task = record.the_task()
    if task.kind == "dense":
        raise ConfigError(f"{run.path}: task {task.name!r} answers for each clip: `longvid predict` shows its answers")
    if not seeds:
        raise ConfigError(f"{run.path}: no seed is trained to the end; run the same `longvid train` again")
    if output is not None and output not in task.output_names:
        raise ConfigError(f"{output!r} is not an output of task {task.name!r}: {', '.join(task.output_names)}")
    if width is not None and width < 1:
        raise ConfigError(f"width={width}: at least one clip is occluded at once")
    on = torch_device(device)
    own = GivenDecoder(decoder, decoder_options)
    decoders = [trained_decoder(run, record, seed, given=own).to(on) for seed in seeds]
    given = given_encoders(record, encoder, encoder_options, weights)
    source = _stored(record, str(video), store) if not Path(video).is_file() else None
    with source or _new(extracted(run, record, video, given, device=on, progress=progress)) as (features, key):
        data = WindowDataset(features, [ManifestRow(key)], record.the_windows(), fewest_clips=record.fewest_clips)
        if not len(data):
            raise ConfigError(f"{video}: shorter than the {record.fewest_clips} clips that the decoder needs")
        first, stop = data.span(0)
        wide = width or max(1, round(WIDTH_SHARE * (stop - first)))
        scores = np.mean([_scores(one, data, task, on) for one in decoders], axis=0)
        at = task.output_names.index(output) if output is not None else int(scores.argmax())
        found = np.mean([_along(one, data, task, at, wide, on) for one in decoders], axis=0)
        seconds = np.array(data.seconds(0)[first:stop])
    path = str(video) if key == VIDEO and source is None else _path_of(run, key)
    return Explanation(
        str(video), str(run.path), task, task.output_names[at], float(scores[at]), seconds, found[0], found[1], wide,
        tuple(seeds), path,
    )  # fmt: skip


@contextmanager
def _stored(record: RunRecord, key: str, store: str | list[str] | None) -> Iterator[tuple[Features, str]]:
    """The run's own features of a video. Raises `ConfigError` where the store has no such video."""
    features = open_run_store(record, store)
    if key not in features.keys():  # noqa: SIM118 -- a store answers for complete videos, several stores for all
        raise ConfigError(
            f"{key}: neither a file nor a video of {features.location}; `longvid info --videos` lists its videos"
        )
    yield features, key


@contextmanager
def _new(made: Any) -> Iterator[tuple[Features, str]]:
    with made as (_, features):
        yield features, VIDEO


def _path_of(run: RunFolder, key: str) -> str | None:
    return next((row.path for row in run.manifest() if row.key == key), None)


def _items(data: WindowDataset) -> Iterator[tuple[WindowItem, Int[np.ndarray, " seen"]]]:
    """Every window, and the clips of the video that its tokens are of, counted from the first that counts."""
    start, _ = data.span(0)
    for index in range(len(data)):
        item = data[index]
        count = item.stop_clip - item.first_clip
        picks = data.windows.picks(count, None) if data.windows.segments else np.arange(count)
        yield item, item.first_clip - start + picks


@torch.no_grad()
def _scores(decoder: Decoder, data: WindowDataset, task: Task, device: torch.device) -> np.ndarray:
    """The decoder's scores for the video: the mean over its windows."""
    logits = [decoder(item.tokens[None].to(device).float())[0].float().cpu().numpy() for item, _ in _items(data)]
    mean: np.ndarray = probabilities(np.stack(logits), task.kind).mean(axis=0)
    return mean


def _along(
    decoder: Decoder, data: WindowDataset, task: Task, output: int, width: int, device: torch.device
) -> Float[np.ndarray, "2 clips"]:
    """Occlusion and gradient x input of one decoder, per clip."""
    first, stop = data.span(0)
    sums, counts = np.zeros((2, stop - first)), np.zeros(stop - first)
    for item, clips in _items(data):
        tokens = item.tokens.to(device).float()
        rows = tokens.reshape(-1, data.store.recipe.num_tokens, tokens.shape[-1])  # clips that were added come last
        there = rows[: len(clips)]
        blank = there.mean(dim=0, keepdim=True)
        values = np.stack(
            [
                _occluded(decoder, rows, blank, len(clips), width, task, output),
                _gradient(decoder, rows, blank, len(clips), task, output),
            ]
        )
        np.add.at(sums.T, clips, values.T)
        np.add.at(counts, clips, 1)
    return sums / np.maximum(counts, 1)


def evidence(logits: Float[Tensor, "batch outputs"], task: Task, output: int) -> Float[Tensor, " batch"]:
    """The log-odds of a class against all others; for other tasks the output itself."""
    if task.kind != "classification" or logits.shape[1] == 1:
        return logits[:, output]
    others = torch.cat([logits[:, :output], logits[:, output + 1 :]], dim=1)
    return logits[:, output] - others.logsumexp(dim=1)


@torch.no_grad()
def _occluded(
    decoder: Decoder, rows: Tensor, blank: Tensor, num_clips: int, width: int, task: Task, output: int
) -> Float[np.ndarray, " clips"]:
    width = min(width, num_clips)
    starts = torch.arange(num_clips - width + 1, device=rows.device)
    whole = evidence(decoder(rows.flatten(0, 1)[None]), task, output)[0]
    falls = []
    for some in starts.split(max(1, BATCH_TOKENS // (rows.shape[0] * rows.shape[1]))):
        parts = rows.repeat(len(some), 1, 1, 1)
        places = torch.arange(rows.shape[0], device=rows.device)
        hidden = (places >= some[:, None]) & (places < some[:, None] + width)
        parts[hidden] = blank[0]
        falls.append(whole - evidence(decoder(parts.flatten(1, 2)), task, output))
    fall = torch.cat(falls).double().cpu().numpy()
    # each clip's mean over the stretches that hold it
    spread = np.convolve(fall, np.ones(width))
    return spread / np.convolve(np.ones(len(fall)), np.ones(width))


def _gradient(
    decoder: Decoder, rows: Tensor, blank: Tensor, num_clips: int, task: Task, output: int
) -> Float[np.ndarray, " clips"]:
    # the middles of equal parts of the straight way from the mean clip to the input
    total = torch.zeros_like(rows)
    for step in range(STEPS):
        given = (blank + (rows - blank) * ((step + 0.5) / STEPS)).requires_grad_(True)
        # cuDNN refuses the gradient of a recurrent layer in evaluation mode
        with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
            (slope,) = torch.autograd.grad(evidence(decoder(given.flatten(0, 1)[None]), task, output).sum(), given)
        total += slope / STEPS
    products = (total * (rows - blank)).sum(dim=(1, 2))[:num_clips]
    return products.detach().double().cpu().numpy()
