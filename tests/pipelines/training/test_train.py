"""Training learns what a pooled model cannot, goes on where it was cut off, and says what it rests on."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from longvid.errors import AnnotationError, ConfigError, DecoderError
from longvid.files import read_json
from longvid.metrics.items import METRICS
from longvid.pipelines.training.config import TrainConfig
from longvid.pipelines.training.module import TrainingDiverged
from longvid.pipelines.training.progress import Quiet
from longvid.pipelines.training.results import EpochRow, TrainResult
from longvid.pipelines.training.run_folder import RunFolder
from longvid.pipelines.training.train import train
from longvid.stores import FeatureStore, StoreNotFound
from longvid.tasks import Manifest


class CutOff(Quiet):
    """Presses Ctrl-C at the end of an epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def epoch_ended(self, row: EpochRow) -> None:
        if row.epoch == self.epoch:
            raise KeyboardInterrupt


def test_order_is_learned_by_vis4mer_and_not_by_the_pooled_baseline(make_data, recipe_for):
    data = make_data({"train": 32, "val": 16})
    settings = {"epochs": 30, "batch_size": 16, "optimiser": {"learning_rate": 2e-2}}
    order = train(recipe_for(data, out=str(data / "order"), **settings))
    pooled = train(recipe_for(data, out=str(data / "pooled"), **settings | {"decoder": {"name": "mean-linear"}}))
    assert order.validation["accuracy"].mean >= 0.95
    assert pooled.validation["accuracy"].mean <= 0.8
    assert order.parameters > pooled.parameters == 2 * 4 + 2


def history(run: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((run / "seed-0" / "history.csv").read_text().splitlines()))


SCHEDULES = {
    "cosine": {"schedule": {"name": "cosine", "warmup": 0.3}},
    "plateau": {"schedule": {"name": "plateau", "patience": 0, "factor": 0.5}},
    "constant, stopped early": {"schedule": {"name": "constant"}, "early_stopping": {"patience": 2}},
    "windows, validated every other epoch": {
        "window": {"clips": 10, "draw": "windows"},
        "validation": {"every_epochs": 2},
    },
}


@pytest.mark.faults
@pytest.mark.parametrize("settings", SCHEDULES.values(), ids=SCHEDULES)
def test_an_interrupted_training_goes_on_to_the_same_weights(make_data, recipe_for, settings):
    data = make_data({"train": 8, "val": 4})
    whole = train(recipe_for(data, epochs=5, out=str(data / "whole"), **settings))
    handler = signal.getsignal(signal.SIGINT)
    for epoch in (0, 2):
        with pytest.raises(KeyboardInterrupt):
            train(recipe_for(data, epochs=5, out=str(data / "cut"), **settings), progress=CutOff(epoch))
    assert signal.getsignal(signal.SIGINT) is handler
    cut = train(recipe_for(data, epochs=5, out=str(data / "cut"), **settings))
    assert cut.seeds[0].weights_sha256 == whole.seeds[0].weights_sha256
    assert cut.seeds[0].metrics == whole.seeds[0].metrics
    final = [torch.load(data / name / "seed-0" / "resume.ckpt", weights_only=True) for name in ("whole", "cut")]
    assert all(torch.equal(final[0]["state_dict"][name], tensor) for name, tensor in final[1]["state_dict"].items())
    rows = [history(data / name) for name in ("whole", "cut")]
    assert [row | {"seconds": ""} for row in rows[0]] == [row | {"seconds": ""} for row in rows[1]]


@pytest.mark.faults
def test_a_killed_process_leaves_a_run_that_goes_on_to_the_same_weights(make_data, recipe_for):
    data = make_data({"train": 8, "val": 4})
    config = recipe_for(data, epochs=25, out=str(data / "killed"))
    (data / "recipe.yaml").write_text(config.to_yaml())
    code = (
        "import sys; from longvid.pipelines.training.config import load_config; "
        "from longvid.pipelines.training.train import train; train(load_config(sys.argv[1]))"
    )
    written = data / "killed" / "seed-0" / "history.csv"
    with subprocess.Popen([sys.executable, "-c", code, str(data / "recipe.yaml")], env=os.environ) as process:
        while process.poll() is None and not (written.exists() and len(written.read_text().splitlines()) > 3):
            time.sleep(0.01)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    killed = train(config)
    whole = train(recipe_for(data, epochs=25, out=str(data / "whole")))
    assert killed.seeds[0].weights_sha256 == whole.seeds[0].weights_sha256
    assert not list(data.rglob("*.tmp"))


