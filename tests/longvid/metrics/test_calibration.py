"""Calibration: what is told of scores that are right as often as they say, and of scores that are too sure."""

import numpy as np
import pytest

from longvid.metrics.calibration import calibration, fit_temperature, with_temperature
from longvid.metrics.items import UNLABELLED, probabilities


def drawn(temperature: float, count: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Scores whose logits are `temperature` times too large, and targets drawn from the true probabilities."""
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((count, 3)) * 1.5
    true = probabilities(logits, "classification")
    targets = (true.cumsum(axis=1) < rng.random((count, 1))).sum(axis=1)
    return probabilities(logits * temperature, "classification"), targets


def test_true_probabilities_have_no_error_and_exaggerated_ones_do() -> None:
    honest, exaggerated = (calibration(*drawn(t), kind="classification") for t in (1.0, 3.0))
    assert honest.error < 0.01
    assert exaggerated.error > 0.1
    assert all(one.right < one.confidence for one in exaggerated.bins[1:])
    assert sum(one.count for one in honest.bins) == 20_000


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_was_put_in_is_found(temperature: float) -> None:
    scores, targets = drawn(temperature)
    found = fit_temperature(scores, targets, kind="classification")
    assert found == pytest.approx(temperature, rel=0.05)
    scaled = with_temperature(scores, found, "classification")
    assert calibration(scaled, targets, kind="classification").error < 0.01
    assert (scaled.argmax(axis=1) == scores.argmax(axis=1)).all()


def test_labels_are_calibrated_one_by_one() -> None:
    rng = np.random.default_rng(1)
    logits = rng.standard_normal((5000, 4))
    flags = (rng.random((5000, 4)) < probabilities(logits, "multilabel")).astype(float)
    scores = probabilities(2 * logits, "multilabel")
    assert fit_temperature(scores, flags, kind="multilabel") == pytest.approx(2, rel=0.05)


def test_where_all_is_right_nothing_can_be_fitted_and_nothing_is_changed() -> None:
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]])
    targets = np.array([0, 1, UNLABELLED])
    assert fit_temperature(scores, targets, kind="classification") == 1.0
    assert sum(one.count for one in calibration(scores, targets, kind="classification").bins) == 2
