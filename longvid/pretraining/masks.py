"""Which clips of a window are masked: True is masked, to be predicted.

`random` and `semantic` are LV-MAE's, as its code draws them (arXiv 2504.03501): the kept clips are the int(length *
(1 - ratio)) first ones, by random numbers, or by their similarity to the clip before, so that the clips most similar
to their predecessor are masked. (The paper's text says the opposite; the code's rule is the published model's.) `spans`
masks stretches of consecutive clips, which convolutions and state spaces cannot fill in from the two neighbours.
"""

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

MaskKind = Literal["random", "semantic", "spans"]
REPEATS = 3
"""How often LV-MAE's data set repeats the clips of a very short video."""


def num_kept(length: int, ratio: int | float) -> int:
    """How many of `length` clips stay visible; rounded down as in LV-MAE's code."""
    return int(length * (1 - ratio))


def shortest_maskable(ratio: int | float) -> int:
    """The fewest clips of which one stays visible and one is masked."""
    length = 2
    while num_kept(length, ratio) < 1 or num_kept(length, ratio) == length:
        length += 1
    return length


def draw_mask(
    clips: Float[np.ndarray, "clips dim"],
    *,
    kind: MaskKind,
    ratio: int | float,
    mean_span: int | float,
    rng: np.random.Generator,
) -> Bool[np.ndarray, " clips"]:
    """The mask of a window; `clips` are one embedding each, of any length."""
    if kind == "semantic":
        return keep_first(semantic_scores(clips), ratio)
    if kind == "spans":
        return span_mask(len(clips), ratio, mean_span, rng)
    return keep_first(rng.random(len(clips)), ratio)


def keep_first(scores: Float[np.ndarray, " clips"], ratio: int | float) -> Bool[np.ndarray, " clips"]:
    """The mask that leaves the clips of the smallest scores visible."""
    masked = np.ones(len(scores), bool)
    masked[np.argsort(scores, kind="stable")[: num_kept(len(scores), ratio)]] = False
    return masked


def semantic_scores(clips: Float[np.ndarray, "clips dim"]) -> Float[np.ndarray, " clips"]:
    """The cosine of each clip with the clip before it; 0 for the first."""
    wide = clips.astype(np.float64)
    units = wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12)
    return np.concatenate([[0.0], (units[1:] * units[:-1]).sum(axis=1)])


def span_mask(
    length: int, ratio: int | float, mean_span: int | float, rng: np.random.Generator
) -> Bool[np.ndarray, " clips"]:
    """Spans of geometric length at random places, as many as mask exactly what `ratio` asks for."""
    masked = np.zeros(length, bool)
    wanted = length - num_kept(length, ratio)
    while (lacking := wanted - int(masked.sum())) > 0:
        span = min(int(rng.geometric(1 / mean_span)), lacking)
        first = int(rng.integers(0, length - span + 1))
        masked[first : first + span] = True
    return masked


def repeated(clips: Float[np.ndarray, "clips *rest"], below: int) -> Float[np.ndarray, "items *rest"]:
    """A window of fewer than `below` clips three times in a row, as LV-MAE's data set does; others as they are."""
    return np.concatenate([clips] * REPEATS) if len(clips) < below else clips
