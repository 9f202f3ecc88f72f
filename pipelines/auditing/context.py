"""How long a benchmark is: scores of simple models against seconds.

A model of k clips sees stretches of k consecutive clips. Two readings, of the same trained model:

    whole video   the mean answer over stretches all along the video: nothing is hidden, but what lies further apart
                  than a stretch is never seen together
    one place     only the stretch at one place of every video (start, middle, ...), the best one by validation: the
                  rest of the video is not seen at all

Models: a linear one on pooled features, which is blind to order, and a small attentive probe with a time code. The
probe is also trained with its clips shuffled within each stretch, and the one that was trained in order is shown them
reversed. The task is as long as the longest stretch that is still worth something.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from longvid.decoders import build_decoder
from longvid.decoders.baseline import POOLINGS, fit_linear_baseline, pool_video
from longvid.errors import ConfigError
from longvid.metrics.intervals import Interval, difference_interval, interval
from longvid.metrics.items import METRICS, baseline_scores, mean_by_item, probabilities, score
from longvid.metrics.weighted import Scored, Weighted, weighted_metric
from longvid.pipelines.auditing.features import ClipFeatures
from longvid.pipelines.evaluation.uncertainty import PROPORTIONS, Strata
from longvid.pipelines.training.scoring import loss_of
from longvid.tasks import Task
from longvid.validation import Count, settings

PLACES = 9
"""Places along a video where a single stretch may be looked at."""
MOST_STRETCHES = 48
"""Stretches of a video that are scored, spread evenly."""
MOST_ROWS = 6_000
"""Stretches that a linear model is fitted on."""
STRENGTHS = (0.01, 1.0)
"""Inverse regularisation of the linear models, chosen by validation."""
WIDTH, LAYERS, HEADS = 64, 2, 8
REACHED = 0.95
"""Share of the whole video's score that counts as reached."""


@settings(ConfigError)
class ProbeSettings:
    """How the small attentive probe is trained."""

    steps: Count = 600
    batch_size: Count = 32
    check_every: Count = 50
    """Steps between two looks at the validation videos, whose best weights are kept."""
    learning_rate: float = 3e-3
    seed: int = 0


@dataclass(frozen=True)
class Score:
    """A score on the test videos."""

    value: float
    interval: Interval | None


@dataclass(frozen=True)
class ContextPoint:
    """Scores of models that see so many clips at once."""

    clips: int | None
    """None: the whole video."""
    seconds: float
    """Median over the videos."""
    linear: Score
    linear_one_place: Score
    probe: Score
    probe_one_place: Score
    shuffled: Score
    """The probe trained and tested with its clips in random order."""
    reversed: Score
    """The probe trained in order, tested with its clips reversed."""


@dataclass(frozen=True)
class Reach:
    """How much has to be seen for 95 % of what the whole video gives."""

    model: str
    reading: str
    seconds: float
    """On a logarithmic scale between the two lengths that were tried."""
    above_seconds: float
    """Not reached by this much."""
    at_most_seconds: float
    """Reached by this much."""


@dataclass(frozen=True)
class Context:
    """How long the benchmark is."""

    metric: str
    constant: float
    """The score of the constant answer that follows from the training labels."""
    points: tuple[ContextPoint, ...]
    """By length; the last is the whole video."""
    reaches: tuple[Reach, ...]
    """How far the better model on whole videos has to see; empty if it does not beat the constant answer."""
    pooled_beyond_constant: Interval | None
    """How much better than the constant answer the linear model of pooled whole videos is."""
    order: Interval | None
    """How much the probe of whole videos loses when clips are shuffled."""
    reversal: Interval | None
    """The same when they are reversed."""
    verdicts: tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """The videos of a split with their targets."""

    features: ClipFeatures
    targets: np.ndarray


