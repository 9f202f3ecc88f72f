"""Calibration: answers given with 80 % should be right in four of five.

    found = calibration(probabilities, targets, kind="classification")
    found.error                                  # expected calibration error, 0..1
    temperature = fit_temperature(val_probabilities, val_targets, kind="classification")
    calibration(with_temperature(probabilities, temperature, "classification"), targets, kind="classification")

Classes: the confidence of an answer is its highest score (Guo et al. 2017, arXiv 1706.04599). Labels: each score says
how likely its label is, all labels counted together. Temperature scaling divides logits by one number, fitted by the
likelihood of held-out labels: it changes how sure a model is, never its answer.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Num

from longvid.metrics.items import UNLABELLED, probabilities

BINS = 10
KINDS = ("classification", "dense", "multilabel")
"""Kinds of tasks whose scores are probabilities."""
LEAST_TEMPERATURE, MOST_TEMPERATURE = 0.05, 20.0
LEAST_SCORE = 1e-12


@dataclass(frozen=True)
class Bin:
    """Answers of about the same confidence."""

    confidence: float
    """Their mean."""
    right: float
    """Share of them that is right (labels: that is there)."""
    count: int


@dataclass(frozen=True)
class Calibration:
    """A reliability diagram and its summary."""

    error: float
    """Expected calibration error: the mean distance of confidence and share of right answers, 0..1."""
    bins: tuple[Bin, ...]
    """Bins of equal width; empty ones are left out."""


def calibration(
    scores: Float[np.ndarray, "items outputs"], targets: Num[np.ndarray, "items *outputs"], *, kind: str
) -> Calibration:
    """The reliability diagram of probabilities, over labelled items."""
    from sklearn.calibration import calibration_curve

    confidences, right = _answers(scores, targets, kind)
    shares, means = calibration_curve(right, confidences, n_bins=BINS, strategy="uniform")
    # scikit-learn's own bins, which it does not count
    numbers = np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], confidences)
    counts = np.bincount(numbers, minlength=BINS)
    bins = tuple(
        Bin(float(mean), float(share), int(count))
        for mean, share, count in zip(means, shares, counts[counts > 0], strict=True)
    )
    return Calibration(float(np.average(np.abs(shares - means), weights=counts[counts > 0])), bins)


def with_temperature(
    scores: Float[np.ndarray, "items outputs"], temperature: float, kind: str
) -> Float[np.ndarray, "items outputs"]:
    """The probabilities that the same logits give when they are divided by the temperature."""
    kept = np.clip(scores, LEAST_SCORE, 1 - LEAST_SCORE)
    logits = np.log(kept) - np.log1p(-kept) if kind == "multilabel" else np.log(kept)
    return probabilities(logits / temperature, kind)


def fit_temperature(
    scores: Float[np.ndarray, "items outputs"], targets: Num[np.ndarray, "items *outputs"], *, kind: str
) -> float:
    """The temperature at which held-out labels are likeliest, between 0.05 and 20.

    It is 1 where every answer is right: the surer the likelier, so nothing can be fitted.
    """
    from scipy.optimize import minimize_scalar

    if _answers((scores >= 0.5).astype(float) if kind == "multilabel" else scores, targets, kind)[1].all():
        return 1.0

    if kind != "multilabel":
        known = targets != UNLABELLED
        scores, targets = scores[known], targets[known].astype(int)

    def unlikeliness(log_temperature: float) -> float:
        found = np.clip(with_temperature(scores, float(np.exp(log_temperature)), kind), LEAST_SCORE, 1 - LEAST_SCORE)
        if kind == "multilabel":
            return -float(np.mean(np.where(targets > 0.5, np.log(found), np.log1p(-found))))
        return -float(np.mean(np.log(found[np.arange(len(found)), targets])))

    bounds = (np.log(LEAST_TEMPERATURE), np.log(MOST_TEMPERATURE))
    return float(np.exp(minimize_scalar(unlikeliness, bounds=bounds, method="bounded").x))


def _answers(scores: np.ndarray, targets: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """The confidence of every answer, and whether it is right."""
    if kind == "multilabel":
        return np.clip(scores.ravel(), 0, 1), targets.ravel() > 0.5
    known = targets != UNLABELLED
    return np.clip(scores[known].max(axis=1), 0, 1), scores[known].argmax(axis=1) == targets[known]
