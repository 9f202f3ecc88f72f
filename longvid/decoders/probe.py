"""The floor under every decoder: scikit-learn's logistic regression on pooled features. No torch, no training loop."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from longvid.errors import DecoderError

Items = Iterable[tuple[np.ndarray, int]]
"""(tokens (length, dim), class) of each video; read once, one video in memory at a time."""

POOLINGS = {
    "mean": lambda tokens: tokens.mean(axis=0),
    "max": lambda tokens: tokens.max(axis=0),
    "mean-deviation": lambda tokens: np.concatenate([tokens.mean(axis=0), tokens.std(axis=0)]),
}


@dataclass(frozen=True)
class LinearProbe:
    """A fitted probe."""

    pooling: str
    model: Any
    """The scikit-learn pipeline: standardise, logistic regression."""

    def scores(self, items: Items) -> Float[np.ndarray, "videos classes"]:
        """Class probabilities, in the order of `model.classes_`."""
        features, _ = _pooled(items, self.pooling)
        return np.asarray(self.model.predict_proba(features))

    def accuracy(self, items: Items) -> float:
        """Share of videos whose class is found."""
        features, labels = _pooled(items, self.pooling)
        return float(np.mean(self.model.predict(features) == labels))


def fit_linear_probe(items: Items, *, pooling: str = "mean", strength: float = 1.0, seed: int = 0) -> LinearProbe:
    """Logistic regression on the pooled tokens of each video; `strength` is the inverse of its regularisation."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if pooling not in POOLINGS:
        raise DecoderError(f"pooling={pooling!r} is not a choice; take one of {', '.join(POOLINGS)}")
    features, labels = _pooled(items, pooling)
    if len(np.unique(labels)) < 2:
        raise DecoderError(f"{len(labels)} videos of a single class: a probe needs at least two classes")
    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000, random_state=seed))
    return LinearProbe(pooling, model.fit(features, labels))


def _pooled(items: Items, pooling: str) -> tuple[Float[np.ndarray, "videos features"], Int[np.ndarray, " videos"]]:
    features, labels = [], []
    for tokens, label in items:
        features.append(POOLINGS[pooling](np.asarray(tokens, dtype=np.float64)))
        labels.append(label)
    if not features:
        raise DecoderError("no videos to probe")
    return np.stack(features), np.asarray(labels)
