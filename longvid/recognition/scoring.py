"""Scores of videos over all their views, and their accuracies.

Top-1, top-5 and classes, each with its interval.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from longvid.clips.preprocessing import Preprocessing
from longvid.errors import AnnotationError, VideoError, short_reason
from longvid.metrics.proportions import wilson_interval
from longvid.recognition.views import JOINS, Views, video_views
from longvid.tasks import ManifestRow
from longvid.video.probing import probe


class ViewsItem(TypedDict):
    """The views of one video, or why there are none."""

    index: int
    """Place of the video in the rows."""
    views: Float[Tensor, "..."] | None
    """(views, 3, time, height, width), normalised."""
    lost: str | None
    """One line that says why the video cannot be read; it is never replaced by another."""


class VideoViews(Dataset[ViewsItem]):
    """All views of each video of the rows, read in worker processes."""

    def __init__(
        self,
        rows: Sequence[ManifestRow],
        views: Views,
        preprocessing: Preprocessing,
        *,
        allow_truncated: bool = False,
    ) -> None:
        for row in rows:
            if row.path is None:
                raise AnnotationError(f"{row.where}: has no path, and views are read from the file")
        self.rows, self.views, self.preprocessing = tuple(rows), views, preprocessing
        self._allow_truncated = allow_truncated

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> ViewsItem:
        row = self.rows[index]
        listed = (row.start_seconds, row.end_seconds)
        try:
            video = probe(str(row.path))
            views, _ = video_views(self.views, self.preprocessing, video, listed, allow_truncated=self._allow_truncated)
        except VideoError as error:
            return ViewsItem(index=index, views=None, lost=short_reason(error))
        return ViewsItem(index=index, views=views, lost=None)


@dataclass(frozen=True, eq=False)
class VideoScores:
    """Joined scores of the videos that could be read."""

    index: Int[np.ndarray, "videos"]
    """Place of each in the rows."""
    scores: Float[np.ndarray, "videos classes"]
    lost: tuple[tuple[str, str], ...]
    """Key and reason of every other one."""


def score_videos(
    model: nn.Module,
    clips: VideoViews,
    *,
    device: torch.device,
    workers: int = 0,
    views_at_once: int = 4,
    dtype: torch.dtype | None = None,
    context: Any = None,
) -> Iterator[tuple[ViewsItem, Float[Tensor, " classes"] | None]]:
    """Each video of `clips` in order with its joined scores, or None where it cannot be read.

    model: from clips to raw class scores, in evaluation mode on `device`. views_at_once: views of one video that go
    through it together; the result does not depend on it. dtype: of autocast. context: how worker processes start.
    """
    join = JOINS[clips.views.join]
    loader: DataLoader[ViewsItem] = DataLoader(
        clips, batch_size=None, num_workers=workers, multiprocessing_context=context if workers else None
    )
    for item in loader:
        if item["views"] is None:
            yield item, None
            continue
        with torch.inference_mode(), torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            logits = torch.cat([model(part.to(device)).float() for part in item["views"].split(views_at_once)])
        yield item, join(logits.cpu())


@dataclass(frozen=True)
class Accuracy:
    """A share of right answers and its 95 % interval."""

    right: int
    total: int

    JSON_PROPERTIES = ("share", "low", "high")

    @property
    def share(self) -> float:
        """Right answers of all; NaN without any."""
        return self.right / self.total if self.total else float("nan")

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return wilson_interval(self.right, self.total)[0]

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return wilson_interval(self.right, self.total)[1]


def top_accuracy(
    scores: Float[np.ndarray, "videos classes"], labels: Int[np.ndarray, "videos"], places: int
) -> Accuracy:
    """How often the label is among the `places` best classes; of equal scores the lower class number comes first."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :places]
    return Accuracy(int((order == labels[:, None]).any(axis=1).sum()), len(labels))


def class_accuracies(
    scores: Float[np.ndarray, "videos classes"], labels: Int[np.ndarray, "videos"]
) -> tuple[Accuracy, ...]:
    """Top-1 of the videos of each class."""
    right = scores.argmax(axis=1) == labels
    return tuple(
        Accuracy(int(right[labels == number].sum()), int((labels == number).sum())) for number in range(scores.shape[1])
    )
