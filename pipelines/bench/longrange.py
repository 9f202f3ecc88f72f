"""Decoders on tasks that need a long memory: accuracy by length.

Parameters and training are matched. Every decoder is made as wide as needed for `PARAMETERS` weights, and all are
trained in the same way: on fresh sequences, short ones first; the length doubles when the decoder answers nearly all of
them, or after a fixed number of steps. A sequence of twice the length is the same one sampled twice as often, and a
decoder with step sizes is told so (`Decoder.rescale_time`). A decoder that still guesses is not trained on longer
sequences. Each is tested at each length after training on it, on unseen sequences.
"""

import math
import os
import time
from bisect import bisect_left
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from statistics import mean, stdev
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.nn import functional

from longvid.decoders import Decoder, build_decoder
from longvid.pipelines.bench.memory_tasks import CHANNELS, SHORTEST, TASKS, Batch, MemoryTask
from longvid.pipelines.bench.table import BenchTable, Panel

PARAMETERS = 21_000
WIDTHS = range(8, 129, 4)
STATE_SPACE: dict[str, Any] = {
    "state_size": 32,
    "gated": True,
    "bidirectional": True,
    "dropout": 0.1,
    "step_range": (1e-4, 1e-1),
    "dynamics_learning_rate": 5e-3,
}
PYRAMID: dict[str, Any] = {"dropout": 0.0}
CONTENDERS: dict[str, dict[str, Any]] = {
    "vis4mer": STATE_SPACE,
    "hybrid": STATE_SPACE | {"num_tokens": 4, "token_dim": 16},
    "global-tokens": {"num_tokens": 4, "token_dim": 16, "dilations": (1, 4), "dropout": 0.0},
    "transformer": PYRAMID,
    "performer": PYRAMID | {"features": 32},
    "selective-scan": PYRAMID | {"state_size": 32},
    "temporal-convolution": {"layers": 12, "dropout": 0.0},
    "lstm": {"dropout": 0.0},
    "gru": {"dropout": 0.0},
    "mean-linear": {},
    "max-linear": {},
}
LONG_RANGE = ("vis4mer", "hybrid")
POOLED = ("mean-linear", "max-linear")
QUICK = ("vis4mer", "gru", "mean-linear")

LEARNING_RATE, WEIGHT_DECAY = 5e-3, 0.01
FIRST_STEPS, FIRST_SECONDS = 2000, 90.0
"""Maximum number of steps at the shortest length, where the task is learned."""
STEPS, SECONDS = 120, 20.0
"""Maximum number of steps at each longer length, where only the memory has to grow."""
TOKENS_A_BATCH, MOST_ITEMS, LEAST_ITEMS = 16_384, 64, 4
MASTERED = 0.97
LEARNED = 0.2
"""Share of the way from chance to all answers right; below it a length counts as not learned."""
TESTED = 128

UNTOLD = 0.03
"""Differences of accuracy below this are noise between two seeds of `TESTED` sequences."""
ABOVE_CHANCE = 0.1
"""Accuracy that a pooling may reach above chance: three standard errors of twice `TESTED` yes-or-no answers."""


@dataclass(frozen=True)
class Outcome:
    """The result of one decoder, task and seed."""

    task: str
    decoder: str
    seed: int
    parameters: int
    accuracy: dict[int, float] = field(default_factory=dict)
    """Accuracy by length of the tested sequences."""