def test_seeds_differ_and_the_same_seed_does_not(make_data, recipe_for):
    data = make_data({"train": 8, "val": 4})
    one = train(recipe_for(data, seeds=[0, 1], out=str(data / "one")))
    again = train(recipe_for(data, seeds=[1], out=str(data / "again")))
    hashes = [seed.weights_sha256 for seed in one.seeds]
    assert hashes[0] != hashes[1] == again.seeds[0].weights_sha256
    assert one.validation["accuracy"].std is not None
    assert again.validation["accuracy"].std is None


def test_worker_processes_change_no_weight(make_data, recipe_for):
    data = make_data({"train": 8, "val": 4})
    alone = train(recipe_for(data, out=str(data / "alone"), window={"clips": 9}))
    helped = train(recipe_for(data, out=str(data / "helped"), window={"clips": 9}, workers=2))
    assert helped.seeds[0].weights_sha256 == alone.seeds[0].weights_sha256


def test_half_precision_trains(make_data, recipe_for):
    data = make_data({"train": 8, "val": 4})
    assert train(recipe_for(data, precision="bfloat16")).seeds[0].epochs == 2


def test_a_finished_run_is_read_not_trained_again_and_more_seeds_are_added(make_data, recipe_for):
    data = make_data({"train": 8, "val": 4})
    first = train(recipe_for(data))
    written = (data / "run" / "seed-0" / "best.safetensors").stat().st_mtime_ns
    more = train(recipe_for(data, seeds=[0, 1]))
    assert (data / "run" / "seed-0" / "best.safetensors").stat().st_mtime_ns == written
    assert more.seeds[0] == first.seeds[0]
    assert TrainResult.from_dict(read_json(data / "run" / "result.json")) == more


@pytest.mark.parametrize("setting", [{"epochs": 1}, {"decoder": {"name": "mean-linear"}}, {"batch_size": 2}])
def test_another_recipe_does_not_go_on_with_a_run(make_data, recipe_for, setting):
    data = make_data({"train": 8, "val": 4})
    train(recipe_for(data))
    with pytest.raises(ConfigError, match=f"holds another run .*{next(iter(setting))}"):
        train(recipe_for(data, **setting))


def test_changed_labels_do_not_go_on_with_a_run(make_data, recipe_for):
    data = make_data({"train": 8, "val": 4})
    train(recipe_for(data))
    manifest = Manifest.read(data / "manifest.jsonl")
    manifest.with_splits({"val/0": "train"}).write(data / "manifest.jsonl")
    with pytest.raises(ConfigError, match="the manifest or the videos in the store changed"):
        train(recipe_for(data))


def test_missing_videos_are_named_and_counted_and_left_out_only_when_allowed(make_data, recipe_for):
    data = make_data({"train": 8, "val": 4, "test": 4})
    store = FeatureStore.open(data / "features.zarr", mode="a")
    store.delete("train/3")
    store.delete("test/1")
    with pytest.raises(
        AnnotationError, match=r"2 of 16 videos .* are not complete in .*: 'train/3', 'test/1'; extract"
    ):
        train(recipe_for(data))
    result = train(recipe_for(data, allow_missing=True))
    assert (result.listed, result.found) == ({"train": 8, "val": 4, "test": 4}, {"train": 7, "val": 4, "test": 3})
    assert RunFolder(data / "run").record().coverage("test") == "3 of 4 videos"


def test_without_a_validation_split_one_is_carved_from_training_and_said(make_data, recipe_for):
    data = make_data({"train": 20, "test": 4})
    result = train(recipe_for(data, validation={"fraction": 0.2}))
    assert "no validation split: 4 training videos were set aside" in result.notes[0]
    used = RunFolder(data / "run").manifest()
    assert used.counts() == {"train": 16, "val": 4, "test": 4}
    assert used.split("test") == Manifest.read(data / "manifest.jsonl").split("test")


def test_the_kept_weights_are_those_of_the_best_epoch_and_of_equals_the_surest(make_data, recipe_for):
    data = make_data({"train": 16, "val": 8})
    seed = train(recipe_for(data, epochs=6, optimiser={"learning_rate": 3e-2})).seeds[0]
    rows = history(data / "run")
    best = max(float(row["accuracy"]) for row in rows)
    losses = {int(row["epoch"]): float(row["val_loss"]) for row in rows if float(row["accuracy"]) == best}
    assert seed.best_epoch == min(losses, key=lambda epoch: losses[epoch])
    assert seed.metrics["accuracy"] == pytest.approx(best, rel=1e-5)
    assert seed.train_seconds == pytest.approx(sum(float(row["seconds"]) for row in rows), rel=1e-2)


