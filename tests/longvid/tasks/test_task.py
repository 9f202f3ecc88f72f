"""A label means one thing or is refused: never a wrong class."""

import json
import math

import numpy as np
import pytest

from longvid.errors import AnnotationError, ConfigError
from longvid.plain import as_json
from longvid.tasks.frame_labels import UNLABELLED, clip_labels
from longvid.tasks.manifest import Manifest, ManifestRow
from longvid.tasks.task import LabelTransform, Task, infer_task

DISHES = Task("dish", "classification", ("cereals", "coffee", "tea"))


def manifest(*labels) -> Manifest:
    return Manifest(tuple(ManifestRow(f"v{i}", split="train", label=label) for i, label in enumerate(labels)))


@pytest.mark.parametrize("label", ["coffee", 1, 1.0])
def test_a_class_is_meant_by_name_or_by_number(label):
    assert DISHES.target(ManifestRow("v", label=label)) == 1


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("cofee", "did you mean 'coffee'"),
        ("juice", "is not a class of task 'dish'"),
        (3, "class 3 is not among the 3"),
        (-1, "class -1 is not among the 3"),
        (1.5, "neither a class name nor a class number"),
        (["coffee"], "neither a class name nor a class number"),
        (None, "no 'label' for task 'dish'"),
    ],
)
def test_a_label_that_is_no_class_is_refused_with_its_place(label, message):
    with pytest.raises(AnnotationError, match=message) as caught:
        DISHES.target(ManifestRow("v", label=label, source="list.csv:7"))
    assert str(caught.value).startswith("list.csv:7: ")


def test_a_label_may_stand_in_any_column():
    task = Task("scene", classes=("office", "hotel"), column="scene")
    assert task.target(ManifestRow("v", label="ignored", extra={"scene": "hotel"})) == 1


def test_several_labels_become_flags_and_flags_are_refused():
    task = Task("genre", "multilabel", ("comedy", "action", "romance"))
    np.testing.assert_array_equal(task.target(ManifestRow("v", label=["romance", 0])), [1, 0, 1])
    np.testing.assert_array_equal(task.target(ManifestRow("v", label=[])), [0, 0, 0])
    with pytest.raises(AnnotationError, match="not 0/1 flags"):
        task.target(ManifestRow("v", label=[1, 0, 1]))


def test_a_regression_target_is_the_transformed_label_and_goes_back():
    views = Task("views", "regression", transform=LabelTransform("log", shift=-11.76425435683139))
    target = views.target(ManifestRow("v", label=1_000_000))
    assert target[0] == pytest.approx(math.log(1e6) - 11.76425435683139)
    assert views.transform.inverse(target)[0] == pytest.approx(1e6, rel=1e-5)
    with pytest.raises(AnnotationError, match="has no logarithm"):
        views.target(ManifestRow("v", label=0))


def test_a_task_survives_json():
    for task in (DISHES, Task("views", "regression", transform=LabelTransform("log", 2.0, 1.0))):
        assert Task.from_dict(json.loads(json.dumps(as_json(task)))) == task


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "clasification"}, "is not one of classification"),
        ({"classes": ("one",)}, "at least two classes"),
        ({"classes": ("a", "a")}, "named twice"),
        ({"kind": "regression", "classes": ("a", "b")}, "a regression has no classes"),
        ({"classes": ("a", "b"), "outputs": 3}, "outputs=3 but 2 classes"),
    ],
)
def test_an_impossible_task_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Task("t", **settings)


def test_a_misspelt_setting_is_refused_with_the_near_one():
    with pytest.raises(ConfigError, match="no setting 'clases'; did you mean 'classes'"):
        Task.from_dict({"name": "t", "clases": ["a", "b"]})


def test_labels_tell_their_task():
    assert infer_task(manifest("tea", "coffee", "tea")).classes == ("coffee", "tea")
    assert infer_task(manifest(0, 2, 1)).classes == ("0", "1", "2")
    assert infer_task(manifest(0.5, 2)).kind == "regression"
    assert infer_task(manifest(["a"], ["b", "a"])).kind == "multilabel"
    assert infer_task(manifest(None, "a", "b")).classes == ("a", "b")


