"""Borders are matched one to one within a tolerance, whatever the classes are called."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longvid.metrics.boundaries import boundary_f1, matched
from longvid.metrics.items import UNLABELLED, mean_average_precision
from longvid.metrics.videos import ScoredVideo, video_metrics
from longvid.tasks import ManifestRow, Task

TIMES = st.lists(st.integers(0, 12), max_size=5, unique=True).map(lambda times: np.array(sorted(times), float))


def most_pairs(found: np.ndarray, wanted: np.ndarray, seconds: float) -> int:
    """The largest matching, by trying all."""
    near = [(a, b) for a in range(len(found)) for b in range(len(wanted)) if abs(found[a] - wanted[b]) <= seconds]
    for size in range(min(len(found), len(wanted)), 0, -1):
        for pairs in combinations(near, size):
            if len({a for a, _ in pairs}) == len({b for _, b in pairs}) == size:
                return size
    return 0


@given(found=TIMES, wanted=TIMES, seconds=st.integers(0, 3))
def test_no_matching_has_more_pairs(found: np.ndarray, wanted: np.ndarray, seconds: int) -> None:
    assert matched(found, wanted, seconds=seconds) == most_pairs(found, wanted, seconds)


def test_borders_of_all_videos_count_together() -> None:
    videos = [(np.array([1.0, 5.0]), np.array([1.5])), (np.array([]), np.array([3.0]))]
    assert boundary_f1(videos, seconds=1) == 2 * 1 / 4
    assert boundary_f1(videos, seconds=0.1) == 0
    assert boundary_f1([(np.array([]), np.array([]))], seconds=1) == 1


def test_a_border_between_wrong_classes_at_the_right_time_is_right() -> None:
    task = Task("t", "dense", ("background", "a", "b"), metrics=("mof", "boundary_f1@1"), labels_per_second=1.0)
    row = ManifestRow("v", label=[[2.0, 5.0, "a"]], extra={"duration_seconds": 8.0})
    seconds = np.stack([np.arange(8.0), np.arange(8.0) + 1], axis=1)
    scores = np.eye(3)[[1, 1, 2, 2, 2, 1, 1, 1]]
    found = video_metrics(task.metrics, [ScoredVideo(row, seconds, scores)], task)
    assert found == {"mof": 0.0, "boundary_f1@1": 1.0}


def test_average_precision_takes_class_numbers_too() -> None:
    scores = np.array([[0.9, 0.1, 0.0], [0.6, 0.4, 0.0], [0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [1.0, 0.0, 0.0]])
    targets = np.array([0, 1, 0, 1, UNLABELLED])
    flags = np.eye(3)[targets[:4]]
    assert mean_average_precision(scores, targets) == pytest.approx(mean_average_precision(scores[:4], flags))
    assert mean_average_precision(scores, targets) == 1.0
    assert mean_average_precision(scores[:, ::-1], targets) < 1
