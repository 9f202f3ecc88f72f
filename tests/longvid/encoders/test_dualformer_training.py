"""The authors' way to test and to train with token labels, written out once more."""

import math

import pytest
import torch
from rounding import assert_same_numbers
from torch import Tensor

from longvid.encoders.dualformer import mean_features, mean_probabilities, token_label_loss, token_targets, view_frames

ROUNDING = {"terms": 16, "layers": 4}
"""Rounding of a softmax and a mean of few numbers."""


def test_the_clips_of_a_video_lie_evenly_over_it() -> None:
    frames = view_frames(300, frames=32, interval=2, clips=4)
    assert frames.shape == (4, 32)
    assert frames[:, 0].tolist() == [29, 88, 148, 207], "clip i starts at floor((i + 1/2) (300 - 64 + 1) / 4)"
    assert (frames.diff(dim=1) == 2).all()
    assert frames.max() < 300


@pytest.mark.parametrize("total", [1, 5, 63])
def test_a_video_shorter_than_a_clip_is_looped_from_its_first_frame(total: int) -> None:
    frames = view_frames(total, frames=32, interval=2, clips=3)
    expected = [2 * index % total for index in range(32)]
    assert frames.tolist() == [expected] * 3


def test_a_video_as_long_as_a_clip_is_read_from_its_first_frame() -> None:
    assert view_frames(64, frames=32, interval=2, clips=2)[:, 0].tolist() == [0, 0]


def test_no_frames_and_no_clips_are_refused() -> None:
    with pytest.raises(ValueError, match="total_frames=0"):
        view_frames(0)


def test_views_are_joined_by_probability_not_by_logit() -> None:
    logits = torch.tensor([[4.0, 0.0], [0.0, 1.0], [0.0, 9.0], [0.0, 9.0]])
    joined = mean_probabilities(logits, 2)
    assert joined.shape == (2, 2)
    assert_same_numbers(joined[0], (logits[0].softmax(0) + logits[1].softmax(0)) / 2, **ROUNDING)
    assert not torch.allclose(joined[0], logits[:2].mean(0).softmax(0))
    assert_same_numbers(mean_features(logits, 2), torch.tensor([[2.0, 0.5], [0.0, 9.0]]), **ROUNDING)


def targets_slowly(teacher: Tensor) -> Tensor:
    rows = []
    for logits in teacher.tolist():
        fifth = sorted(logits, reverse=True)[4]
        kept = [math.exp(logit if logit >= fifth else 0.0) for logit in logits]
        rows.append([value / sum(kept) for value in kept])
    return torch.tensor(rows)


def test_dropped_classes_keep_the_logit_zero_and_ties_keep_more_than_five() -> None:
    torch.manual_seed(0)
    teacher = torch.randn(7, 9).round(decimals=1)
    teacher[0, :] = torch.tensor([5.0, 4, 3, 2, 1, 1, 1, 0, 0])
    targets = token_targets(teacher)
    assert_same_numbers(targets, targets_slowly(teacher), **ROUNDING)
    assert targets[0, 4] == targets[0, 6]
    assert targets[0, 7] > 0


def test_the_loss_weighs_clips_and_positions() -> None:
    torch.manual_seed(1)
    logits, labels = torch.randn(3, 8), torch.tensor([1, 0, 7])
    tokens, teacher = torch.randn(10, 8), torch.randn(10, 8)
    of_clips = -logits.log_softmax(-1)[range(3), labels].mean()
    of_tokens = -(targets_slowly(teacher) * tokens.log_softmax(-1)).sum(-1).mean()
    for gamma in (0.0, 0.2, 1.0):
        loss = token_label_loss(logits, labels, tokens, teacher, gamma=gamma)
        assert_same_numbers(loss, gamma * of_clips + (1 - gamma) * of_tokens, **ROUNDING)
