"""Loggers by name: several at once, each with the run's numbers; what is missing is one line."""

import csv
import sqlite3
import time

import pytest

from longvid.errors import BackendUnavailable, ConfigError
from longvid.pipelines.training import loggers as rooms
from longvid.pipelines.training.config import load_config
from longvid.pipelines.training.train import train

LINEAR = {"decoder": {"name": "mean-linear"}, "epochs": 2}


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_csv_and_tensorboard_at_once_hold_what_the_history_holds_and_a_run_that_goes_on_adds_to_it(
    make_data, recipe_for
):
    data = make_data({"train": 6, "val": 4})
    train(recipe_for(data, loggers=["csv", "tensorboard"], **LINEAR))
    seed = data / "run" / "seed-0"
    history = rows_of(seed / "history.csv")
    logged = [row for row in rows_of(seed / "csv" / "version_0" / "metrics.csv") if row["val/accuracy"]]
    assert [float(row["val/loss"]) for row in logged] == pytest.approx(
        [float(r["val_loss"]) for r in history], rel=1e-5
    )
    assert list((seed / "tensorboard").glob("events*"))
    assert "mean-linear" in (seed / "csv" / "version_0" / "hparams.yaml").read_text()
    train(recipe_for(data, **(LINEAR | {"epochs": 3}), loggers="csv"))
    assert [row["epoch"] for row in rows_of(seed / "csv" / "version_1" / "metrics.csv") if row["val/loss"]] == ["2"]


@pytest.mark.parametrize(
    ("loggers", "message"),
    [
        (["csv", "csv"], "csv is listed twice"),
        ([{"name": "csv", "project": "x"}], "project is for wandb and mlflow, not for csv"),
        ([{"name": "wandb", "uri": "x"}], "uri is for mlflow, not for wandb"),
        (["excel"], r"loggers\.0\.name=excel: "),
        ([{"name": "csv", "offlin": True}], r"loggers\.0\.offlin is not a setting"),
    ],
)
def test_a_logger_that_cannot_be_is_one_line(tmp_path, recipe_for, loggers, message):
    with pytest.raises(ConfigError, match=message) as raised:
        recipe_for(tmp_path, loggers=loggers)
    assert "\n" not in str(raised.value)


def test_a_missing_package_is_named_with_the_line_that_installs_it_before_anything_is_trained(
    make_data, recipe_for, monkeypatch
):
    monkeypatch.setattr(rooms, "find_spec", lambda name: None)
    data = make_data({"train": 4, "val": 2})
    with pytest.raises(BackendUnavailable, match=r"mlflow, which is not installed: pip install 'longvid\[mlflow\]'"):
        train(recipe_for(data, loggers=["csv", "mlflow"], **LINEAR))
    assert not (data / "run").exists()


def test_a_file_of_settings_sends_nothing_elsewhere_by_itself(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("store: x.zarr\nmanifest: m.csv\nout: out\nloggers: [csv, {name: wandb}]\n")
    with pytest.raises(ConfigError, match=r"wandb may send numbers elsewhere.*give loggers=\[wandb\]"):
        load_config(recipe)
    assert [one.name for one in load_config(recipe, ["loggers=[wandb]"]).loggers] == ["wandb"]
    assert [one.name for one in load_config(recipe, allow_code=True).loggers] == ["csv", "wandb"]


@pytest.mark.filterwarnings("ignore")  # of these packages' own code
def test_mlflow_keeps_every_seed_as_a_run_in_one_file_and_goes_on_with_it(make_data, recipe_for, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    data = make_data({"train": 6, "val": 4})
    train(recipe_for(data, loggers=["mlflow"], seeds=[0, 1], **LINEAR))
    train(recipe_for(data, loggers=["mlflow"], seeds=[0, 1], **(LINEAR | {"epochs": 3})))
    with sqlite3.connect(data / "run" / "mlflow.db") as database:
        runs = database.execute("select name from runs order by name").fetchall()
        steps = database.execute("select count(*) from metrics where key = 'val/loss'").fetchone()
        noted = database.execute("select value from params where key = 'decoder/name'").fetchall()
    assert runs == [("run seed 0",), ("run seed 1",)]
    assert steps == (6,)
    assert noted == [("mean-linear",)] * 2


@pytest.mark.slow  # starts wandb's own service
@pytest.mark.filterwarnings("ignore")
def test_wandb_offline_writes_a_run_per_seed_into_the_runs_folder(make_data, recipe_for, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    data = make_data({"train": 4, "val": 2})
    offline = [{"name": "wandb", "project": "tried", "offline": True}]
    train(recipe_for(data, loggers=offline, seeds=[0, 1], **LINEAR))
    for seed in (0, 1):
        files = list((data / "run" / f"seed-{seed}" / "wandb").rglob("run-*.wandb"))
        assert len(files) == 1
        until = time.monotonic() + 60  # its service writes a little later
        while b"val/accuracy" not in files[0].read_bytes() and time.monotonic() < until:
            time.sleep(0.1)
        assert b"val/accuracy" in files[0].read_bytes()
