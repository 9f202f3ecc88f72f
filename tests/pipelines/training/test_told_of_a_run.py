"""What training, evaluation and prediction tell of a run: its baseline, its missing seeds and videos."""

import json

import numpy as np
import pytest

from longvid.errors import AnnotationError, ConfigError
from longvid.files import read_json
from longvid.metrics.items import METRICS, baseline_scores, score
from longvid.pipelines.cli.main import main
from longvid.pipelines.evaluation.evaluate import EvaluationResult, evaluate
from longvid.pipelines.training.config import load_config
from longvid.pipelines.training.module import TrainingDiverged
from longvid.pipelines.training.results import Summary, TrainResult
from longvid.pipelines.training.run_folder import RunFolder
from longvid.pipelines.training.train import train
from longvid.stores import FeatureStore

POOLED = {"name": "mean-linear", "options": {}}


def run_cli(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0, capsys.readouterr().err
    return capsys.readouterr().out


def overrides(config) -> list[str]:
    return [f"{name}={getattr(config, name)}" for name in ("store", "manifest", "out")]


def test_evaluation_says_which_of_the_recipes_seeds_are_not_trained_to_the_end(make_data, recipe_for, capsys):
    data = make_data()
    config = recipe_for(data, decoder=POOLED, epochs=1, seeds=[0, 1, 2])
    train(config)
    assert evaluate(config.out).untrained_seeds == ()
    assert "not trained" not in run_cli(["evaluate", config.out], capsys)
    for seed in (0, 2):
        (data / "run" / f"seed-{seed}" / "result.json").unlink()
    result = evaluate(config.out)
    assert result.untrained_seeds == (0, 2)
    assert [seed.seed for seed in result.seeds] == [1]
    written = read_json(data / "run" / "evaluation" / "test.json")
    assert written["untrained_seeds"] == [0, 2]
    assert EvaluationResult.from_dict(written) == result
    said = run_cli(["evaluate", config.out], capsys)
    assert "note: 2 of 3 seeds not trained to the end, and not counted: 0, 2; run the same `longvid train`" in said


def test_training_prints_the_baseline_beside_every_validation_score(make_data, recipe_for, capsys):
    data = make_data({"train": 7, "val": 5, "test": 4})
    config = recipe_for(data, decoder=POOLED, epochs=1, seeds=[0, 1])
    result = train(config)
    train_labels, val_labels = np.arange(7) % 2, np.arange(5) % 2
    metrics = ("accuracy", "mean_class_accuracy", "macro_f1")
    expected = score(metrics, baseline_scores("classification", train_labels, 5, 2), val_labels)
    assert result.baseline == pytest.approx(expected)
    assert TrainResult.from_dict(read_json(data / "run" / "result.json")) == result
    (data / "recipe.yaml").write_text(config.to_yaml())
    said = run_cli(["train", str(data / "recipe.yaml")], capsys)
    lines = said.splitlines()
    begin = next(at for at, line in enumerate(lines) if line.startswith("metric"))  # after notes and hints
    header, *rows = lines[begin : begin + 4]
    assert header.split() == ["metric", "validation", "baseline"]
    for row, name in zip(rows, metrics, strict=True):
        assert row.startswith(METRICS[name].label)
        assert row.split()[-2:] == [f"{100 * expected[name]:.1f}", "%"]


@pytest.mark.parametrize(
    ("label", "task"),
    [
        (lambda i: float(i), {"kind": "regression"}),
        (lambda i: [[0, 8, "x"], [8, 16, ("x", "y")[i]]], {"kind": "dense", "classes": ["x", "y"]}),
        (
            lambda i: [[0, 8, "x"], [8, 16, ("x", "y")[i]]],
            {"kind": "dense", "classes": ["x", "y"], "metrics": ["mof", "edit", "f1@50"], "labels_per_second": 2},
        ),
    ],
    ids=["regression", "dense", "whole videos"],
)
def test_the_baseline_of_training_is_that_of_evaluation_on_the_same_videos(make_data, recipe_for, label, task):
    data = make_data({"train": 6, "val": 4, "test": 2}, label=label)
    decoder = {"name": "gru", "options": {"width": 4}} if task["kind"] == "dense" else POOLED
    config = recipe_for(data, task=task, decoder=decoder, epochs=1)
    result = train(config)
    assert result.baseline == pytest.approx(evaluate(config.out, split="val").baseline)
    assert set(result.baseline) == set(result.validation)


def test_training_says_how_many_of_the_listed_videos_took_part(make_data, recipe_for, capsys):
    data = make_data({"train": 8, "val": 4, "test": 2})
    store = FeatureStore.open(data / "features.zarr", mode="a")
    for key in ("train/1", "train/2", "val/3"):
        store.delete(key)
    config = recipe_for(data, decoder=POOLED, epochs=1, allow_missing=True)
    (data / "recipe.yaml").write_text(config.to_yaml())
    said = " ".join(run_cli(["train", str(data / "recipe.yaml")], capsys).split())
    assert "trained on 6 of 8 training videos, best epoch chosen by 3 of 4 validation videos" in said


def test_a_run_that_failed_before_its_first_epoch_does_not_block_its_folder(make_data, recipe_for):
    data = make_data()
    with pytest.raises(TrainingDiverged):
        train(recipe_for(data, optimiser={"learning_rate": 1e30}, epochs=1))
    assert (data / "run" / "run.json").is_file()
    result = train(recipe_for(data, decoder=POOLED, epochs=1))
    assert result.decoder == "mean-linear"
    assert RunFolder(data / "run").record().decoder.name == "mean-linear"
    with pytest.raises(ConfigError, match="holds another run"):
        train(recipe_for(data, epochs=1))


@pytest.mark.parametrize("metric", ["mof", "edit", "f1@10", "map@50"])
def test_a_metric_that_counts_frames_asks_for_their_rate_before_anything_is_trained(make_data, recipe_for, metric):
    data = make_data(label=lambda i: [[0, 8, "x"], [8, 16, ("x", "y")[i]]])
    task = {"kind": "dense", "classes": ["x", "y"], "metrics": [metric]}
    with pytest.raises(AnnotationError, match=rf"metric '{metric}' counts frames .* by task\.labels_per_second"):
        train(recipe_for(data, task=task, decoder={"name": "gru", "options": {"width": 4}}))
    assert not (data / "run").exists()


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([0.7, 0.7, 0.7], "70.0 ± 0.0 %"),
        ([0.7 + 1e-16, 0.7, 0.7 - 1e-16], "70.0 ± 0.0 %"),
        ([0.8, 0.9], "85.0 ± 7.1 %"),
        ([0.0, 0.0], "0.0 ± 0.0 %"),
        ([0.5], "50.0 %"),
    ],
)
def test_a_deviation_is_printed_only_as_far_as_the_mean_is(values: list[float], shown: str):
    summary = Summary.of(values)
    assert METRICS["accuracy"].format(summary.mean, summary.std) == shown


def test_equal_scores_deviate_by_nothing_at_all():
    assert Summary.of([0.7, 0.7, 0.7]) == Summary(0.7, 0.0)


def test_results_of_runs_of_version_0_1_0_are_read(make_data, recipe_for):
    data = make_data()
    config = recipe_for(data, decoder=POOLED, epochs=1)
    train(config)
    evaluate(config.out)
    for name, added in (("result.json", ("baseline", "selected_by")), ("evaluation/test.json", ("untrained_seeds",))):
        path = data / "run" / name
        values = read_json(path)
        path.write_text(json.dumps({key: value for key, value in values.items() if key not in added}))
    assert TrainResult.from_dict(read_json(data / "run" / "result.json")).baseline == {}
    assert EvaluationResult.from_dict(read_json(data / "run" / "evaluation" / "test.json")).untrained_seeds == ()
    assert train(load_config(data / "run" / "recipe.yaml")).baseline
