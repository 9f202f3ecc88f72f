"""Evaluation scores what was trained, beside a baseline that ignores the video, and counts its videos."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from rounding import rounding

from longvid.errors import AnnotationError, ConfigError, WeightsError
from longvid.files import read_json
from longvid.metrics.localisation import Segments, localisation_scores
from longvid.metrics.videos import true_segments
from longvid.pipelines.cli.main import main
from longvid.pipelines.evaluation.evaluate import EvaluationResult, evaluate, open_run_store, trained_decoder
from longvid.pipelines.evaluation.prediction_files import refuse_frame_labels
from longvid.pipelines.training.run_folder import RunFolder
from longvid.pipelines.training.train import train
from longvid.stores import FeatureStore
from longvid.tasks import Manifest

ROUNDING = rounding(np.float32, terms=64, layers=4)
"""Rounding of probabilities, which the decoder computes in float32."""


def predictions(folder, ending: str = "csv") -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "run" / "evaluation" / f"test-predictions.{ending}").read_text().splitlines()))


def test_the_numbers_are_those_of_the_decoder_applied_video_by_video(make_data, recipe_for):
    data = make_data()
    train(recipe_for(data, window={"clips": 8, "stride": 2}, eval_batch_size=3))
    result = evaluate(data / "run")
    run = RunFolder(data / "run")
    decoder, store = trained_decoder(run, run.record(), 0), FeatureStore.open(data / "features.zarr")
    right = []
    for row in run.manifest().split("test"):
        tokens = torch.from_numpy(store.video(row.key).read(0, 16).astype(np.float32)).flatten(0, 1)
        windows = [decoder(tokens[None, first : first + 8]).softmax(-1)[0] for first in (0, 2, 4, 6, 8)]
        right.append(("a-then-b", "b-then-a")[int(sum(windows).argmax())] == row.label)
    assert result.metrics["accuracy"].mean == np.mean(right)
    assert (result.windows, result.evaluated, result.coverage) == (40, 8, "all 8 videos")
    assert np.trace(result.confusion) == sum(right)


def test_batching_and_workers_change_no_prediction(make_data, recipe_for):
    data = make_data({"train": 8, "val": 4, "test": 6})
    train(recipe_for(data, window={"clips": 8}))
    evaluate(data / "run", batch_size=1)
    one_by_one = predictions(data)
    evaluate(data / "run", batch_size=5)
    for one, other in zip(one_by_one, predictions(data), strict=True):
        assert one["predicted"] == other["predicted"]
        assert float(one["score a-then-b"]) == pytest.approx(
            float(other["score a-then-b"]), abs=1e-6 + ROUNDING
        )  # six digits are written


def test_seeds_are_averaged_and_each_is_kept(make_data, recipe_for):
    data = make_data({"train": 8, "val": 4, "test": 8})
    train(recipe_for(data, seeds=[0, 3], epochs=5))
    result = evaluate(data / "run")
    accuracies = [seed.metrics["accuracy"] for seed in result.seeds]
    assert [seed.seed for seed in result.seeds] == [0, 3]
    assert result.metrics["accuracy"].mean == np.mean(accuracies)
    assert result.metrics["accuracy"].std == pytest.approx(np.std(accuracies, ddof=1))
    assert np.sum(result.confusion) == 16
    by_seed = {seed: [r for r in predictions(data) if r["seed"] == str(seed)] for seed in (0, 3)}
    counted = [np.mean([r["target"] == r["predicted"] for r in rows]) for rows in by_seed.values()]
    assert counted == accuracies


def test_the_written_result_reads_back_equal(make_data, recipe_for):
    data = make_data({"train": 8, "val": 4, "test": 4})
    train(recipe_for(data))
    result = evaluate(data / "run")
    assert EvaluationResult.from_dict(read_json(data / "run" / "evaluation" / "test.json")) == result


def test_the_baseline_is_the_most_frequent_training_class_whatever_the_test_holds(make_data, recipe_for):
    data = make_data({"train": 9, "val": 4, "test": 8})
    train(recipe_for(data))
    result = evaluate(data / "run")
    assert result.baseline["accuracy"] == 0.5
    assert "always 'a-then-b'" in result.baseline_answer


def test_missing_videos_are_an_error_or_counted(make_data, recipe_for):
    data = make_data({"train": 8, "val": 4, "test": 4})
    train(recipe_for(data))
    FeatureStore.open(data / "features.zarr", mode="a").delete("test/2")
    with pytest.raises(AnnotationError, match=r"1 of 4 test videos are not complete in .*: 'test/2'"):
        evaluate(data / "run")
    result = evaluate(data / "run", allow_missing=True)
    assert (result.coverage, result.missing) == ("3 of 4 videos", ("test/2",))
    assert {row["key"] for row in predictions(data)} == {"test/0", "test/1", "test/3"}


def test_features_made_in_another_way_are_refused_with_the_difference(make_data, recipe_for, toy_recipe):
    data = make_data({"train": 8, "val": 4, "test": 4})
    train(recipe_for(data))
    other = toy_recipe.model_copy(update={"pooling": "spatial"})
    FeatureStore.create(data / "other.zarr", other)
    with pytest.raises(ConfigError, match=r"pooling: 'mean' != 'spatial'|pooling: mean != spatial|pooling"):
        evaluate(data / "run", store=str(data / "other.zarr"))
    assert open_run_store(RunFolder(data / "run").record()).recipe == toy_recipe


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_predictions_come_in_the_format_asked_for(make_data, recipe_for, ending):
    data = make_data({"train": 8, "val": 4, "test": 4})
    train(recipe_for(data))
    evaluate(data / "run", predictions=ending)
    rows = Manifest.read(data / "run" / "evaluation" / f"test-predictions.{ending}").rows
    assert [row.key for row in rows] == ["test/0", "test/1", "test/2", "test/3"]


@pytest.mark.parametrize(
    ("label", "task", "metric"),
    [
        (lambda order: float(order), {}, "mse"),
        (lambda order: [("a", "b")[order], "always"], {}, "mean_average_precision"),
        (lambda order: [[0, 8, order], [8, 16, 1 - order]], {"kind": "dense", "classes": ["x", "y"]}, "clip_accuracy"),
    ],
    ids=["regression", "multilabel", "dense"],
)
def test_other_kinds_of_tasks_are_scored(make_data, recipe_for, label, task, metric):
    data = make_data({"train": 8, "val": 4, "test": 6}, label=label)
    train(recipe_for(data, task=task, window={"clips": 12}))
    result = evaluate(data / "run")
    assert metric in result.metrics
    assert metric in result.baseline
    assert len(predictions(data)) == (6 * 16 if metric == "clip_accuracy" else 6)
    assert len(result.timelines) == 6


@pytest.fixture
def segmented(make_data, recipe_for):
    """A run that tells two classes apart along videos, whose labels end before the videos do."""
    data = make_data({"train": 8, "val": 4, "test": 4}, label=lambda order: [[0, 8, "xy"[order]], [8, 14, "yx"[order]]])
    metrics = ["mof", "edit", "f1@50", "map@50", "clip_accuracy"]
    task = {"kind": "dense", "classes": ["x", "y"], "labels_per_second": 2.0, "metrics": metrics}
    train(recipe_for(data, task=task, window={"clips": 12, "stride": 4}, epochs=4))
    return data


def test_predictions_of_a_segmentation_say_when(segmented):
    result = evaluate(segmented / "run")
    rows = predictions(segmented)
    first = [row for row in rows if row["key"] == "test/0"]
    assert [(float(row["start_seconds"]), float(row["end_seconds"])) for row in first] == [
        (i, i + 1) for i in range(len(first))
    ]
    assert [row["target"] for row in first] == ["x"] * 8 + ["y"] * 6 + [""] * 2
    right = [row["target"] == row["predicted"] for row in rows if row["target"]]
    assert np.mean(right) == result.metrics["clip_accuracy"].mean
    assert result.predictions == (str(segmented / "run" / "evaluation" / "test-predictions.csv"),)


def test_segments_in_json_hold_what_localisation_ranks(segmented):
    result = evaluate(segmented / "run", predictions="json")
    written = read_json(segmented / "run" / "evaluation" / "test-segments-seed-0.json")
    run = RunFolder(segmented / "run")
    rows, task = run.manifest().split("test"), run.record().the_task()
    proposals = Segments.of(
        (number, task.classes.index(one["label"]), *one["segment"], one["score"])
        for number, row in enumerate(rows)
        for one in written["results"][row.key]
    )
    truth = Segments.join([true_segments(number, row, task) for number, row in enumerate(rows)])
    found = localisation_scores(proposals, truth, thresholds=[50])
    assert found["map@50"] == pytest.approx(result.metrics["map@50"].mean, abs=1e-4)  # confidences have six digits


def test_the_text_of_mstcn_gives_its_own_script_the_accuracy_that_was_printed(segmented):
    result = evaluate(segmented / "run", predictions="mstcn")
    (folder,) = (Path(path) for path in result.predictions)
    right = total = 0
    for row in RunFolder(segmented / "run").manifest().split("test"):
        content = (folder / row.key).read_text().split("\n")[1].split()  # as MS-TCN's eval.py reads a file
        (_, middle, first), (_, end, second) = row.label
        true = [first] * (middle * 2) + [second] * ((end - middle) * 2)
        assert len(content) == len(true)
        right, total = right + sum(a == b for a, b in zip(content, true, strict=True)), total + len(true)
    assert result.metrics["mof"].mean == right / total


def test_a_format_that_cannot_hold_the_predictions_is_refused_before_the_work(make_data, recipe_for):
    data = make_data({"train": 8, "val": 4, "test": 4})
    train(recipe_for(data, decoder={"name": "mean-linear"}, epochs=1))
    with pytest.raises(ConfigError, match=r"predictions=json is for dense tasks, 'labels' is a classification"):
        evaluate(data / "run", predictions="json")
    refuse_frame_labels(["pour_milk"], 15.0, "p.txt")
    with pytest.raises(ConfigError, match=r"p\.txt: spaces separate the labels, but the class 'pour milk' holds one"):
        refuse_frame_labels(["pour milk"], 15.0, "p.txt")
    with pytest.raises(ConfigError, match=r"train with task\.labels_per_second"):
        refuse_frame_labels(["pour_milk"], None, "p.txt")


def test_the_command_says_a_metric_by_one_name_and_in_percent(segmented, capsys):
    with pytest.raises(SystemExit):
        main(["evaluate", str(segmented / "run")])
    out = capsys.readouterr().out
    (shown,) = re.findall(
        r"^frame accuracy \(MoF\) +([0-9.]+) % +[0-9.]+ - [0-9.]+ % +[0-9.]+ %$", out, flags=re.MULTILINE
    )
    assert float(shown) == pytest.approx(
        100 * read_json(segmented / "run" / "evaluation" / "test.json")["seeds"][0]["metrics"]["mof"], abs=0.05
    )
    assert "mof" not in out.split()


def test_a_timeline_covers_the_video_and_ends_with_the_videos_own_score(make_data, recipe_for):
    data = make_data({"train": 8, "val": 4, "test": 4})
    train(recipe_for(data))
    lines = evaluate(data / "run").timelines
    scores = {row["key"]: float(row["score a-then-b"]) for row in predictions(data)}
    assert len(lines) == 4
    for line in lines:
        assert line.timeline["kind"] == "so far"
        assert (line.timeline["seconds"][0][0], line.timeline["seconds"][-1][1]) == (0, 16)
        assert line.timeline["scores"][-1][0] == pytest.approx(scores[line.key], abs=1e-3)


def test_runs_keep_timelines_of_the_same_videos_and_of_two_wrong_ones(make_data, recipe_for):
    data = make_data({"train": 8, "val": 4, "test": 20})
    kept = []
    for seed in (0, 1):
        train(recipe_for(data, out=str(data / f"run{seed}"), seeds=[seed], epochs=1))
        kept.append({line.key for line in evaluate(data / f"run{seed}").timelines})
    assert {f"test/{i}" for i in range(6)} <= kept[0] & kept[1]
    assert all(len(keys) <= 8 for keys in kept)


def test_what_cannot_be_evaluated_is_named(make_data, recipe_for, tmp_path):
    data = make_data({"train": 8, "val": 4})
    with pytest.raises(ConfigError, match="holds no training run"):
        evaluate(tmp_path / "nowhere")
    train(recipe_for(data))
    with pytest.raises(AnnotationError, match=r"split 'test' lists no videos \(there are: train 8, val 4\)"):
        evaluate(data / "run")
    assert evaluate(data / "run", split="val").evaluated == 4
    with pytest.raises(ConfigError, match="predictions='xlsx' is not one of"):
        evaluate(data / "run", split="val", predictions="xlsx")
    (data / "run" / "seed-0" / "best.safetensors").write_bytes(b"no weights")
    with pytest.raises(WeightsError, match=r"best\.safetensors: not a safetensors file, or cut short"):
        evaluate(data / "run", split="val")
    (data / "run" / "seed-0" / "result.json").unlink()
    with pytest.raises(ConfigError, match="no seed is trained to the end"):
        evaluate(data / "run", split="val")


def test_the_table_of_classes_counts_a_video_once_whatever_the_number_of_seeds(make_data, recipe_for, capsys):
    data = make_data({"train": 8, "val": 4, "test": 6})
    train(recipe_for(data, decoder={"name": "mean-linear"}, epochs=1, seeds=[0, 1]))
    with pytest.raises(SystemExit):
        main(["evaluate", str(data / "run")])
    assert re.findall(r"^(a-then-b|b-then-a) +([0-9]+) ", capsys.readouterr().out, flags=re.MULTILINE) == [
        ("a-then-b", "3"),
        ("b-then-a", "3"),
    ]
