"""Intervals hold what they promise, and a weighted metric is the metric of videos that are repeated so often."""

import numpy as np
import pytest
from rounding import rounding

from longvid.metrics.intervals import difference_interval, exact_proportion, interval, strata_of
from longvid.metrics.items import score
from longvid.metrics.videos import ScoredVideo, video_metrics
from longvid.metrics.weighted import Scored, weighted_metric
from longvid.tasks import ManifestRow, Task

NUM_VIDEOS = 12
ROUNDING = rounding(np.float64, terms=256)


def repeated(weights: np.ndarray, item_videos: np.ndarray) -> np.ndarray:
    """The items, video by video, as often as their video counts."""
    return np.concatenate([np.repeat(np.flatnonzero(item_videos == v), int(w)) for v, w in enumerate(weights)])


def some_weights(rng: np.random.Generator) -> np.ndarray:
    return rng.multinomial(NUM_VIDEOS, np.full(NUM_VIDEOS, 1 / NUM_VIDEOS), size=4).astype(float)


@pytest.mark.parametrize(
    "name", ["accuracy", "top5_accuracy", "mean_class_accuracy", "macro_f1", "mean_average_precision"]
)
def test_a_weighted_metric_of_classes_is_that_of_repeated_videos(name: str) -> None:
    rng = np.random.default_rng(0)
    scores, targets = rng.dirichlet(np.ones(7), 30).round(1), rng.integers(0, 7, 30)  # rounded: some scores are equal
    videos = rng.integers(0, NUM_VIDEOS, 30)
    weights = some_weights(rng)
    found = weighted_metric(name, Scored(scores, targets, videos, NUM_VIDEOS))(weights)
    for value, own in zip(found, weights, strict=True):
        items = repeated(own, videos)
        assert value == pytest.approx(score((name,), scores[items], targets[items])[name], abs=ROUNDING)


@pytest.mark.parametrize("name", ["mean_average_precision", "micro_f1", "mse", "mae"])
def test_a_weighted_metric_of_labels_and_values_is_that_of_repeated_videos(name: str) -> None:
    rng = np.random.default_rng(1)
    scores, targets = rng.random((NUM_VIDEOS, 3)).round(1), (rng.random((NUM_VIDEOS, 3)) > 0.6).astype(float)
    weights, videos = some_weights(rng), np.arange(NUM_VIDEOS)
    found = weighted_metric(name, Scored(scores, targets, videos, NUM_VIDEOS))(weights)
    for value, own in zip(found, weights, strict=True):
        items = repeated(own, videos)
        assert value == pytest.approx(score((name,), scores[items], targets[items])[name], abs=ROUNDING)


@pytest.mark.parametrize("reading", ["pooled", "per-video", "epsilon"])
@pytest.mark.parametrize("name", ["mof", "edit", "f1@50", "map@50", "recall@30", "boundary_f1@1"])
def test_a_weighted_metric_of_whole_videos_is_that_of_repeated_videos(name: str, reading: str) -> None:
    rng = np.random.default_rng(2)
    task = Task("s", "dense", ("background", "a", "b"), labels_per_second=2.0, reading=reading)
    seconds = np.stack([np.arange(8.0), np.arange(8.0) + 1], axis=1)
    labels = [[[0, 3, "a"], [3, 6, "b"], [6, 8, "background"]], [[0, 2, "b"], [2, 8, "a"]]]
    videos = tuple(
        ScoredVideo(ManifestRow(str(n), label=labels[n % 2]), seconds, rng.dirichlet(np.ones(3), 8))
        for n in range(NUM_VIDEOS)
    )
    none = np.zeros(0, np.int64)
    weights = some_weights(rng)
    found = weighted_metric(name, Scored(np.zeros((0, 3)), none, none, NUM_VIDEOS, videos, task))(weights)
    for value, own in zip(found, weights, strict=True):
        again = [videos[video] for video in np.repeat(np.arange(NUM_VIDEOS), own.astype(int))]
        assert value == pytest.approx(video_metrics((name,), again, task)[name], abs=1e-9)


def test_the_interval_of_an_accuracy_is_about_the_binomial_one() -> None:
    right = np.arange(200) < 150
    form = weighted_metric("accuracy", Scored(np.eye(2)[(~right).astype(int)], np.zeros(200, int), np.arange(200), 200))
    found, exact = interval([form], num_videos=200), exact_proportion(150, 200)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=0.015)
    assert found.standard_error == pytest.approx(np.sqrt(0.75 * 0.25 / 200), rel=0.1)


def test_seeds_that_differ_widen_the_interval_and_clips_of_one_video_do_not_narrow_it() -> None:
    truth = np.zeros(100, int)

    def form(share: float, copies: int = 1):
        answers = np.eye(2)[(np.arange(100) >= 100 * share).astype(int)]
        videos = np.repeat(np.arange(100), copies)
        return weighted_metric("accuracy", Scored(np.repeat(answers, copies, 0), np.repeat(truth, copies), videos, 100))

    one, differing = (
        interval([form(0.7)] * 3, num_videos=100),
        interval([form(s) for s in (0.5, 0.7, 0.9)], num_videos=100),
    )
    clips = interval([form(0.7, copies=10)] * 3, num_videos=100)
    assert one is not None
    assert differing is not None
    assert clips == one
    assert differing.standard_error > 1.5 * one.standard_error


def test_a_perfect_score_of_a_few_videos_is_not_certain() -> None:
    form = weighted_metric("accuracy", Scored(np.eye(2)[np.zeros(20, int)], np.zeros(20, int), np.arange(20), 20))
    found = interval([form], num_videos=20, proportion=True)
    assert found is not None
    assert (round(found.low, 3), found.high) == (0.832, 1.0)  # Clopper-Pearson for 20 of 20
    assert interval([form], num_videos=1) is None


def test_a_difference_is_paired() -> None:
    """Two models that err on the same videos differ by nothing, whatever the videos; their own intervals are wide."""
    wrong = np.arange(60) % 3 == 0
    form = weighted_metric("accuracy", Scored(np.eye(2)[wrong.astype(int)], np.zeros(60, int), np.arange(60), 60))
    found = difference_interval([form], [form], num_videos=60)
    assert found is not None
    assert (found.low, found.high) == (0.0, 0.0)


def test_a_split_is_drawn_class_by_class_only_if_it_was_made_so() -> None:
    everywhere = [0] * 60 + [1] * 30 + [2] * 10
    stratified = strata_of([0] * 12 + [1] * 6 + [2] * 2, everywhere)
    assert stratified is not None
    assert [len(stratum) for stratum in stratified] == [12, 6, 2]
    assert strata_of([0] * 5 + [1] * 10 + [2] * 5, everywhere) is None
    with_single = strata_of([0] * 6 + [1] * 3 + [2], everywhere)
    assert with_single is not None
    assert sorted(len(stratum) for stratum in with_single) == [4, 6]  # the single video is drawn with others
