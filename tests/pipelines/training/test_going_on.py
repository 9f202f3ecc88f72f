"""More epochs go on from a finished run, --overwrite starts again, short videos are left out, hints are given."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger

from longvid.errors import ConfigError, DecoderError
from longvid.pipelines.evaluation.evaluate import evaluate
from longvid.pipelines.training.progress import Quiet
from longvid.pipelines.training.results import EpochRow
from longvid.pipelines.training.run_folder import RunFolder
from longvid.pipelines.training.train import train
from longvid.tasks import Manifest

SMALL = {"decoder": {"name": "mean-linear"}, "schedule": {"name": "plateau", "patience": 1}}


class Counted(Quiet):
    """Counts the epochs that are trained."""

    def __init__(self) -> None:
        self.epochs: list[int] = []

    def epoch_ended(self, row: EpochRow) -> None:
        self.epochs.append(row.epoch)


def test_raised_epochs_go_on_to_the_weights_of_one_long_training(make_data, recipe_for):
    data = make_data({"train": 8, "val": 4, "test": 4})
    whole = train(recipe_for(data, epochs=5, out=str(data / "whole"), **SMALL))
    train(recipe_for(data, epochs=3, **SMALL))
    evaluate(data / "run", device="cpu")
    counted = Counted()
    longer = train(recipe_for(data, epochs=5, **SMALL), progress=counted)
    assert counted.epochs == [3, 4]
    assert longer.seeds[0].epochs == 5
    assert longer.seeds[0].weights_sha256 == whole.seeds[0].weights_sha256
    finals = [
        torch.load(data / out / "seed-0/resume.ckpt", weights_only=True)["state_dict"] for out in ("whole", "run")
    ]
    assert all(torch.equal(finals[0][name], tensor) for name, tensor in finals[1].items())
    assert not (data / "run" / "evaluation").exists(), "it was of other weights"
    assert evaluate(data / "run", device="cpu").evaluated == 4
    assert train(recipe_for(data, epochs=5, **SMALL), progress=counted).seeds == longer.seeds
    assert counted.epochs == [3, 4], "nothing is left to train"


def test_a_cosine_goes_on_at_the_rate_of_the_longer_training(make_data, recipe_for):
    data = make_data({"train": 8, "val": 4})
    settings = {"decoder": {"name": "mean-linear"}, "optimiser": {"learning_rate": 1e-2}}
    train(recipe_for(data, epochs=2, **settings))
    train(recipe_for(data, epochs=4, **settings))
    lines = (data / "run" / "seed-0" / "history.csv").read_text().splitlines()
    rates = [float(line.split(",")[-2]) for line in lines[1:]]
    assert len(rates) == 4
    assert rates[2] > rates[1]
    assert rates[3] < 1e-4


def test_an_interrupted_going_on_leaves_a_run_that_says_it_is_not_finished(make_data, recipe_for):
    class CutOff(Quiet):
        def epoch_ended(self, row: EpochRow) -> None:
            raise KeyboardInterrupt

    data = make_data({"train": 8, "val": 4, "test": 2})
    train(recipe_for(data, epochs=1, **SMALL))
    with pytest.raises(KeyboardInterrupt):
        train(recipe_for(data, epochs=3, **SMALL), progress=CutOff())
    with pytest.raises(ConfigError, match="no seed is trained to the end"):
        evaluate(data / "run", device="cpu")
    assert train(recipe_for(data, epochs=3, **SMALL)).seeds[0].epochs == 3


def test_more_patience_goes_on_and_the_same_patience_does_not(make_data, recipe_for):
    data = make_data({"train": 8, "val": 4})
    still = {"optimiser": {"learning_rate": 1e-9}, "decoder": {"name": "mean-linear"}}
    stopped = train(recipe_for(data, epochs=30, early_stopping={"patience": 2}, **still))
    counted = Counted()
    assert train(recipe_for(data, epochs=40, early_stopping={"patience": 2}, **still), progress=counted) == replace(
        stopped, hints=counted and train(recipe_for(data, epochs=40, early_stopping={"patience": 2}, **still)).hints
    )
    assert counted.epochs == []
    train(recipe_for(data, epochs=40, early_stopping={"patience": 4}, **still), progress=counted)
    assert counted.epochs == list(range(stopped.seeds[0].epochs, stopped.seeds[0].epochs + 2))


def test_a_run_without_its_resume_point_says_that_it_cannot_go_on(make_data, recipe_for):
    data = make_data({"train": 8, "val": 4})
    first = train(recipe_for(data, epochs=1, **SMALL))
    (data / "run" / "seed-0" / "resume.ckpt").unlink()
    assert train(recipe_for(data, epochs=1, **SMALL)).seeds == first.seeds
    with pytest.raises(ConfigError, match=r"resume\.ckpt is gone, so that it cannot go on to 2.*--overwrite"):
        train(recipe_for(data, epochs=2, **SMALL))


def test_overwrite_removes_the_run_and_nothing_else(make_data, recipe_for):
    data = make_data({"train": 8, "val": 4, "test": 4})
    train(recipe_for(data, epochs=2, seeds=[0, 1], **SMALL))
    evaluate(data / "run", device="cpu")
    (data / "run" / "notes.txt").write_text("mine")
    other = recipe_for(data, epochs=1, batch_size=4, **SMALL)
    with pytest.raises(
        ConfigError, match=r"batch_size: 8 != 4; .*; choose another folder by out=..., or give --overwrite"
    ):
        train(other)
    with pytest.raises(DecoderError):  # what is wrong is found before anything is removed
        train(recipe_for(data, decoder={"name": "vismer"}), overwrite=True)
    assert RunFolder(data / "run").trained_seeds() == [0, 1]
    train(other, overwrite=True)
    assert sorted(path.name for path in (data / "run").iterdir()) == [
        "manifest.jsonl", "notes.txt", "recipe.yaml", "result.json", "run.json", "seed-0",
    ]  # fmt: skip


def test_a_folder_that_is_not_a_run_is_not_overwritten(make_data, recipe_for):
    data = make_data({"train": 8, "val": 4})
    (data / "run").mkdir()
    (data / "run" / "thesis.tex").write_text("mine")
    with pytest.raises(ConfigError, match="holds no training run"):
        train(recipe_for(data, epochs=1, **SMALL), overwrite=True)
    assert (data / "run" / "thesis.tex").read_text() == "mine"


@pytest.fixture
def short_videos(make_data) -> Path:
    """Videos of which one per split has three clips in its span."""
    data = make_data({"train": 8, "val": 4, "test": 4})
    rows = list(Manifest.read(data / "manifest.jsonl"))
    rows = [replace(row, end_seconds=3.0) if row.key.endswith("/2") else row for row in rows]
    Manifest(tuple(rows)).write(data / "manifest.jsonl")
    return data


def test_videos_too_short_for_the_decoder_are_left_out_and_named(short_videos, recipe_for, command):
    with pytest.raises(DecoderError, match="needs at least 4"):
        train(recipe_for(short_videos))
    result = train(recipe_for(short_videos, window={"short": "drop"}))
    assert result.found == {"train": 7, "val": 3, "test": 4}
    assert (
        "2 videos are left out (window.short=drop): shorter than the 4 clips that vis4mer needs: 'train/2', 'val/2'."
        in result.notes
    )
    evaluated = evaluate(short_videos / "run", device="cpu")
    assert evaluated.too_short == ("test/2",)
    assert evaluated.coverage == "3 of 4 videos"
    assert "1 too short for the decoder, and not scored: 'test/2'" in command("evaluate", "run")[1]
    assert train(recipe_for(short_videos, window={"short": "drop"})).seeds == result.seeds


def test_windows_at_the_end_that_are_too_short_are_left_out_too(short_videos, recipe_for):
    window = {"seconds": 5, "stride_seconds": 5, "shortest_seconds": 1, "short": "drop"}
    with pytest.raises(DecoderError, match="needs at least 4"):
        train(recipe_for(short_videos, window=window | {"short": "masked"}))
    train(recipe_for(short_videos, window=window))
    assert evaluate(short_videos / "run", device="cpu").windows == 3 * 3, (
        "16 clips: three of five, without the last one"
    )


def test_a_decoder_that_needs_longer_videos_than_there_are_is_refused(short_videos, recipe_for):
    with pytest.raises(DecoderError, match="the longest window has 16 clips of 1 tokens"):
        train(recipe_for(short_videos, window={"short": "drop"}, decoder={"options": {"width": 64, "layers": 5}}))


class Seen(Callback):
    """Notes the epochs that Lightning ends."""

    def __init__(self) -> None:
        self.epochs: list[int] = []

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.epochs.append(trainer.current_epoch)


def test_a_logger_and_callbacks_of_ones_own_hear_of_the_training(make_data, recipe_for, tmp_path):
    data = make_data({"train": 8, "val": 4})
    seen = Seen()
    plain = train(recipe_for(data, out=str(data / "plain"), **SMALL))
    logger = CSVLogger(tmp_path / "logs", name="mine", version="one")
    heard = train(recipe_for(data, tensorboard=True, **SMALL), logger=logger, callbacks=[seen])
    assert seen.epochs == [0, 1]
    assert "train/loss" in (tmp_path / "logs" / "mine" / "one" / "metrics.csv").read_text()
    assert not list((data / "run").rglob("events.*")), "one logger takes the place of the other"
    assert heard.seeds[0].weights_sha256 == plain.seeds[0].weights_sha256


def test_each_seed_may_have_a_logger_and_callbacks_of_its_own(make_data, recipe_for, tmp_path):
    data = make_data({"train": 8, "val": 4})
    made: dict[int, Seen] = {}

    def callbacks(seed: int) -> list[Callback]:
        made[seed] = Seen()
        return [made[seed]]

    logger: Callable[[int], CSVLogger] = lambda seed: CSVLogger(tmp_path, name="logs", version=f"seed-{seed}")  # noqa: E731
    train(recipe_for(data, seeds=[3, 4], **SMALL), logger=logger, callbacks=callbacks)
    assert {seed: one.epochs for seed, one in made.items()} == {3: [0, 1], 4: [0, 1]}
    assert all((tmp_path / "logs" / f"seed-{seed}" / "metrics.csv").is_file() for seed in (3, 4))


def test_too_few_steps_are_hinted_at_with_what_to_change(make_data, recipe_for, command):
    data = make_data({"train": 9, "val": 4})
    result = train(recipe_for(data, decoder={"name": "gru", "options": {"width": 8}}))
    assert result.hints == (
        "gru seldom learns in fewer than 300 steps, and this training has 4 (2 epochs of 2); raise epochs to 150, or "
        "lower batch_size=8",
    )
    assert not train(recipe_for(data, epochs=25, out=str(data / "long"), **SMALL)).hints
    words = [f"{name}={data / file}" for name, file in (("store", "features.zarr"), ("manifest", "manifest.jsonl"))]
    out = command("train", *words, "epochs=1", "decoder.name=mean-linear", "tensorboard=false", "out=x")[1]
    assert "hint: mean-linear seldom learns in fewer than 50 steps, and this training has 1 (1 epochs of 1)" in out


@pytest.mark.parametrize("name", ["gru", "lstm", "temporal-convolution"])
def test_decoders_without_a_width_of_their_own_get_the_parameters_of_vis4mer(name):
    from longvid.decoders import build_decoder
    from longvid.decoders.sizes import comparable_options

    def count(name: str, dim: int) -> int:
        with torch.device("meta"):
            options = comparable_options(name, dim, {})
            return sum(
                p.numel() for p in build_decoder(name, dim=dim, outputs=10, max_length=64, **options).parameters()
            )

    for dim in (384, 768, 1024):
        assert 0.75 < count(name, dim) / count("vis4mer", dim) < 1.25
    assert comparable_options(name, 1024, {"width": 7}) == {"width": 7}
