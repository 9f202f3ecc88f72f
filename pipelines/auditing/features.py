"""One small vector per clip, in memory, for all questions of an audit.

The mean token of each clip, standardised, without numbers that never change; where it has more than `COMPONENTS`
numbers, projected onto as many principal components of unit variance. All of it is fitted on training videos.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from longvid.errors import AnnotationError
from longvid.pipelines.training.data import video_features
from longvid.tasks import ManifestRow
from longvid.windows import WindowDataset, Windows
from longvid.windows.dataset import Features

COMPONENTS = 64
MOST_FITTED = 20_000
"""Clips that the components are fitted on, spread over the training videos."""


@dataclass(frozen=True)
class ClipFeatures:
    """The clips of some videos, reduced."""

    rows: tuple[ManifestRow, ...]
    clips: tuple[Float[np.ndarray, "_ components"], ...]
    seconds: tuple[Float[np.ndarray, "_ 2"], ...]


class Reducer:
    """The standardisation and projection that the training videos give."""

    def __init__(self, store: Features, train: Sequence[ManifestRow]) -> None:
        from sklearn.decomposition import PCA
        from sklearn.preprocessing import StandardScaler

        data = WindowDataset(store, train, Windows())
        per_video = max(1, MOST_FITTED // len(train))
        chosen = [_thinned(_mean_tokens(data, number), per_video) for number in range(len(train))]
        fitted = np.concatenate(chosen)
        self.dim = fitted.shape[1]
        deviations = fitted.std(axis=0)
        self._kept = deviations > 1e-6 * max(float(deviations.max()), 1e-12)
        if not self._kept.any():
            raise AnnotationError(f"{store.location}: all clips of the training videos have the same features")
        fitted = fitted[:, self._kept]
        self._scaler = StandardScaler().fit(fitted)
        self._pca = None
        self.explained = 1.0
        """Share of the variance that the components hold."""
        if fitted.shape[1] > COMPONENTS and len(fitted) > COMPONENTS:
            pca = PCA(COMPONENTS, whiten=True, random_state=0).fit(self._scaler.transform(fitted))
            self._pca, self.explained = pca, float(pca.explained_variance_ratio_.sum())

    def read(self, store: Features, rows: Sequence[ManifestRow]) -> ClipFeatures:
        """The clips of some videos."""
        data = WindowDataset(store, rows, Windows())
        spans = [slice(*data.span(number)) for number in range(len(rows))]
        clips = tuple(self._reduced(_mean_tokens(data, number)) for number in range(len(rows)))
        return ClipFeatures(tuple(rows), clips, tuple(data.seconds(n)[span] for n, span in enumerate(spans)))

    def _reduced(self, clips: Float[np.ndarray, "_ dim"]) -> Float[np.ndarray, "_ components"]:
        scaled = self._scaler.transform(clips[:, self._kept])
        return np.asarray(scaled if self._pca is None else self._pca.transform(scaled), np.float32)


def _mean_tokens(data: WindowDataset, video: int) -> Float[np.ndarray, "_ dim"]:
    return np.concatenate([tokens.mean(axis=1, dtype=np.float32) for tokens in video_features(data, video)])


def _thinned(clips: Float[np.ndarray, "_ dim"], most: int) -> Float[np.ndarray, "_ dim"]:
    """At most so many clips, evenly spread."""
    return clips if len(clips) <= most else clips[np.linspace(0, len(clips) - 1, most).round().astype(int)]
