"""Metrics give what one counts by hand, leave out what has no label, and baselines ignore the video."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longvid.metrics import items as metrics

# six items of four classes: 0 twice right; 1 once right, once mistaken for 0; 2 mistaken for 3; class 3 has none
TARGETS = np.array([0, 0, 1, 1, 2, 2])
ANSWERS = np.array([0, 0, 1, 0, 3, 2])
SCORES = np.eye(4)[ANSWERS]


def test_classes_are_scored_as_counted_by_hand():
    assert metrics.accuracy(SCORES, TARGETS) == pytest.approx(4 / 6)
    assert metrics.mean_class_accuracy(SCORES, TARGETS) == pytest.approx((1 + 1 / 2 + 1 / 2) / 3)  # not class 3
    assert metrics.macro_f1(SCORES, TARGETS) == pytest.approx((4 / 5 + 2 / 3 + 2 / 3 + 0) / 4)  # class 3 was answered
    matrix = metrics.confusion_matrix(SCORES, TARGETS)
    np.testing.assert_array_equal(matrix, [[2, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0]])


def test_the_table_of_classes_is_that_of_the_matrix():
    table = metrics.per_class(metrics.confusion_matrix(SCORES, TARGETS), ("a", "b", "c", "d"))
    assert [(row.name, row.support, row.predicted) for row in table] == [
        ("a", 2, 3), ("b", 2, 1), ("c", 2, 1), ("d", 0, 1),
    ]  # fmt: skip
    np.testing.assert_allclose([row.precision for row in table], [2 / 3, 1, 1, 0])
    np.testing.assert_allclose([row.recall for row in table], [1, 1 / 2, 1 / 2, 0])
    np.testing.assert_allclose([row.f1 for row in table], [4 / 5, 2 / 3, 2 / 3, 0])


def test_of_equal_scores_the_first_class_is_the_answer():
    assert metrics.accuracy(np.full((2, 3), 1 / 3), np.array([0, 1])) == 0.5


def test_average_precision_adds_precision_where_recall_grows():
    flags = np.array([1, 0, 1, 0])
    assert metrics.average_precision(np.array([0.9, 0.8, 0.7, 0.1]), flags) == pytest.approx((1 + 2 / 3) / 2)
    assert metrics.average_precision(np.array([0.1, 0.8, 0.7, 0.9]), flags) == pytest.approx((1 / 3 + 2 / 4) / 2)
    assert metrics.average_precision(np.full(4, 0.5), flags) == pytest.approx(0.5)  # all enter together
    assert metrics.average_precision(np.full(4, 0.5), np.zeros(4)) == 0.0


def test_labels_are_scored_as_counted_by_hand():
    scores = np.array([[0.9, 0.6, 0.1], [0.8, 0.2, 0.1], [0.3, 0.4, 0.1]])
    flags = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0]], np.float32)
    assert metrics.micro_f1(scores, flags) == pytest.approx(2 * 1 / (3 + 4))  # 1 hit, 3 chosen, 4 true
    first, second = (1 + 2 / 3) / 2, (1 / 2 + 2 / 3) / 2
    assert metrics.mean_average_precision(scores, flags) == pytest.approx((first + second) / 2)  # nobody has the third
    table = metrics.per_label(scores, flags, ("a", "b", "c"))
    assert [(row.support, row.predicted) for row in table] == [(2, 2), (2, 1), (0, 0)]
    np.testing.assert_allclose([row.recall for row in table], [1 / 2, 0, 0])
    np.testing.assert_allclose([row.average_precision for row in table], [first, second, 0])
    assert metrics.mean_average_precision(scores, np.zeros((3, 3))) == 0.0


def test_errors_of_values_are_means_over_items_and_outputs():
    scores, targets = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0, 4.0], [0.0, 4.0]])
    assert metrics.mse(scores, targets) == pytest.approx((0 + 4 + 9 + 0) / 4)
    assert metrics.mae(scores, targets) == pytest.approx((0 + 2 + 3 + 0) / 4)


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
    scores = np.eye(7)[[0, 1, 1]]
    targets = np.array([0, metrics.UNLABELLED, 0])
    assert metrics.accuracy(scores, targets) == 0.5
    assert metrics.top5_accuracy(scores, targets) >= 0.5
    assert metrics.confusion_matrix(scores, targets).sum() == 2


def test_baselines_answer_the_same_whatever_they_are_shown():
    majority = metrics.baseline_scores("classification", np.array([2, 1, 2, metrics.UNLABELLED]), 2, 3)
    np.testing.assert_allclose(majority, [[0, 1 / 3, 2 / 3]] * 2)
    constant = metrics.baseline_scores("regression", np.array([[1.0], [3.0]]), 2, 1)
    assert metrics.mse(constant, np.array([[2.0], [4.0]])) == 2.0
    rates = metrics.baseline_scores("multilabel", np.array([[1.0, 0.0], [1.0, 1.0]]), 1, 2)
    np.testing.assert_array_equal(rates, [[1, 0.5]])


def test_the_five_answers_of_the_baseline_are_the_five_most_frequent_classes():
    train = np.repeat(np.arange(8), [1, 9, 8, 2, 7, 6, 3, 5])
    test = np.arange(8)
    assert metrics.top5_accuracy(metrics.baseline_scores("classification", train, 8, 8), test) == 5 / 8
    common = np.array([1, 2, 4, 5, 7])
    assert metrics.top5_accuracy(metrics.baseline_scores("classification", train, 5, 8), common) == 1.0


def test_top5_looks_at_five_scores_and_is_certain_with_five_classes():
    ranked = np.linspace(1, 0, 7)[None].repeat(7, axis=0)
    assert metrics.top5_accuracy(ranked, np.arange(7)) == pytest.approx(5 / 7)
    assert metrics.top5_accuracy(ranked[:2, :2], np.array([0, 1])) == 1.0


@given(answers=st.lists(st.integers(0, 3), min_size=1, max_size=20), data=st.data())
def test_every_score_of_classes_lies_between_none_and_all_and_is_all_for_the_truth(answers, data):
    targets = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(answers), max_size=len(answers))))
    for name in ("accuracy", "top5_accuracy", "mean_class_accuracy", "macro_f1"):
        (value,) = metrics.score((name,), np.eye(4)[answers], targets).values()
        assert 0 <= value <= 1
        assert metrics.score((name,), np.eye(4)[targets], targets) == {name: 1.0}


def test_numbers_are_printed_with_their_unit():
    assert metrics.METRICS["accuracy"].format(0.875, 0.0123) == "87.5 ± 1.2 %"
    assert metrics.METRICS["mse"].format(0.6056) == "0.6056"