def test_early_stopping_ends_the_training(make_data, recipe_for):
    data = make_data({"train": 8, "val": 4})
    seed = train(recipe_for(data, epochs=30, optimiser={"learning_rate": 1e-6}, early_stopping={"patience": 2})).seeds[
        0
    ]
    assert seed.epochs == 3, "the first epoch and two that were no better"


def test_the_run_can_be_read_without_unpickling_anything(make_data, recipe_for):
    data = make_data({"train": 8, "val": 4})
    train(recipe_for(data))
    folder = RunFolder(data / "run")
    weights = load_file(folder.seed(0).weights_file)
    assert set(weights) == set(folder.record().decoder.build().state_dict())
    torch.load(folder.seed(0).resume_file, weights_only=True)
    assert json.loads((data / "run" / "run.json").read_text())["task"]["classes"] == ["a-then-b", "b-then-a"]


@pytest.mark.parametrize(
    ("label", "task", "metric"),
    [
        (lambda order: float(order), {}, "mse"),
        (lambda order: [("a", "b")[order], "always"], {}, "mean_average_precision"),
        (lambda order: [[0, 8, order], [8, 16, 1 - order]], {"kind": "dense", "classes": ["x", "y"]}, "clip_accuracy"),
    ],
    ids=["regression", "multilabel", "dense"],
)
def test_other_kinds_of_tasks_are_learned(make_data, recipe_for, label, task, metric):
    data = make_data({"train": 16, "val": 8}, label=label)
    result = train(recipe_for(data, epochs=12, task=task, early_stopping={"patience": 12}))
    values = [float(row[metric]) for row in history(data / "run")]
    assert metric in result.validation
    assert (max if METRICS[metric].higher_is_better else min)(values) != values[0]


def test_a_loss_that_is_no_number_stops_the_training_with_the_cure(make_data, recipe_for):
    data = make_data({"train": 8, "val": 4}, label=lambda order: 1e30 * (order + 1))
    with pytest.raises(
        TrainingDiverged, match=r"seed 0: the loss became (inf|nan) in epoch 1; lower optimiser\.learning_rate"
    ):
        train(recipe_for(data, task={"kind": "regression"}))


def test_the_terminal_stays_silent(make_data, recipe_for, capfd):
    data = make_data({"train": 8, "val": 4})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(recipe_for(data, tensorboard=True))
    assert capfd.readouterr() == ("", "")
    assert list((data / "run" / "seed-0" / "tensorboard").glob("events.*"))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"store": "nowhere.zarr"}, StoreNotFound, "nowhere"),
        ({"manifest": "nowhere.csv"}, AnnotationError, r"nowhere\.csv: no such file"),
        ({"decoder": {"name": "vismer"}}, DecoderError, "no decoder 'vismer'"),
        ({"decoder": {"options": {"widht": 3}}}, DecoderError, "has no option widht"),
        ({"task": {"classes": ["a", "b"]}}, AnnotationError, "is not a class of task"),
        ({"task": {"metrics": ["acuracy"]}}, AnnotationError, "no metric 'acuracy'"),
        ({"precision": "float16"}, ConfigError, "needs a CUDA device"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_trained(make_data, recipe_for, settings, error, message):
    data = make_data({"train": 8, "val": 4})
    with pytest.raises(error, match=message) as caught:
        train(recipe_for(data, **settings))
    assert "\n" not in str(caught.value)
    assert not (data / "run").exists()


def test_a_video_too_short_for_the_decoder_is_named_before_training(make_data, recipe_for):
    data = make_data({"train": 8, "val": 4})
    rows = list(Manifest.read(data / "manifest.jsonl"))
    rows[2] = replace(rows[2], end_seconds=3.0)
    Manifest(tuple(rows)).write(data / "manifest.jsonl")
    with pytest.raises(DecoderError, match=r"manifest\.jsonl:3: an item has 3 tokens; .* needs at least 4"):
        train(recipe_for(data))
    assert train(recipe_for(data, decoder={"name": "mean-linear"})).found["train"] == 8


def test_a_recipe_of_a_run_trains_it_again(make_data, recipe_for):
    data = make_data({"train": 8, "val": 4})
    config: TrainConfig = recipe_for(data)
    train(config)
    from longvid.pipelines.training.config import load_config

    assert load_config(data / "run" / "recipe.yaml") == config
