"""Metrics equal scikit-learn's, and baselines answer without looking."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from longvid import metrics

NAMES = ("a", "b", "c", "d")


def split(seed: int, items: int = 40, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(classes), items), rng.integers(0, classes - 1, items)


@pytest.mark.parametrize("seed", range(5))
def test_classification_metrics_equal_scikit_learn(seed):
    scores, targets = split(seed)
    predicted = scores.argmax(1)
    assert metrics.accuracy(scores, targets) == pytest.approx(reference.accuracy_score(targets, predicted))
    assert metrics.macro_f1(scores, targets) == pytest.approx(reference.f1_score(targets, predicted, average="macro"))
    recalls = reference.recall_score(targets, predicted, average=None, labels=range(3), zero_division=0)
    assert metrics.mean_class_accuracy(scores, targets) == pytest.approx(recalls.mean())
    matrix = metrics.confusion_matrix(scores, targets)
    np.testing.assert_array_equal(matrix, reference.confusion_matrix(targets, predicted, labels=range(4)))
    table = metrics.per_class(matrix, NAMES)
    expected = reference.precision_recall_fscore_support(targets, predicted, labels=range(4), zero_division=0)
    np.testing.assert_allclose([[r.precision, r.recall, r.f1, r.support] for r in table], np.array(expected).T)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), levels=st.sampled_from([2, 5, 1000]))
def test_average_precision_equals_scikit_learn_also_with_equal_scores(seed, levels):
    rng = np.random.default_rng(seed)
    scores, flags = rng.integers(0, levels, 30) / levels, rng.integers(0, 2, 30)
    expected = reference.average_precision_score(flags, scores) if flags.any() else 0.0
    assert metrics.average_precision(scores, flags) == pytest.approx(expected)


def test_multilabel_metrics_equal_scikit_learn():
    rng = np.random.default_rng(0)
    scores, flags = rng.random((30, 4)), rng.integers(0, 2, (30, 4)).astype(np.float32)
    assert metrics.micro_f1(scores, flags) == pytest.approx(reference.f1_score(flags, scores >= 0.5, average="micro"))
    expected = reference.average_precision_score(flags, scores, average="macro")
    assert metrics.mean_average_precision(scores, flags) == pytest.approx(expected)
    table = metrics.per_label(scores, flags, NAMES)
    reached = reference.precision_recall_fscore_support(flags, scores >= 0.5)
    np.testing.assert_allclose([[r.precision, r.recall, r.f1, r.support] for r in table], np.array(reached).T)


def test_windows_of_a_video_are_averaged_and_an_empty_video_is_not_zero():
    scores = np.array([[1.0, 0.0], [0.0, 1.0], [0.2, 0.8]])
    by_video = metrics.mean_by_item(scores, np.array([0, 0, 2]), 3)
    np.testing.assert_array_equal(by_video[[0, 2]], [[0.5, 0.5], [0.2, 0.8]])
    assert np.isnan(by_video[1]).all()


def test_the_sum_of_softmaxes_decides_not_the_mean_of_logits():
    logits = np.array([[9.0, 0.0], [0.0, 2.0], [0.0, 2.0]])
    summed = metrics.mean_by_item(metrics.probabilities(logits, "classification"), np.zeros(3, int), 1)
    assert summed.argmax() == 1
    assert logits.mean(axis=0).argmax() == 0


def test_probabilities_survive_huge_logits():
    logits = np.array([[1e4, -1e4], [-1e4, -1e4]], np.float32)
    np.testing.assert_allclose(metrics.probabilities(logits, "classification"), [[1, 0], [0.5, 0.5]])
    np.testing.assert_allclose(metrics.probabilities(logits, "multilabel"), [[1, 0], [0, 0]])


def test_clips_without_a_label_count_in_nothing():
    scores = np.eye(2)[[0, 1, 1]]
    targets = np.array([0, metrics.UNLABELLED, 0])
    assert metrics.accuracy(scores, targets) == 0.5
    assert metrics.confusion_matrix(scores, targets).sum() == 2


def test_baselines_answer_the_same_whatever_they_are_shown():
    majority = metrics.baseline_scores("classification", np.array([2, 1, 2]), 2, 3)
    np.testing.assert_array_equal(majority, [[0, 0, 1], [0, 0, 1]])
    constant = metrics.baseline_scores("regression", np.array([[1.0], [3.0]]), 2, 1)
    assert metrics.mse(constant, np.array([[2.0], [4.0]])) == 2.0
    rates = metrics.baseline_scores("multilabel", np.array([[1.0, 0.0], [1.0, 1.0]]), 1, 2)
    np.testing.assert_array_equal(rates, [[1, 0.5]])


def test_top5_is_certain_with_five_classes():
    scores, targets = split(0, classes=5)
    assert metrics.top5_accuracy(scores, targets) == 1.0


def test_numbers_are_printed_with_their_unit():
    assert metrics.METRICS["accuracy"].format(0.875, 0.0123) == "87.5 ± 1.2 %"
    assert metrics.METRICS["mse"].format(0.6056) == "0.6056"
