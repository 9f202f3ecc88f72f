"""A difference is called real where it is, and nothing is said where nothing can be said."""

import json
import shutil

import numpy as np
import pytest

from longvid.errors import ConfigError
from longvid.files import read_json
from longvid.pipelines.evaluation.compare import compare
from longvid.pipelines.evaluation.evaluate import EvaluationResult, evaluate
from longvid.pipelines.evaluation.score_files import read_scores
from longvid.pipelines.reporting import report
from longvid.pipelines.reporting.comparison import comparison_page
from longvid.pipelines.training.run_folder import RunFolder
from longvid.pipelines.training.train import train


@pytest.fixture(scope="module")
def once():
    """Where the first test keeps what it trained."""
    return {}


@pytest.fixture
def runs(once, make_data, recipe_for, tmp_path):
    """A run that learns the order of events, one that cannot, and a folder that holds no run."""
    if "runs" not in once:
        once["runs"] = trained(make_data, recipe_for)
    return shutil.copytree(once["runs"], tmp_path / "copied")


def trained(make_data, recipe_for):
    data = make_data({"train": 24, "val": 8, "test": 24})
    sees = {"name": "gru", "options": {"width": 16}}
    blind = {"name": "mean-linear", "options": {}}
    for name, decoder, epochs in (("blind", blind, 2), ("sees", sees, 30)):
        settings = {"epochs": epochs, "seeds": [0, 1], "optimiser": {"learning_rate": 2e-2}}
        train(recipe_for(data, out=str(data / "runs" / name), decoder=decoder, **settings))
        evaluate(data / "runs" / name)
    (data / "runs" / "begun").mkdir()
    return data / "runs"


def test_a_real_difference_has_an_interval_mcnemars_test_classes_and_the_videos_that_changed(runs, tmp_path):
    found = compare([runs / "blind", runs / "sees", runs / "begun"])
    (pair,) = found.pairs
    accuracy = pair.differences["accuracy"]
    means = [run.metrics["accuracy"].mean for run in found.runs]
    assert accuracy.value == pytest.approx(means[1] - means[0])
    assert accuracy.interval.low > 0
    assert accuracy.interval.holds(accuracy.value)
    assert pair.verdict.startswith("gru is better than mean-linear: accuracy +")
    assert pair.mcnemar.gained == sum(flip.gained for flip in pair.flips)
    assert pair.mcnemar.lost == sum(not flip.gained for flip in pair.flips)
    assert {row.name: row.support for row in pair.classes} == {"a-then-b": 12, "b-then-a": 12}
    assert "begun" in found.left_out[0]
    html = comparison_page(found, tmp_path / "compare.html").read_text("utf-8")
    assert pair.verdict in html
    assert pair.flips[0].key in html


def test_a_run_beside_itself_says_that_nothing_can_be_said(runs):
    (pair,) = compare([runs / "blind", runs / "blind"]).pairs
    assert pair.differences["accuracy"].value == 0
    assert pair.verdict.startswith("Nothing can be said about")
    assert pair.flips == ()
    assert pair.mcnemar.p_value == 1.0


def test_every_metric_has_an_interval_and_scores_are_kept_unrounded(runs):
    result = evaluate(runs / "sees")
    assert set(result.intervals) == set(result.metrics)
    assert all(result.intervals[name].holds(value.mean) for name, value in result.metrics.items())
    assert result.stratified
    assert set(result.calibration.temperatures) == {0, 1}
    assert result.calibration.fitted_on == 8
    run = RunFolder(runs / "sees")
    task = run.record().the_task()
    kept = read_scores(run, "test", task)
    again = [found.metrics(task) for found in kept.seeds.values()]
    assert again == [seed.metrics for seed in result.seeds]
    assert EvaluationResult.from_dict(read_json(run.evaluation_file("test"))) == result


def test_a_damaged_file_of_scores_is_named_with_the_remedy(runs):
    run = RunFolder(runs / "sees")
    path = run.evaluation_file("test", "-scores.safetensors")
    whole = path.read_bytes()
    for damaged in (b"", whole[:100], b"\xff" * len(whole)):
        path.write_bytes(damaged)
        with pytest.raises(ConfigError, match=r"is damaged .*; run `longvid evaluate"):
            read_scores(run, "test", run.record().the_task())
    path.unlink()
    with pytest.raises(ConfigError, match=r"only 1 of 2 folders can be compared: .*has no scores of each video"):
        compare([runs / "blind", runs / "sees"])


def test_an_unfinished_run_is_named_and_left_out_of_a_report(runs, tmp_path):
    said: list[str] = []
    page = report([runs / "begun", runs / "blind", runs / "sees"], tmp_path / "report.html", say=said.append)
    assert len(said) == 1
    assert str(runs / "begun") in said[0]
    html = page.read_text("utf-8")
    assert "Left out: " in html
    assert "<td" in html
    assert "Can the scores be taken at their word?" in html
    with pytest.raises(ConfigError, match="none of the 2 folders holds a run"):
        report([runs / "begun", runs / "begun"], tmp_path / "none.html", say=said.append)


def test_the_commands_table_fits_eighty_columns_and_its_json_holds_everything(runs, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    status, out, _ = command("compare", str(runs / "blind"), str(runs / "sees"))
    assert status == 0
    tables = [line for line in out.splitlines() if "  " in line]
    assert max(map(len, tables)) <= 80
    status, out, _ = command("compare", str(runs / "blind"), str(runs / "sees"), "--json")
    values = json.loads(out)
    assert [run["label"] for run in values["runs"]] == ["mean-linear", "gru"]
    assert np.isfinite(values["pairs"][0]["differences"]["accuracy"]["interval"]["low"])


def test_clips_of_dense_tasks_are_compared_video_by_video(make_data, recipe_for):
    labels = {"train": 8, "val": 4, "test": 6}
    data = make_data(labels, label=lambda order: [[0, 8, "xy"[order]], [8, 16, "yx"[order]]])
    task = {"kind": "dense", "classes": ["x", "y"], "labels_per_second": 1.0, "metrics": ["clip_accuracy", "edit"]}
    for name in ("one", "two"):
        train(recipe_for(data, out=str(data / name), task=task, decoder={"name": "mean-linear"}, epochs=1, seeds=[0]))
        evaluate(data / name)
    found = compare([data / "one", data / "two"])
    assert found.videos == 6
    assert set(found.pairs[0].differences) == {"clip_accuracy", "edit"}
    assert found.pairs[0].mcnemar is None
    assert "one seed" in found.pairs[0].verdict