def run(*, quick: bool = False) -> BenchTable:
    """Accuracies of this machine's run. Quick: one task up to 1,024 steps, three decoders, one seed."""
    tasks = [replace(TASKS[0], lengths=(256, 1024))] if quick else list(TASKS)
    decoders = QUICK if quick else tuple(CONTENDERS)
    seeds = 1 if quick else 2
    outcomes = list(all_outcomes(tasks, decoders, seeds))
    lengths = sorted({length for task in tasks for length in task.lengths})
    table = BenchTable(
        f"Accuracy in percent by steps, {'one seed' if seeds == 1 else f'mean and deviation over {seeds} seeds'}",
        ["task", "decoder", *(f"{length:,}" for length in lengths)],
    )
    for task in tasks:
        results = {name: [o for o in outcomes if (o.task, o.decoder) == (task.name, name)] for name in decoders}
        for name, found in results.items():
            cells = (spread([outcome.accuracy[length] for outcome in found]) for length in task.lengths)
            by_length = dict(zip(task.lengths, cells, strict=True))
            table.rows.append([task.name, name, *(by_length.get(length) for length in lengths)])
        add_panel(table, task, results)
        add_claims(table, task, results)
    table.notes += [f"{task.name}: {task.what}; chance is {1 / task.choices:.0%}" for task in tasks]
    sizes = [outcome.parameters for outcome in outcomes if outcome.decoder not in POOLED]
    table.notes += [
        f"parameters: {min(sizes):,} to {max(sizes):,}; poolings have no width to match",
        f"training: at most {FIRST_SECONDS:g} s on one core at {SHORTEST} steps, {SECONDS:g} s at each longer length",
        "only decoders that had learned something at shorter lengths were trained on longer ones",
        "at each doubling the step sizes of S4 and the selective scan were halved; the others have none",
    ]
    return table


def all_outcomes(tasks: list[MemoryTask], decoders: tuple[str, ...], seeds: int) -> Iterator[Outcome]:
    """Every combination, each in a process with one thread, with a bar on standard error."""
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        runs = [
            pool.submit(outcome_of, task, name, seed) for seed in range(seeds) for task in tasks for name in decoders
        ]
        bar = track(as_completed(runs), "training", total=len(runs), console=Console(stderr=True), transient=True)
        for done in bar:
            yield done.result()


def outcome_of(task: MemoryTask, name: str, seed: int) -> Outcome:
    """Build, train and test one decoder."""
    torch.set_num_threads(1)
    decoder = matched_decoder(name, task, seed)
    accuracy = train_and_test(decoder, task, seed)
    return Outcome(task.name, name, seed, count_parameters(decoder), accuracy)


def matched_decoder(name: str, task: MemoryTask, seed: int) -> Decoder:
    """A decoder of the width that brings its parameters nearest to `PARAMETERS`; poolings have no width."""
    options: dict[str, Any] = {"dim": CHANNELS, "outputs": task.outputs, "head": task.head} | CONTENDERS[name]
    if name not in POOLED:

        def size(width: int) -> int:
            return count_parameters(build_decoder(name, **options, width=width))

        wider = min(bisect_left(WIDTHS, PARAMETERS, key=size), len(WIDTHS) - 1)
        neighbours = WIDTHS[max(0, wider - 1) : wider + 1]
        options["width"] = min(neighbours, key=lambda width: abs(size(width) - PARAMETERS))
    torch.manual_seed(seed)
    return build_decoder(name, **options)


def count_parameters(decoder: Decoder) -> int:
    """Number of trainable parameters."""
    return sum(parameter.numel() for parameter in decoder.parameters() if parameter.requires_grad)


def train_and_test(decoder: Decoder, task: MemoryTask, seed: int) -> dict[int, float]:
    """Accuracy at each of the task's lengths, measured right after training on it."""
    drawing, fresh = (torch.Generator().manual_seed(offset + seed) for offset in (0, 1_000_000))
    groups = [group | {"initial_lr": group["lr"]} for group in decoder.param_groups(LEARNING_RATE, WEIGHT_DECAY)]
    optimiser = torch.optim.AdamW(groups)
    accuracy: dict[int, float] = {}
    length, learns = SHORTEST, True
    while length <= task.lengths[-1]:
        if length > SHORTEST:
            decoder.rescale_time(2)
        if learns:
            learns = train(decoder, optimiser, task, length, drawing)
        if length in task.lengths:
            accuracy[length] = tested(decoder, task, length, fresh)
        length *= 2
    return accuracy


