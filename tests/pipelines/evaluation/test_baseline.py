"""The linear baseline sees what pooling keeps and no more, on the videos and splits a decoder would get."""

import json
from dataclasses import replace

import pytest

from longvid.errors import AnnotationError, ConfigError
from longvid.pipelines.evaluation import linear_models
from longvid.pipelines.evaluation.baseline import baseline
from longvid.pipelines.evaluation.linear_models import CLIP_POOLINGS
from longvid.pipelines.training.data import open_training_data
from longvid.stores import FeatureStore

UNEVEN = {"train": 24, "val": 8, "test": 9}


def test_order_of_events_is_a_guess_for_the_linear_baseline(make_data, recipe_for):
    result = baseline(recipe_for(make_data({"train": 120, "val": 40, "test": 60})))
    assert 0.3 < result.metrics["accuracy"] < 0.7
    assert (result.train, result.val, result.evaluated) == (120, 40, 60)


def test_what_the_mean_tells_is_found_and_beats_the_answer_that_never_looks(make_data, recipe_for):
    folder = make_data(UNEVEN)
    store = FeatureStore.open(folder / "features.zarr", mode="a")
    for key in list(store.keys()):
        video = store.video(key)
        tokens, seconds = video.read(0, 16), video.seconds
        tokens[..., 3] += 2.0 * (int(key.split("/")[1]) % 2)
        store.delete(key)
        store.plan(key, seconds, {})
        store.write_shard(key, 0, tokens)
        store.complete(key)
    result = baseline(recipe_for(folder))
    assert result.metrics["accuracy"] == 1.0
    assert result.constant["accuracy"] == pytest.approx(5 / 9)


@pytest.mark.parametrize(
    ("label", "metric"),
    [(lambda order: 1.5 + order, "mse"), (lambda order: [("a", "b")[order], "always"], "mean_average_precision")],
    ids=["regression", "multilabel"],
)
def test_values_and_labels_have_a_baseline_too(make_data, recipe_for, label, metric):
    result = baseline(recipe_for(make_data(UNEVEN, label=label)))
    assert metric in result.metrics
    assert metric in result.constant


def test_a_split_without_videos_is_refused(make_data, recipe_for):
    folder = make_data({"train": 8, "val": 4})
    with pytest.raises(AnnotationError, match="no video of split 'test'"):
        baseline(recipe_for(folder))


def test_a_dense_task_has_a_baseline_of_its_clips_that_beats_the_constant_answer(make_data, recipe_for):
    folder = make_data(UNEVEN, label=lambda order: [[0, 8, order], [8, 16, 1 - order]])
    store = FeatureStore.open(folder / "features.zarr", mode="a")
    for key in list(store.keys()):
        video, order = store.video(key), int(key.split("/")[1]) % 2
        tokens, seconds = video.read(0, 16), video.seconds
        tokens[:8, :, 3] += 3.0 * order
        tokens[8:, :, 3] += 3.0 * (1 - order)
        store.delete(key)
        store.plan(key, seconds, {})
        store.write_shard(key, 0, tokens)
        store.complete(key)
    task = {"kind": "dense", "classes": ["x", "y"], "labels_per_second": 2.0, "metrics": ["mof", "edit", "f1@50"]}
    result = baseline(recipe_for(folder, task=task))
    assert result.metrics["mof"] > 0.9
    assert 0.4 < result.constant["mof"] < 0.6
    assert result.pooling in CLIP_POOLINGS
    assert (result.train, result.val, result.evaluated) == (24, 8, 9)


def test_more_clips_than_can_be_fitted_are_thinned_evenly_and_said(make_data, recipe_for, monkeypatch):
    folder = make_data(UNEVEN, label=lambda order: [[0, 8, order], [8, 16, 1 - order]])
    monkeypatch.setattr(linear_models, "MOST_CLIPS", 100)
    result = baseline(recipe_for(folder, task={"kind": "dense", "classes": ["x", "y"]}))
    assert result.notes[-1] == "Fitted on one in 4 of 384 labelled clips."


def test_several_tasks_at_once_have_no_baseline(make_data, recipe_for, monkeypatch):
    folder = make_data(UNEVEN)
    data = open_training_data(recipe_for(folder))
    joint = replace(data, task=replace(data.task, kind="joint"))
    monkeypatch.setattr("longvid.pipelines.evaluation.baseline.open_training_data", lambda _: joint)
    with pytest.raises(ConfigError, match="is joint; a linear model is for"):
        baseline(recipe_for(folder))


def test_the_command_prints_the_scores_and_what_they_rest_on(make_data, command):
    folder = make_data(UNEVEN)
    words = ["baseline", f"store={folder}/features.zarr", f"manifest={folder}/manifest.jsonl", "out=run"]
    status, out, err = command(*words)
    assert status == 0, err
    assert "9 videos of test; fitted on 24, chosen on 8" in out
    status, out, _ = command(*words, "--json", "--split", "val")
    assert status == 0
    assert json.loads(out)["metrics"] == json.loads(out)["validation"]
