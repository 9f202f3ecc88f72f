"""Segmentation metrics give what one computes by hand, and are blind to nothing they should see."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longvid.metrics.items import UNLABELLED
from longvid.metrics.segmentation import (
    Segment,
    edit_score,
    overlap_counts,
    segmentation_scores,
    segments_of,
)


def frames(text: str) -> np.ndarray:
    """`aabb` as labels 0 0 1 1; a dot is unlabelled."""
    return np.array([UNLABELLED if letter == "." else ord(letter) - ord("a") for letter in text], np.int64)


LABELS = st.lists(st.integers(0, 3), min_size=1, max_size=30).map(lambda labels: np.array(labels, np.int64))


def test_segments_are_runs():
    assert segments_of(frames("aabccc")) == [Segment(0, 0, 2), Segment(1, 2, 3), Segment(2, 3, 6)]
    assert segments_of(frames("")) == []


@given(labels=LABELS)
def test_segments_laid_end_to_end_are_the_labels(labels):
    segments = segments_of(labels)
    np.testing.assert_array_equal(np.concatenate([np.full(s.stop - s.start, s.label) for s in segments]), labels)
    assert all(one.label != other.label for one, other in pairwise(segments))


def test_the_edit_score_sees_the_order_and_not_the_lengths():
    assert edit_score(frames("aaaaab"), frames("abbbbb")) == 1.0
    assert edit_score(frames("aabbaa"), frames("aaaabb")) == pytest.approx(2 / 3)
    assert edit_score(frames("b"), frames("a")) == 0.0
    assert edit_score(frames(""), frames("")) == 1.0


@pytest.mark.parametrize(
    ("one", "other", "distance"), [("abc", "abac", 1), ("kiten", "siting", 3), ("abab", "baba", 2), ("abc", "d", 3)]
)
def test_the_edit_score_is_levenshteins_distance_of_the_longer_order(one, other, distance):
    score = 1 - distance / max(len(one), len(other))
    assert edit_score(frames(one), frames(other)) == pytest.approx(score)
    assert edit_score(frames(other), frames("".join(letter * 3 for letter in one))) == pytest.approx(score)


def test_one_true_segment_is_hit_once_and_by_half_of_their_union():
    true = frames("aaaaaaaabb")
    assert overlap_counts(frames("aaaaaaaabb"), true, 0.5) == (2, 0, 0)
    assert overlap_counts(frames("aaaabaaabb"), true, 0.25) == (2, 2, 0)
    assert overlap_counts(frames("aaabbbbbbb"), true, 0.5) == (0, 2, 2)
    assert overlap_counts(frames("aaaabbbbbb"), true, 0.5) == (1, 1, 1)
    assert overlap_counts(frames("cccccccccc"), true, 0.1) == (0, 1, 2)


def test_scores_of_two_videos_are_pooled_or_averaged_as_the_authors_do():
    videos = [(frames("aabb"), frames("aaab")), (frames("cccccccc"), frames("cccccccc"))]
    scores = segmentation_scores(videos, overlaps=(10, 60))
    assert scores["mof"] == 11 / 12  # frames of all videos together
    assert scores["edit"] == 1.0
    assert scores["f1@10"] == 1.0
    assert scores["f1@60"] == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))  # aa of aaa is 2/3, bb of b only 1/2


def test_unlabelled_frames_count_for_and_against_nobody():
    assert segmentation_scores([(frames("abcb"), frames("a..b"))]) == segmentation_scores(
        [(frames("ab"), frames("ab"))]
    )
    assert segmentation_scores([(frames("a"), frames(".")), (frames("a"), frames("a"))])["mof"] == 1.0


def test_sequences_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="2 predicted labels for 3 true ones"):
        segmentation_scores([(frames("ab"), frames("abb"))])


@given(pairs=st.lists(st.tuples(LABELS, LABELS), min_size=1, max_size=4))
def test_frame_accuracy_counts_all_frames_and_every_score_lies_between_none_and_all(pairs):
    videos = [(one[: min(len(one), len(two))], two[: min(len(one), len(two))]) for one, two in pairs]
    scores = segmentation_scores(videos)
    right = sum(found == wanted for one, two in videos for found, wanted in zip(one, two, strict=True))
    assert scores["mof"] == pytest.approx(right / sum(len(one) for one, _ in videos))
    assert all(0 <= value <= 1 for value in scores.values())
    assert scores["f1@10"] >= scores["f1@25"] >= scores["f1@50"]
    assert set(segmentation_scores([(true, true) for _, true in videos]).values()) == {1.0}
