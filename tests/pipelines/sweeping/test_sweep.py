"""A sweep finds good settings by validation alone, goes on where it was, and says what is wrong in a line."""

import csv
import json
from pathlib import Path

import optuna
import pytest

from longvid.errors import ConfigError, LongvidError
from longvid.pipelines.sweeping import run as room
from longvid.pipelines.sweeping.run import QuietSweep, sweep
from longvid.pipelines.sweeping.space import read_space, space_of_words
from longvid.pipelines.training.config import load_config
from longvid.pipelines.training.train import train
from longvid.tasks import Manifest

LINEAR = {"decoder": {"name": "mean-linear"}, "epochs": 2}
SPACE = {"optimiser.learning_rate": "1e-4..1e-1", "batch_size": [4, 8]}


class Struck(QuietSweep):
    """Interrupts the sweep in a trial's epoch."""

    def __init__(self, trial, epoch):
        self.at, self.now = (trial, epoch), -1

    def trial_started(self, number, trials, settings):
        self.now = number

    def epoch_ended(self, row):
        if (self.now, row.epoch) == self.at:
            raise KeyboardInterrupt


def told(result):
    return [(trial.number, trial.state, trial.settings, trial.value) for trial in result.trials]


def test_a_sweep_that_is_interrupted_ends_as_one_that_was_left_alone_and_never_looks_at_test(make_data, recipe_for):
    data = make_data({"train": 8, "val": 4, "test": 4})
    whole = sweep(recipe_for(data, out=str(data / "whole"), **LINEAR), SPACE, trials=4)
    rows = [row for row in Manifest.read(data / "manifest.jsonl") if row.split != "test"]
    Manifest(tuple(rows)).write(data / "manifest.jsonl")
    config = recipe_for(data, out=str(data / "cut"), **LINEAR)
    for trial, epoch in ((1, 0), (2, 1)):
        with pytest.raises(KeyboardInterrupt):
            sweep(config, SPACE, trials=4, progress=Struck(trial, epoch))
    cut = sweep(config, SPACE, trials=4)
    assert told(cut) == told(whole)
    assert [path.name for path in (data / "cut").glob("trial-*")] == [f"trial-{cut.best.number}"]
    assert not list((data / "whole").rglob("evaluation"))
    with open(cut.table, newline="") as file:
        assert [row["state"] for row in csv.DictReader(file)] == ["done"] * 4
    best = load_config(cut.recipe)
    assert best.optimiser.learning_rate == cut.best.settings["optimiser.learning_rate"]
    assert best.batch_size == cut.best.settings["batch_size"]
    assert train(best).seeds[0].metrics["accuracy"] == cut.best.value
    more = sweep(config, SPACE, trials=5)
    assert len(more.trials) == 5


def test_hopeless_trials_are_stopped_early(make_data, recipe_for, monkeypatch):
    monkeypatch.setattr(room, "NOT_PRUNED", 1)
    data = make_data({"train": 8, "val": 4}, label=float)
    task = {"kind": "regression", "metrics": ["mse"]}
    config = recipe_for(data, task=task, decoder={"name": "mean-linear"}, epochs=3, optimiser={"clip_norm": None})
    result = sweep(config, {"optimiser.learning_rate": "1e-3..1e3"}, trials=6)
    assert not result.higher_is_better
    assert result.best.value == min(trial.value for trial in result.trials)
    pruned = [trial for trial in result.trials if trial.state == "pruned"]
    assert pruned
    assert all(trial.epochs < 3 and trial.value > result.best.value for trial in pruned)
    assert result.count("done") + len(pruned) == 6
    assert "plotly" in Path(result.plot).read_text()


def test_a_combination_that_cannot_be_is_a_failed_trial_and_the_others_go_on(make_data, recipe_for):
    data = make_data({"train": 6, "val": 4})
    space = {"decoder.options.heads": [1, 3]}
    config = recipe_for(data, decoder={"name": "attentive", "options": {"layers": 1}}, epochs=1)
    result = sweep(config, space, trials=4)
    assert {trial.state for trial in result.trials} == {"done", "failed"}
    failed = [trial for trial in result.trials if trial.state == "failed"]
    assert all("heads" in trial.reason for trial in failed)
    only = recipe_for(data, decoder={"name": "attentive"}, epochs=1, out=str(data / "only"))
    with pytest.raises(LongvidError, match="no trial of 2 was trained to the end; the first failed so:"):
        sweep(only, {"decoder.options.heads": [3, 5]}, trials=2)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (
            {"optimiser.learning_rat": "1e-4..1e-2"},
            "learning_rat is not a setting; did you mean optimiser.learning_rate",
        ),
        ({"optimiser.learning_rate": "-1..1"}, "sweep: optimiser.learning_rate=-1: should be more than 0"),
        ({"epochs": "9..3"}, "a range goes from a lower number to a higher one"),
        ({"epochs": 3}, "is neither a list nor a range"),
        ({"epochs": [3]}, "has 1 values; list two or more"),
        ({"manifest": ["a.csv", "b.csv"]}, "manifest is what the trials have in common"),
        ({"validation.fraction": [0.1, 0.2]}, "validation.fraction is what the trials have in common"),
    ],
)
def test_an_impossible_space_is_one_line_before_the_first_trial(tmp_path, recipe_for, space, message):
    with pytest.raises(ConfigError, match=message) as raised:
        sweep(recipe_for(tmp_path), space)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


def test_ranges_over_a_decade_are_drawn_on_a_logarithmic_scale_and_whole_numbers_stay_whole():
    rate, layers, epochs = read_space(
        space_of_words(["optimiser.learning_rate=1e-5..1e-2", "decoder.options.layers=1..4", "epochs=5..80"])
    )
    assert rate.distribution == optuna.distributions.FloatDistribution(1e-5, 1e-2, log=True)
    assert layers.distribution == optuna.distributions.IntDistribution(1, 4)
    assert epochs.distribution == optuna.distributions.IntDistribution(5, 80, log=True)


def test_the_command_prints_a_table_of_80_columns_and_refuses_another_sweep(make_data, command, monkeypatch):
    make_data({"train": 6, "val": 4})
    monkeypatch.setenv("COLUMNS", "80")
    words = ["sweep", "store=features.zarr", "manifest=manifest.jsonl", "decoder.name=mean-linear", "epochs=1"]
    words += ["device=cpu", "tensorboard=false", "out=s", "--trials", "2"]
    status, out, err = command(*words, "--vary", "optimiser.learning_rate=1e-3..1e-1", "--vary", "batch_size=[2,4]")
    assert status == 0, err
    assert "longvid evaluate s/trial-" in out
    assert "learning_rate=" in out
    assert all(len(line) <= 80 for line in out.splitlines()[:3])
    status, out, err = command(*words, "epochs=2", "--vary", "batch_size=[2,4]")
    assert status == 2
    assert "s holds another sweep (" in err
    assert "epochs: 1 != 2" in err
    status, out, err = command(
        *words, "--vary", "optimiser.learning_rate=1e-3..1e-1", "--vary", "batch_size=[2,4]", "--json"
    )
    assert json.loads(out)["metric"] == "accuracy"
