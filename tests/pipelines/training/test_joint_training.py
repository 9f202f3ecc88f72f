"""One decoder for several tasks: losses count labels, selection counts skill, and each part is a run of its own."""

import numpy as np
import pytest
import torch
from rounding import assert_same_numbers
from torch.nn import functional

from longvid.benchmarks.lvu.annotations import LVU_TASKS
from longvid.errors import AnnotationError, ConfigError
from longvid.pipelines.evaluation.evaluate import evaluate
from longvid.pipelines.training.joint import joint_loss, joint_metrics, part_folders, skill
from longvid.pipelines.training.run_folder import RunFolder
from longvid.pipelines.training.train import train
from longvid.tasks import Manifest, Task
from longvid.tasks.joint import JointTask
from longvid.trained import load_trained

SCENE, VIEWS = LVU_TASKS["scene"], LVU_TASKS["view_count"]
BOTH = JointTask.of("both", (SCENE, VIEWS), column="joint_labels")


def test_the_loss_is_the_mean_over_the_labels_that_are_there():
    logits = torch.randn(3, 7, requires_grad=True)
    targets = torch.tensor([[2.0, torch.nan], [torch.nan, 0.5], [1.0, -1.0]])
    loss = joint_loss(logits, targets, BOTH)
    parts = [
        functional.cross_entropy(logits[[0, 2], :6], torch.tensor([2, 1]), reduction="sum"),
        functional.mse_loss(logits[[1, 2], 6], torch.tensor([0.5, -1.0]), reduction="sum"),
    ]
    torch.testing.assert_close(loss, sum(parts) / 4)
    loss.backward()
    assert logits.grad is not None
    assert not logits.grad[0, 6]  # no label, no gradient
    assert not logits.grad[1, :6].any()


def test_skill_is_zero_for_not_looking_and_one_for_all_right():
    assert skill(0.5, 0.5, SCENE) == 0.0
    assert skill(1.0, 0.5, SCENE) == 1.0
    assert skill(0.75, 0.5, SCENE) == pytest.approx(0.5)
    assert skill(0.0, 4.0, VIEWS) == 1.0
    assert skill(8.0, 4.0, VIEWS) == -1.0


def test_metrics_of_a_part_rest_on_its_own_videos():
    windows = np.zeros((3, 7))
    windows[0, 2] = windows[1, 4] = 9.0
    windows[:, 6] = [1.0, 3.0, 5.0]
    targets = np.array([[2.0, np.nan], [np.nan, 4.0]], np.float32)  # video 1 has two windows, their mean is 4
    trained = np.array([[0.0, 0.0], [2.0, 2.0]], np.float32)
    found = joint_metrics(windows, np.array([0, 1, 1]), targets, trained, BOTH)
    assert found["scene/accuracy"] == 1.0
    assert found["view_count/mse"] == 0.0
    assert found["skill"] == 1.0


@pytest.fixture
def joint_data(make_data):
    """Toy videos whose order of events is a scene (0 or 1) and a number of views (1000 or a million)."""
    folder = make_data({"train": 16, "val": 8, "test": 8})
    manifest = Manifest.read(folder / "manifest.jsonl")
    rows = []
    for index, row in enumerate(manifest):
        order = int(row.label == "b-then-a")
        labels = {"scene": order, "view_count": (1000, 1_000_000)[order]}
        counting = labels if index % 3 else {"scene": order}
        rows.append(type(row)(row.key, split=row.split, extra=labels | {"joint_labels": counting}))
    Manifest(tuple(rows)).write(folder / "manifest.jsonl")
    return folder


JOINT = {"joint": ["lvu/scene", "lvu/view_count"], "task": {"name": "toy", "column": "joint_labels"}}


def test_each_part_of_a_joint_run_is_evaluated_as_a_run_of_its_own(joint_data, recipe_for):
    config = recipe_for(joint_data, epochs=3, seeds=[0, 1], standardise=True, **JOINT)
    result = train(config)
    assert set(result.validation) >= {"skill", "scene/accuracy", "view_count/mse"}
    folders = part_folders(config.out)
    assert [folder.name for folder in folders] == ["scene", "view_count"]
    scene, views = (evaluate(folder) for folder in folders)
    assert (scene.listed, views.listed) == (8, 5)  # a third of the videos has no count of views
    assert list(views.metrics) == ["mse", "mae"]
    validation = evaluate(folders[0], split="val")
    assert validation.metrics["accuracy"].mean == pytest.approx(result.validation["scene/accuracy"].mean)


def test_a_parts_weights_are_the_shared_decoders(joint_data, recipe_for):
    config = recipe_for(joint_data, epochs=1, **JOINT)
    train(config)
    whole = RunFolder(joint_data / "run")
    shared = whole.record().decoder.build()
    load_trained(whole.seed(0).weights_file, shared, sha256=None)
    part = RunFolder(joint_data / "run" / "view_count")
    decoder = part.record().decoder.build()
    load_trained(part.seed(0).weights_file, decoder, sha256=None)
    tokens = torch.randn(2, 16, 4)
    assert_same_numbers(decoder.eval()(tokens), shared.eval()(tokens)[:, 6:7], terms=64, layers=4)


def test_the_joint_folder_itself_is_not_evaluated(joint_data, recipe_for):
    config = recipe_for(joint_data, epochs=1, **JOINT)
    train(config)
    with pytest.raises(ConfigError, match="has several tasks; evaluate its parts"):
        evaluate(config.out)


def test_a_part_nobody_validates_on_is_named(joint_data, recipe_for):
    manifest = Manifest.read(joint_data / "manifest.jsonl")
    rows = [
        type(row)(row.key, split=row.split, extra=row.extra | {"joint_labels": {"scene": row.extra["scene"]}})
        if row.split == "val"
        else row
        for row in manifest
    ]
    Manifest(tuple(rows)).write(joint_data / "manifest.jsonl")
    with pytest.raises(AnnotationError, match="no validation video in the store has a label of lvu/view_count"):
        train(recipe_for(joint_data, epochs=1, **JOINT))


@pytest.mark.faults
def test_an_interrupted_joint_run_goes_on(joint_data, recipe_for):
    train(recipe_for(joint_data, epochs=2, seeds=[0], **JOINT))
    again = train(recipe_for(joint_data, epochs=2, seeds=[0, 1], **JOINT))
    assert len(again.seeds) == 2
    assert len(RunFolder(joint_data / "run" / "scene").trained_seeds()) == 2


def test_a_dense_task_is_no_part():
    with pytest.raises(ConfigError, match="d is not one"):
        JointTask.of("x", (SCENE, Task("d", "dense", ("a", "b"), column="d")), column="c")
