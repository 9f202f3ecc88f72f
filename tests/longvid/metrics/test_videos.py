"""Clip answers are laid onto frames and segments of the whole video's clock, and scored there."""

import numpy as np
import pytest

from longvid.errors import AnnotationError
from longvid.metrics.videos import ScoredVideo, frame_answers, true_segments, video_metrics
from longvid.tasks import ManifestRow, Task

SECONDS = np.stack([np.arange(5.0), np.arange(5.0) + 1], axis=1)
UNITS = Task("u", "dense", ("SIL", "pour", "stir"), labels_per_second=2.0)
STEPS = Task("s", "dense", ("background", "1", "2"), column="steps", labels_per_second=10.0)


def sure_of(*classes: int, outputs: int = 3) -> np.ndarray:
    return np.eye(outputs)[list(classes)]


def test_a_frame_has_the_answer_of_the_nearest_clip():
    answers = frame_answers(SECONDS, np.array([5, 6, 7, 8, 9]), num_frames=12, rate=2.0)
    assert answers.tolist() == [5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 9, 9]
    late = frame_answers(SECONDS + 3, np.array([5, 6, 7, 8, 9]), num_frames=6, rate=1.0)
    assert late.tolist() == [5, 5, 5, 5, 6, 7]


def test_frames_are_scored_where_there_are_labels_and_no_further(tmp_path):
    (tmp_path / "a.txt").write_text("SIL\nSIL\npour\npour\npour\nstir\n")  # three of five seconds
    video = ScoredVideo(ManifestRow("a", label_path=str(tmp_path / "a.txt")), SECONDS, sure_of(0, 1, 2, 0, 0))
    scores = video_metrics(("mof", "edit", "f1@50"), [video], UNITS)
    assert scores == {"mof": 5 / 6, "edit": 1.0, "f1@50": 1.0}


def test_segments_are_scored_in_seconds_and_background_is_no_step():
    row = ManifestRow("a", extra={"steps": [[0.0, 2.0, 1], [3.0, 5.0, 2]], "duration_seconds": 5.0})
    right = ScoredVideo(row, SECONDS, sure_of(1, 1, 0, 2, 2))
    late = ScoredVideo(row, SECONDS, sure_of(0, 0, 1, 2, 2))
    assert video_metrics(("map@50", "recall@50", "mof"), [right], STEPS) == {
        "map@50": 1.0,
        "recall@50": 1.0,
        "mof": 1.0,
    }
    assert video_metrics(("map@50", "recall@50"), [late], STEPS) == {"map@50": 0.5, "recall@50": 0.5}
    assert true_segments(0, row, STEPS).label.tolist() == [1, 2]


def test_label_files_have_segments_too(tmp_path):
    (tmp_path / "a.txt").write_text("SIL\nSIL\npour\npour\n")
    found = true_segments(3, ManifestRow("a", label_path=str(tmp_path / "a.txt")), UNITS)
    assert found.seconds.tolist() == [[0.0, 1.0], [1.0, 2.0]]
    assert found.video.tolist() == [3, 3]


def test_a_task_without_a_rate_cannot_be_scored_by_frames():
    task = Task("s", "dense", ("background", "1"), column="steps")
    video = ScoredVideo(ManifestRow("a", extra={"steps": []}), SECONDS, sure_of(0, 0, 0, 0, 0, outputs=2))
    with pytest.raises(AnnotationError, match="must state labels_per_second"):
        video_metrics(("mof",), [video], task)
