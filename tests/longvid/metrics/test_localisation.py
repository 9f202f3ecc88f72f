"""Localisation scores equal slow, obvious forms, and non-maximum suppression keeps what nothing stronger covers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longvid.metrics.localisation import (
    Segments,
    class_precisions,
    interpolated_precision,
    localisation_scores,
    overlaps,
    propose,
    right_proposals,
    strongest,
    suppress,
)

ROW = st.tuples(
    st.integers(0, 2),
    st.integers(1, 3),
    st.floats(0, 20).map(lambda x: round(x, 1)),
    st.floats(0.5, 8).map(lambda x: round(x, 1)),
)


def segments(rows, *, distinct: bool = True) -> Segments:
    """From (video, label, start, length); confidences 1, 1/2, 1/3 ... in the order given."""
    return Segments.of((v, c, a, a + d, 1 / (i + 1) if distinct else 1.0) for i, (v, c, a, d) in enumerate(rows))


def test_overlap_is_intersection_over_union():
    table = overlaps(np.array([[0.0, 10], [0, 1]]), np.array([[5.0, 15], [0, 10], [20, 30]]))
    np.testing.assert_allclose(table, [[1 / 3, 1, 0], [0, 0.1, 0]])


def test_a_weaker_proposal_goes_only_if_it_covers_a_kept_one_of_its_own_class_and_video():
    proposals = Segments.of([
        (0, 1, 0, 10, 0.9),
        (0, 1, 1, 11, 0.8),  # covers the first
        (0, 2, 1, 11, 0.7),  # another class
        (1, 1, 1, 11, 0.6),  # another video
        (0, 1, 3, 13, 0.5),  # covers the second, which is not kept, but the first by 7/13 only
    ])  # fmt: skip
    np.testing.assert_allclose(suppress(proposals).confidence, [0.9, 0.7, 0.6, 0.5])


@given(rows=st.lists(ROW, max_size=25), iou=st.sampled_from([0.2, 0.6]))
def test_suppression_equals_the_slow_loop(rows, iou):
    proposals = segments(rows)
    kept: list[int] = []
    for i in np.argsort(-proposals.confidence, kind="stable").tolist():
        rivals = [
            j for j in kept if (proposals.video[j], proposals.label[j]) == (proposals.video[i], proposals.label[i])
        ]
        if all(overlaps(proposals.seconds[[i]], proposals.seconds[[j]])[0, 0] <= iou for j in rivals):
            kept.append(i)
    np.testing.assert_array_equal(suppress(proposals, iou=iou).confidence, proposals.confidence[kept])


def test_a_video_keeps_its_most_confident_proposals():
    proposals = Segments.of([(video, 1, i, i + 1, i / 10 + video) for video in (0, 1) for i in range(4)])
    np.testing.assert_allclose(sorted(strongest(proposals, limit=2).confidence), [0.2, 0.3, 1.2, 1.3])


def peeled_precision(confidence: np.ndarray, matched: list[int], num_true: int) -> float:
    """The authors' way: take the weakest proposal away again and again, and add the recall it cost.

    `matched`: the true segment of each proposal, -1 for none.
    """
    left = [matched[i] for i in np.argsort(confidence, kind="stable")]
    area, best = 0.0, 0.0
    while left:
        covered = {truth for truth in left if truth >= 0}
        best = max(best, len(covered) / len(left))
        removed = left.pop(0)
        if removed >= 0 and removed not in left:
            area += best / num_true
    return area


@given(
    found=st.lists(ROW, min_size=1, max_size=20),
    true=st.lists(ROW, min_size=1, max_size=6),
    iou=st.sampled_from([0.1, 0.5]),
)
def test_precision_equals_the_authors_peeling(found, true, iou):
    proposals = segments([(v, 1, a, d) for v, _, a, d in found])
    truth = segments([(v, 1, a, d) for v, _, a, d in true], distinct=False)
    overlap = overlaps(proposals.seconds, truth.seconds) * (proposals.video[:, None] == truth.video[None])
    matched = [int(row.argmax()) if row.max() >= iou else -1 for row in overlap]
    right, _ = right_proposals(proposals, truth, iou)
    assert interpolated_precision(right, len(truth)) == pytest.approx(
        peeled_precision(proposals.confidence, matched, len(truth))
    )


def test_a_second_proposal_for_one_true_segment_is_wrong_and_another_videos_segment_is_not_hit():
    truth = Segments.of([(0, 1, 0, 10, 1), (1, 1, 20, 30, 1)])
    proposals = Segments.of([(0, 1, 0, 9, 0.9), (0, 1, 1, 10, 0.8), (0, 1, 20, 30, 0.7)])
    right, confidence = right_proposals(proposals, truth, 0.5)
    assert right.tolist() == [True, False, False]
    np.testing.assert_allclose(confidence, [0.9, 0.8, 0.7])


def test_scores_are_means_over_the_classes_that_occur():
    truth = Segments.of([(0, 1, 0, 10, 1), (0, 2, 10, 20, 1)])
    proposals = Segments.of([(0, 1, 0, 6, 0.9), (0, 3, 0, 10, 0.8)])
    scores = localisation_scores(proposals, truth, thresholds=(50, 70))
    assert scores == {"map@50": 0.5, "recall@50": 0.5, "map@70": 0.0, "recall@70": 0.0}


def test_the_mean_over_the_classes_table_is_the_score():
    truth = Segments.of([(0, 1, 0, 10, 1), (0, 2, 10, 20, 1), (1, 2, 0, 5, 1)])
    proposals = Segments.of([(0, 1, 0, 6, 0.9), (1, 2, 0, 5, 0.8), (0, 2, 0, 5, 0.95)])
    table = class_precisions(proposals, truth, 0.5)
    assert table == {1: 1.0, 2: 0.25}
    assert localisation_scores(proposals, truth, thresholds=(50,))["map@50"] == np.mean(list(table.values()))


def test_perfect_proposals_score_one_and_none_score_zero():
    truth = Segments.of([(v, c, 10 * c, 10 * c + 5, 1) for v in (0, 1) for c in (1, 2)])
    assert set(localisation_scores(truth, truth).values()) == {1.0}
    assert set(localisation_scores(Segments.of([]), truth).values()) == {0.0}
    assert set(localisation_scores(truth, Segments.of([])).values()) == {0.0}


def test_proposals_of_clear_scores_are_the_actions():
    seconds = np.stack([np.arange(20.0), np.arange(20.0) + 1], axis=1)
    scores = np.full((20, 4), 0.01)
    scores[:, 0] = 0.9
    scores[3:8, 2], scores[12:15, 1] = 0.8, 0.7
    best = strongest(propose(7, seconds, scores), limit=2)
    assert best.video.tolist() == [7, 7]
    assert [(int(label), *span) for label, span in zip(best.label, best.seconds.tolist(), strict=True)] == [
        (2, 3.0, 8.0),
        (1, 12.0, 15.0),
    ]
    assert 0 not in propose(7, seconds, scores).label  # background is not a step


@given(data=st.data(), num_clips=st.integers(1, 12), outputs=st.integers(2, 5))
def test_proposals_of_any_scores_lie_in_the_video_and_do_not_cover_each_other(data, num_clips, outputs):
    values = st.lists(st.floats(0, 1, width=32), min_size=num_clips * outputs, max_size=num_clips * outputs)
    scores = np.array(data.draw(values), np.float64).reshape(num_clips, outputs)
    seconds = np.stack([np.arange(num_clips) * 2.0, np.arange(num_clips) * 2.0 + 2], axis=1)
    found = propose(0, seconds, scores)
    assert len(found) <= 60
    assert (found.seconds[:, 0] < found.seconds[:, 1]).all()
    assert len(found) == len(suppress(found))
    assert set(found.label.tolist()) <= set(range(1, outputs))
