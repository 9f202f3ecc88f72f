"""Baseline: scikit-learn's linear models on pooled features."""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Num

from longvid.errors import DecoderError

Chunks = Iterable[np.ndarray]
"""The tokens of one video as consecutive arrays (length, dim)."""

POOLINGS = ("mean", "max", "mean-deviation")
KINDS = ("classification", "multilabel", "regression")
STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0)
"""Inverse regularisation strengths to choose from by the validation videos, for standardised features."""


def pool_video(chunks: Chunks) -> dict[str, Float[np.ndarray, " features"]]:
    """Every pooling of `POOLINGS` over the tokens of a video, float64; one chunk is in memory at a time."""
    count, total, squares, highest = 0, np.zeros(1), np.zeros(1), np.full(1, -np.inf)
    for chunk in chunks:
        tokens = np.asarray(chunk, dtype=np.float64)
        count += len(tokens)
        total = total + tokens.sum(axis=0)
        squares = squares + np.square(tokens).sum(axis=0)
        highest = np.maximum(highest, tokens.max(axis=0))
    if not count:
        raise DecoderError("a video without tokens cannot be pooled")
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - np.square(mean), 0))
    return {"mean": mean, "max": highest, "mean-deviation": np.concatenate([mean, deviation])}


@dataclass(frozen=True)
class LinearBaseline:
    """A fitted linear model."""

    kind: str
    outputs: int
    model: Any
    """The scikit-learn pipeline: standardisation, then the linear model."""

    def scores(self, features: Float[np.ndarray, "videos features"]) -> Float[np.ndarray, "videos outputs"]:
        """Probabilities of classes or labels (0 for a class that no training video had), or values."""
        if self.kind == "regression":
            return np.asarray(self.model.predict(features)).reshape(len(features), self.outputs)
        if self.kind == "multilabel":
            return np.asarray(self.model.predict_proba(features))
        scores = np.zeros((len(features), self.outputs))
        scores[:, self.model.classes_] = self.model.predict_proba(features)
        return scores


def fit_linear_baseline(
    features: Float[np.ndarray, "videos features"],
    targets: Num[np.ndarray, "videos *outputs"],
    *,
    kind: str = "classification",
    outputs: int,
    strength: float = 1.0,
) -> LinearBaseline:
    """Logistic regression on pooled features, one a label for multilabel targets, ridge regression for values.

    targets: class numbers (videos,), or flags or values (videos, outputs); strength: inverse of the regularisation, as
    scikit-learn's `C`. Raises DecoderError where all videos are of one class.
    """
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if kind not in KINDS:
        raise DecoderError(f"a linear baseline answers {', '.join(KINDS)} tasks, not {kind} ones")
    if kind == "classification" and len(np.unique(targets)) < 2:
        raise DecoderError(f"{len(targets)} videos of a single class: a linear model needs at least two classes")
    logistic = LogisticRegression(C=strength, max_iter=5000)
    if kind == "multilabel":
        model = OneVsRestClassifier(logistic)
    else:
        model = Ridge(alpha=1 / strength) if kind == "regression" else logistic
    pipeline = make_pipeline(StandardScaler(), model)
    with warnings.catch_warnings():
        # a label that all videos or none have rightly gets a constant score
        warnings.filterwarnings("ignore", message="Label .* is present in all training examples")
        warnings.filterwarnings("ignore", message="Label not .* is present in all training examples")
        return LinearBaseline(kind, outputs, pipeline.fit(features, targets))