def train(
    decoder: Decoder, optimiser: torch.optim.Optimizer, task: MemoryTask, length: int, generator: torch.Generator
) -> bool:
    """Train until nearly all answers are right or the steps or seconds are used up; False if it is still guessing."""
    decoder.train()
    items = max(LEAST_ITEMS, min(MOST_ITEMS, TOKENS_A_BATCH // length))
    window = max(8, MOST_ITEMS // items)
    steps, seconds = (FIRST_STEPS, FIRST_SECONDS) if length == SHORTEST else (STEPS, SECONDS)
    begin = time.process_time()
    seen: list[float] = []
    for step in range(steps):
        if length == task.lengths[-1]:  # converge at the last length
            for group in optimiser.param_groups:
                group["lr"] = group["initial_lr"] * (0.55 + 0.45 * math.cos(math.pi * step / steps))
        if length > SHORTEST and step % 4 == 3:  # half as long now and then: no rule for one length only
            decoder.rescale_time(0.5)
            learn(decoder, optimiser, task, task.draw(items, length // 2, generator, False))
            decoder.rescale_time(2)
            continue
        seen.append(learn(decoder, optimiser, task, task.draw(items, length, generator, False)))
        if (len(seen) >= window and mean(seen[-window:]) >= MASTERED) or time.process_time() - begin > seconds:
            break
    return mean(seen[-window:]) >= 1 / task.choices + LEARNED * (1 - 1 / task.choices)


def learn(decoder: Decoder, optimiser: torch.optim.Optimizer, task: MemoryTask, batch: Batch) -> float:
    """One training step; returns the accuracy before it."""
    tokens, answers = batch
    optimiser.zero_grad()
    scores = scores_of(decoder, tokens, task)
    functional.cross_entropy(scores.flatten(0, 1), answers.flatten()).backward()
    torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
    optimiser.step()
    return accuracy_of(scores, answers, task)


def tested(decoder: Decoder, task: MemoryTask, length: int, generator: torch.Generator) -> float:
    """Accuracy on `TESTED` sequences."""
    items = min(TESTED, max(LEAST_ITEMS, 4 * TOKENS_A_BATCH // length))
    found = []
    decoder.eval()
    with torch.no_grad():
        for _ in range(TESTED // items):
            tokens, answers = task.draw(items, length, generator, True)
            found.append(accuracy_of(scores_of(decoder, tokens, task), answers, task))
    return mean(found)


def scores_of(decoder: Decoder, tokens: Tensor, task: MemoryTask) -> Tensor:
    """(batch, questions, choices), for either head."""
    scores: Tensor = decoder(tokens).unflatten(-1, (-1, task.choices)).flatten(1, -2)
    return scores


def accuracy_of(scores: Tensor, answers: Tensor, task: MemoryTask) -> float:
    """Share of the scored answers that are right."""
    return (task.scored(scores).argmax(dim=-1) == task.scored(answers)).float().mean().item()


def spread(values: list[float]) -> str:
    """Mean and standard deviation in percent."""
    middle = f"{100 * mean(values):.0f}"
    return middle if len(values) == 1 else f"{middle} +- {100 * stdev(values):.0f}"


def add_panel(table: BenchTable, task: MemoryTask, results: dict[str, list[Outcome]]) -> None:
    """Plot one line per decoder."""
    lines: dict[str, list[tuple[int | float, float]]] = {
        name: [(length, 100 * mean(outcome.accuracy[length] for outcome in found)) for length in task.lengths]
        for name, found in results.items()
    }
    table.panels.append(Panel(f"{task.name}: {task.what}", "steps", "percent", lines, level=100 / task.choices))


def add_claims(table: BenchTable, task: MemoryTask, results: dict[str, list[Outcome]]) -> None:
    """At the longest length ViS4mer or the hybrid is best; where only the order matters, poolings guess."""
    longest = task.lengths[-1]
    reached = {name: mean(outcome.accuracy[longest] for outcome in found) for name, found in results.items()}
    ours = max(value for name, value in reached.items() if name in LONG_RANGE)
    others = max(value for name, value in reached.items() if name not in LONG_RANGE)
    what = f"{task.name} at {longest:,}"
    table.claim(f"{what}: ViS4mer or hybrid over the best other", ours - others, at_least=-UNTOLD)
    if task.order_alone:
        pooled = max(value for name, value in reached.items() if name in POOLED)
        table.claim(f"{what}: best pooling over chance", pooled - 1 / task.choices, at_most=ABOVE_CHANCE)
