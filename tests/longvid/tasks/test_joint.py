"""A joint task takes the labels that count, each where its task's outputs are, and no others."""

import numpy as np
import pytest

from longvid.benchmarks.lvu.annotations import LVU_TASKS
from longvid.errors import AnnotationError, ConfigError
from longvid.tasks import ManifestRow, Task
from longvid.tasks.joint import JointTask

SCENE, VIEWS = LVU_TASKS["scene"], LVU_TASKS["view_count"]
BOTH = JointTask.of("both", (SCENE, VIEWS), column="joint_labels")


def row(**extra) -> ManifestRow:
    return ManifestRow("v", extra=extra, source="list.jsonl:3")


def test_outputs_lie_one_after_the_other():
    assert BOTH.outputs == 7
    assert BOTH.columns() == [slice(0, 6), slice(6, 7)]
    assert BOTH.metrics[0] == "skill"
    assert {"scene/accuracy", "view_count/mse"} <= set(BOTH.metrics)


def test_a_label_that_does_not_count_here_is_not_looked_at():
    targets = BOTH.target(row(scene=3, view_count=1000, joint_labels={"view_count": 1000}))
    assert np.isnan(targets[0])
    assert targets[1] == pytest.approx(VIEWS.target(row(view_count=1000))[0])
    assert BOTH.target(row(scene=3, joint_labels={"scene": 3})).tolist()[0] == 3


def test_a_video_without_labels_and_a_wrong_label_are_named():
    with pytest.raises(AnnotationError, match=r"list\.jsonl:3: no labels of any task"):
        BOTH.target(row(scene=3, joint_labels={}))
    with pytest.raises(AnnotationError, match=r"list\.jsonl:3: class 9 is not among"):
        BOTH.target(row(scene=9, joint_labels={"scene": 9}))


def test_a_task_along_the_video_and_two_tasks_of_one_column_cannot_be_joined():
    dense = Task("d", "dense", ("a", "b"), column="d")
    for parts in ((SCENE, dense), (SCENE, SCENE), (SCENE,)):
        with pytest.raises(ConfigError, match="needs two or more classifications and regressions"):
            JointTask.of("both", parts, column="joint_labels")