@pytest.mark.parametrize("labels", [(3, 5, 7), (1, 2), ("a", 1), (None, None)])
def test_labels_that_could_mean_two_things_are_not_guessed(labels):
    with pytest.raises(AnnotationError):
        infer_task(manifest(*labels))


@pytest.mark.parametrize(
    "row", [ManifestRow("v", label_path="/labels.txt"), ManifestRow("v", label=[[0, 8, "pour"], [8, 9, "stir"]])]
)
def test_labels_along_videos_are_told_from_labels_of_videos(row):
    with pytest.raises(AnnotationError, match=r"labels lie along the videos; state task\.kind=dense"):
        infer_task(Manifest((row,)))


def test_the_odd_label_among_others_is_named_with_its_line():
    rows = [ManifestRow(f"v{i}", label=1.5, source=f"m.csv:{i}") for i in range(3)]
    odd = ManifestRow("odd", label="nan", source="m.csv:7")
    with pytest.raises(AnnotationError, match=r"m\.csv:7: 'label' is text here, 'nan', as in 1 of 4 rows; .* a number"):
        infer_task(Manifest((*rows, odd)))
    with pytest.raises(AnnotationError, match=r"'label' is a list of an unknown form"):
        infer_task(manifest([1.5], [2.5]))


SECONDS = np.stack([np.arange(6.0), np.arange(6.0) + 1], axis=1)
STEPS = Task("steps", "dense", ("background", "pour", "stir"), labels_per_second=2.0)


def test_segments_label_the_clips_whose_middle_they_hold():
    row = ManifestRow("v", label=[[0.6, 2.0, "pour"], [4, 5.4, 2]])
    np.testing.assert_array_equal(clip_labels(row, STEPS, SECONDS), [0, 1, 0, 0, 2, 0])


def test_frame_labels_are_read_at_their_rate_and_what_lies_beyond_is_unlabelled(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_bytes(b"\xef\xbb\xbfpour\r\npour\r\nstir\r\nstir\r\nstir\r\nbackground\r\n1\r\n")
    labels = clip_labels(ManifestRow("v", label_path=str(path)), STEPS, SECONDS)
    np.testing.assert_array_equal(labels, [1, 2, 0, UNLABELLED, UNLABELLED, UNLABELLED])


def test_class_names_of_frame_labels_may_hold_blanks_commas_and_any_script(tmp_path):
    task = Task("steps", "dense", ("cut, fine", "日本 語", "7 up"), labels_per_second=1.0)
    path = tmp_path / "labels.txt"
    path.write_text("cut, fine\n 日本 語 \r\n7 up\n2\n\n\n", encoding="utf-8")
    labels = clip_labels(ManifestRow("v", label_path=str(path)), task, SECONDS)
    np.testing.assert_array_equal(labels, [0, 1, 2, 2, UNLABELLED, UNLABELLED])


@pytest.mark.parametrize(("text", "line"), [("pour\n\nstir\n", 2), ("", 1), ("\n\n", 1)])
def test_an_empty_line_is_no_label_and_moves_no_other(tmp_path, text, line):
    path = tmp_path / "labels.txt"
    path.write_text(text)
    with pytest.raises(AnnotationError, match=rf"labels\.txt:{line}: is empty"):
        clip_labels(ManifestRow("v", label_path=str(path)), STEPS, SECONDS)


def test_an_unknown_frame_label_is_named_by_its_own_line(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("pour\nporu\n")
    with pytest.raises(
        AnnotationError, match=r"labels\.txt:2: 'poru' is not a class of task 'steps'; did you mean 'pour'"
    ):
        clip_labels(ManifestRow("v", label_path=str(path)), STEPS, SECONDS)


@pytest.mark.parametrize("label", [None, "pour", [[0, 1]], [[2, 1, "pour"]], [["a", 1, "pour"]], [[0, 1, "poru"]]])
def test_segments_that_make_no_sense_are_refused(label):
    with pytest.raises(AnnotationError, match=r"list\.csv:3"):
        clip_labels(ManifestRow("v", label=label, source="list.csv:3"), STEPS, SECONDS)