def context_of(
    train: Part,
    val: Part,
    test: Part,
    task: Task,
    *,
    strata: Strata = None,
    probe: ProbeSettings,
    say: Callable[[str], Any] = lambda line: None,
) -> Context:
    """The scores for 1, 2, 4, ... clips and for whole videos. Raises `DecoderError` where training has one class."""
    name = task.metrics[0]
    lengths = sorted(len(clips) for part in (train, val, test) for clips in part.features.clips)
    median = lengths[len(lengths) // 2]
    counts: list[int | None] = [2**power for power in range(math.ceil(math.log2(max(2, median))))]
    blind = baseline_scores(task.kind, train.targets, len(test.targets), task.outputs)
    constant = _Answers(blind, test.targets)
    points, wholes = [], {}
    for count in [*counts, None]:
        seconds = _seconds(test.features, count)
        say(f"context of {seconds:.0f} s" if count else "whole videos")
        answers = _answers_at(count, train, val, test, task, probe)
        points.append(
            ContextPoint(count, seconds, **{kind: _scored(found, task, strata) for kind, found in answers.items()})
        )
        wholes = answers
    better = METRICS[name].higher_is_better

    def gain(one: "_Answers", other: "_Answers") -> Interval | None:
        """How much better the first is than the other."""
        pair = (other, one) if better else (one, other)
        forms = [[_form(name, answers)] for answers in pair]
        return difference_interval(*forms, num_videos=len(test.targets), strata=strata)

    found = Context(
        metric=name,
        constant=_value(constant, task),
        points=tuple(points),
        reaches=(),
        pooled_beyond_constant=gain(wholes["linear"], constant),
        order=gain(wholes["probe"], wholes["shuffled"]),
        reversal=gain(wholes["probe"], wholes["reversed"]),
        verdicts=(),
    )
    best = "probe" if _is_better(points[-1].probe.value, points[-1].linear.value, name) else "linear"
    above = gain(wholes[best], constant)
    reaches = _reaches(found, best) if above is not None and above.low > 0 else ()
    return Context(**{**vars(found), "reaches": reaches, "verdicts": tuple(_verdicts(found, reaches, best))})


@dataclass(frozen=True)
class _Answers:
    scores: Float[np.ndarray, "videos outputs"]
    targets: np.ndarray


def _answers_at(
    count: int | None, train: Part, val: Part, test: Part, task: Task, probe: ProbeSettings
) -> dict[str, _Answers]:
    cut = [[_stretches(len(clips), count) for clips in part.features.clips] for part in (train, val, test)]
    linear = _linear(train, val, test, cut, task)
    in_order = _Probe(train, val, cut, count, task, probe, shuffled=False)
    shuffled = _Probe(train, val, cut, count, task, probe, shuffled=True)
    seen = [in_order.stretch_scores(part, places) for part, places in zip((val, test), cut[1:], strict=True)]
    mixed = shuffled.stretch_scores(test, cut[2], order="shuffled")
    backwards = in_order.stretch_scores(test, cut[2], order="reversed")
    return {
        "linear": _along(linear[1], cut[2], test),
        "linear_one_place": _one_place(linear, cut, val, test, task),
        "probe": _along(seen[1], cut[2], test),
        "probe_one_place": _one_place(seen, cut, val, test, task),
        "shuffled": _along(mixed, cut[2], test),
        "reversed": _along(backwards, cut[2], test),
    }


Ranges = list[tuple[int, int]]


def _stretches(length: int, count: int | None) -> Ranges:
    """Stretches of `count` clips along a video, overlapping by half; the whole video if it is not longer."""
    if count is None or length <= count:
        return [(0, length)]
    starts = np.unique(np.append(np.arange(0, length - count, max(1, count // 2)), length - count))
    if len(starts) > MOST_STRETCHES:
        starts = starts[np.linspace(0, len(starts) - 1, MOST_STRETCHES).round().astype(int)]
    return [(int(start), int(start) + count) for start in starts]


def _seconds(features: ClipFeatures, count: int | None) -> float:
    """The time that so many clips cover, median over the videos."""
    ends = [times[min(len(times), count or len(times)) - 1, 1] - times[0, 0] for times in features.seconds]
    return float(np.median(ends))


def _linear(train: Part, val: Part, test: Part, cut: list[list[Ranges]], task: Task) -> list[list[np.ndarray]]:
    """Stretch scores of the validation and test videos by the linear model that validation likes best."""
    pooled = [_pooled(part, places) for part, places in zip((train, val, test), cut, strict=True)]
    owners = np.repeat(np.arange(len(cut[0])), [len(own) for own in cut[0]])
    every = max(1, -(-len(owners) // MOST_ROWS))
    best: tuple[float, Any, str] | None = None
    for pooling in POOLINGS:
        for strength in STRENGTHS:
            rows = pooled[0][pooling][::every]
            model = fit_linear_baseline(
                rows, train.targets[owners[::every]], kind=task.kind, outputs=task.outputs, strength=strength
            )
            found = _value(_along(_split(model.scores(pooled[1][pooling]), cut[1]), cut[1], val), task)
            if best is None or _is_better(found, best[0], task.metrics[0]):
                best = (found, model, pooling)
    assert best is not None
    _, model, pooling = best
    return [_split(model.scores(pooled[number][pooling]), cut[number]) for number in (1, 2)]


def _pooled(part: Part, places: list[Ranges]) -> dict[str, np.ndarray]:
    rows = [
        pool_video([clips[first:stop]])
        for clips, own in zip(part.features.clips, places, strict=True)
        for first, stop in own
    ]
    return {pooling: np.stack([row[pooling] for row in rows]) for pooling in POOLINGS}


def _split(scores: np.ndarray, places: list[Ranges]) -> list[np.ndarray]:
    """Scores of all stretches, video by video."""
    return np.split(scores, np.cumsum([len(own) for own in places])[:-1])


def _along(scores: list[np.ndarray], places: list[Ranges], part: Part) -> _Answers:
    """The mean answer over all stretches of each video."""
    owners = np.repeat(np.arange(len(places)), [len(own) for own in places])
    return _Answers(mean_by_item(np.concatenate(scores), owners, len(places)), part.targets)


def _one_place(scores: list[list[np.ndarray]], cut: list[list[Ranges]], val: Part, test: Part, task: Task) -> _Answers:
    """The answer for the stretch at the place that is best on the validation videos."""
    best: tuple[float, float] | None = None
    for place in np.linspace(0, 1, PLACES):
        found = _value(_Answers(_at_place(scores[0], place), val.targets), task)
        if best is None or _is_better(found, best[0], task.metrics[0]):
            best = (found, float(place))
    assert best is not None
    return _Answers(_at_place(scores[1], best[1]), test.targets)


def _at_place(scores: list[np.ndarray], place: float) -> np.ndarray:
    return np.stack([own[round(place * (len(own) - 1))] for own in scores])


class _Probe:
    """A linear map to `WIDTH` numbers and an attentive probe with a time code, trained on random stretches."""

    def __init__(
        self, train: Part, val: Part, cut: list[list[Ranges]], count: int | None, task: Task,
        given: ProbeSettings, *, shuffled: bool,
    ) -> None:  # fmt: skip
        self._task, self._shuffled = task, shuffled
        longest = max(len(clips) for clips in train.features.clips + val.features.clips)
        dim = train.features.clips[0].shape[1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(given.seed)
            probe = build_decoder(
                "attentive",
                dim=WIDTH,
                outputs=task.outputs,
                max_length=longest,
                layers=LAYERS,
                heads=HEADS,
                time_code=True,
            )
            self._model = nn.ModuleDict({"project": nn.Linear(dim, WIDTH), "probe": probe})
        self._fit(train, val, cut[1], count, given)

    def stretch_scores(self, part: Part, places: list[Ranges], *, order: str | None = None) -> list[np.ndarray]:
        """Probabilities of every stretch of every video; `order`: as trained, unless given."""
        random = np.random.default_rng(1)
        order = order or ("shuffled" if self._shuffled else "forward")
        tokens = [
            _ordered(clips[first:stop], order, random)
            for clips, own in zip(part.features.clips, places, strict=True)
            for first, stop in own
        ]
        self._model.eval()
        with torch.inference_mode():
            logits = [self._logits(tokens[first : first + 256]) for first in range(0, len(tokens), 256)]
        return _split(probabilities(torch.cat(logits).numpy(), self._task.kind), places)

    def _logits(self, tokens: Sequence[np.ndarray]) -> Tensor:
        lengths = torch.tensor([len(own) for own in tokens])
        padded = np.zeros((len(tokens), int(lengths.max()), tokens[0].shape[1]), np.float32)
        for row, own in zip(padded, tokens, strict=True):
            row[: len(own)] = own
        logits: Tensor = self._model["probe"](self._model["project"](torch.from_numpy(padded)), lengths)
        return logits

    def _fit(self, train: Part, val: Part, val_places: list[Ranges], count: int | None, given: ProbeSettings) -> None:
        random = np.random.default_rng(given.seed)
        optimiser = torch.optim.AdamW(self._model.parameters(), lr=given.learning_rate, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, given.learning_rate, given.steps, pct_start=0.1)
        best: tuple[float, dict[str, Tensor]] | None = None
        order = "shuffled" if self._shuffled else "forward"
        for step in range(1, given.steps + 1):
            chosen = random.integers(0, len(train.targets), given.batch_size)
            tokens = [_ordered(_drawn(train.features.clips[v], count, random), order, random) for v in chosen]
            self._model.train()
            loss = loss_of(self._logits(tokens), torch.from_numpy(train.targets[chosen]), self._task.kind)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            if step % given.check_every == 0 or step == given.steps:
                found = _value(_along(self.stretch_scores(val, val_places), val_places, val), self._task)
                if best is None or not _is_better(best[0], found, self._task.metrics[0]):
                    best = (found, {name: value.clone() for name, value in self._model.state_dict().items()})
        assert best is not None
        self._model.load_state_dict(best[1])


def _drawn(clips: np.ndarray, count: int | None, random: np.random.Generator) -> np.ndarray:
    if count is None or len(clips) <= count:
        return clips
    first = int(random.integers(0, len(clips) - count + 1))
    return clips[first : first + count]


def _ordered(clips: np.ndarray, order: str, random: np.random.Generator) -> np.ndarray:
    if order == "shuffled":
        return random.permutation(clips)
    return clips[::-1] if order == "reversed" else clips


def _value(found: _Answers, task: Task) -> float:
    return score(task.metrics[:1], found.scores, found.targets)[task.metrics[0]]


def _is_better(one: float, other: float, metric: str) -> bool:
    return one > other if METRICS[metric].higher_is_better else one < other


def _scored(found: _Answers, task: Task, strata: Strata) -> Score:
    count, name = len(found.targets), task.metrics[0]
    within = interval(
        [_form(name, found)], num_videos=count, strata=strata, num_items=count, proportion=name in PROPORTIONS
    )
    return Score(_value(found, task), within)


def _form(name: str, found: _Answers) -> Weighted:
    """The metric of one answer per video, as a function of the videos' weights."""
    count = len(found.targets)
    return weighted_metric(name, Scored(found.scores, found.targets, np.arange(count), count))


def _reaches(found: Context, model: str) -> tuple[Reach, ...]:
    """For each reading, the shortest length from which on no longer one falls below 95 % of the whole."""
    whole = getattr(found.points[-1], model).value
    enough = REACHED * whole if METRICS[found.metric].higher_is_better else whole / REACHED
    reaches = []
    for reading, kind in (("whole video", model), ("one place", f"{model}_one_place")):
        values = [getattr(point, kind).value for point in found.points]
        values[-1] = whole
        low = [not _is_better(value, enough, found.metric) and value != enough for value in values]
        at = len(low) - low[::-1].index(True) if any(low) else 0
        seconds = [point.seconds for point in found.points]
        if at == 0:
            reaches.append(Reach(model, reading, seconds[0], 0.0, seconds[0]))
            continue
        share = (enough - values[at - 1]) / (values[at] - values[at - 1])
        between = math.exp(math.log(seconds[at - 1]) + share * math.log(seconds[at] / seconds[at - 1]))
        reaches.append(Reach(model, reading, between, seconds[at - 1], seconds[at]))
    return tuple(reaches)


def _verdicts(found: Context, reaches: tuple[Reach, ...], best: str) -> list[str]:
    """What the numbers say, in words."""
    metric, last = METRICS[found.metric], found.points[-1]
    names = {"linear": "a linear model of pooled features", "probe": "the attentive probe"}
    whole, constant = metric.format(getattr(last, best).value), metric.format(found.constant)
    said = [f"On whole videos {names[best]} reaches {whole} {metric.label}, the constant answer {constant}."]
    if not reaches:
        said.append("These test videos cannot tell that from chance, so nothing can be said about the length.")
    for reach in reaches:
        tried = f"{reach.above_seconds:.0f} s are too few, {reach.at_most_seconds:.0f} s enough"
        about = f"about {reach.seconds:.0f} s ({tried})"
        if reach.at_most_seconds == found.points[0].seconds:
            about = f"a single clip of {reach.seconds:.1f} s"
        if reach.reading == "whole video":
            said.append(f"A model must see {about} at once to reach 95 % of that, if it sees all of the video so.")
        else:
            said.append(f"If it sees one place of each video only, it needs {about}.")
    pooled = metric.format(last.linear.value)
    if found.pooled_beyond_constant is not None and found.pooled_beyond_constant.low > 0:
        said.append(f"Features pooled over the video, without any order, reach {pooled}.")
    elif found.pooled_beyond_constant is not None:
        known = f"reach {pooled}; these test videos cannot tell that from chance."
        said.append(f"Features pooled over the video, without any order, {known}")
    in_order = metric.format(last.probe.value)
    for what, lost in (("shuffled", found.order), ("reversed", found.reversal)):
        value = metric.format(getattr(last, what).value)
        if lost is not None and lost.low > 0:
            said.append(f"Order is needed: with clips {what} the probe falls from {in_order} to {value}.")
        elif lost is not None:
            said.append(f"No sign that order is needed: with clips {what} the probe reaches {value}, else {in_order}.")
    return said
