"""A grid of settings is trained side by side on one reading of the store, each combination as if it were alone."""

import csv
from pathlib import Path

import pytest
import torch
from rounding import assert_same_numbers

from longvid.decoders import build_decoder
from longvid.decoders.side_by_side import SideBySide
from longvid.errors import ConfigError
from longvid.pipelines.evaluation.evaluate import evaluate
from longvid.pipelines.training.module import TrainingDiverged
from longvid.pipelines.training.progress import Quiet
from longvid.pipelines.training.results import EpochRow
from longvid.pipelines.training.run_folder import RunFolder
from longvid.pipelines.training.train import train
from longvid.windows import WindowDataset

GRID = {"optimiser.learning_rate": [1e-2, 1e-5], "optimiser.weight_decay": [0.01, 0.5]}


def rows_of(run: Path, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader((run / "seed-0" / name).read_text().splitlines()))


class CutOff(Quiet):
    """Presses Ctrl-C at the end of an epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def epoch_ended(self, row: EpochRow) -> None:
        if row.epoch == self.epoch:
            raise KeyboardInterrupt


@pytest.mark.parametrize("standardise", [False, True])
def test_the_chosen_combination_has_the_weights_that_it_would_have_alone(make_data, recipe_for, standardise):
    data = make_data({"train": 12, "val": 8})
    shared = {"epochs": 3, "schedule": {"warmup": 0.3}, "standardise": standardise}
    grid = train(recipe_for(data, out=str(data / "grid"), grid=GRID, **shared))
    chosen = grid.seeds[0].combination
    own = {name.partition(".")[2]: value for name, value in chosen.items()}
    alone = train(recipe_for(data, out=str(data / "alone"), optimiser=own, **shared))
    assert grid.seeds[0].weights_sha256 == alone.seeds[0].weights_sha256
    assert grid.seeds[0].metrics == pytest.approx(alone.seeds[0].metrics)
    for together, single in zip(
        rows_of(data / "grid", "history.csv"), rows_of(data / "alone", "history.csv"), strict=True
    ):
        for name in single.keys() - {"seconds"}:
            assert float(together[name]) == pytest.approx(float(single[name]), rel=1e-5)


def test_a_combination_is_chosen_by_validation_and_the_results_say_so(make_data, recipe_for):
    data = make_data({"train": 16, "val": 8, "test": 8})
    config = recipe_for(data, epochs=8, grid={"optimiser": {"learning_rate": [1e-7, 2e-2]}})
    result = train(config)
    seed = result.seeds[0]
    assert seed.combination == {"optimiser.learning_rate": 2e-2}
    assert [one["settings"]["optimiser.learning_rate"] for one in seed.tried] == [1e-7, 2e-2]
    assert seed.tried[1]["metrics"] == seed.metrics
    assert seed.tried[0]["metrics"]["accuracy"] <= seed.metrics["accuracy"]
    assert result.notes[-1] == (
        "Seed 0: validation chose optimiser.learning_rate=0.02 among 2 combinations; test was not looked at."
    )
    assert [row["chosen"] for row in rows_of(data / "run", "grid.csv")] == ["no", "yes"]
    evaluate(data / "run", split="test")
    notes = RunFolder(data / "run").record().notes
    assert any("2 combinations of optimiser.learning_rate are trained side by side" in note for note in notes)
    assert train(config).seeds == result.seeds, "a finished grid is read, not trained again"


def test_an_interrupted_grid_goes_on_to_the_same_weights(make_data, recipe_for):
    data = make_data({"train": 8, "val": 4})
    settings = {"epochs": 4, "grid": GRID}
    whole = train(recipe_for(data, out=str(data / "whole"), **settings))
    with pytest.raises(KeyboardInterrupt):
        train(recipe_for(data, out=str(data / "cut"), **settings), progress=CutOff(1))
    cut = train(recipe_for(data, out=str(data / "cut"), **settings))
    assert cut.seeds[0].weights_sha256 == whole.seeds[0].weights_sha256
    assert cut.seeds[0].tried == whole.seeds[0].tried


def test_windows_are_read_as_often_for_a_grid_as_for_one(make_data, recipe_for, monkeypatch):
    data = make_data({"train": 8, "val": 4})
    counts = []
    read = WindowDataset.__getitem__
    for name, grid in (("one", {}), ("grid", GRID)):
        seen: list[object] = []
        monkeypatch.setattr(
            WindowDataset, "__getitem__", lambda self, item, seen=seen: (seen.append(item), read(self, item))[1]
        )
        train(recipe_for(data, out=str(data / name), grid=grid, decoder={"name": "attentive"}))
        counts.append(len(seen))
    assert counts[0] == counts[1] > 0


def test_a_combination_that_diverges_is_left_behind_and_all_of_them_are_an_error(make_data, recipe_for):
    data = make_data({"train": 8, "val": 4})
    rates = {"grid": {"optimiser.learning_rate": [1e30, 1e-3]}}
    seed = train(recipe_for(data, **rates)).seeds[0]
    assert seed.combination == {"optimiser.learning_rate": 1e-3}
    assert seed.tried[0]["best_epoch"] is None
    with pytest.raises(TrainingDiverged, match="the loss of every combination became NaN or infinite by epoch 1"):
        train(recipe_for(data, out=str(data / "both"), grid={"optimiser.learning_rate": [1e30, 1e29]}))


IMPOSSIBLE = {
    "optimiser.learning_rate=-1.0: should be more than 0": {"optimiser.learning_rate": [1e-3, -1.0]},
    "decoder.options.heads cannot vary within one reading": {"decoder.options.heads": [4, 5]},
    "optimiser.learning_rte cannot vary": {"optimiser.learning_rte": [1e-3]},
    "optimiser.weight_decay has no values": {"optimiser.weight_decay": []},
    "optimiser.learning_rate=0.001 is in it twice": {"optimiser.learning_rate": [1e-3, 0.001]},
    "final_weight_decay needs a weight_decay above 0": {
        "optimiser.weight_decay": [0.1, 0.0],
        "optimiser.final_weight_decay": [1e-6],
    },
    "schedule.name=plateau follows one validation score": {"schedule.name": ["cosine", "plateau"]},
    "260 combinations, more than 256": {"optimiser.learning_rate": [1e-3 * n for n in range(1, 261)]},
}


@pytest.mark.parametrize("message", IMPOSSIBLE)
def test_an_impossible_grid_is_refused_in_one_line_before_anything_is_trained(recipe_for, tmp_path, message):
    with pytest.raises(ConfigError, match="grid: ") as error:
        recipe_for(tmp_path, grid=IMPOSSIBLE[message])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_grid_is_not_chosen_by_test_and_not_scaled_together(recipe_for, tmp_path):
    with pytest.raises(ConfigError, match="never by test"):
        recipe_for(tmp_path, grid=GRID, validation={"on_test": True}, as_published=True)
    with pytest.raises(ConfigError, match="use bfloat16 or float32"):
        recipe_for(tmp_path, grid=GRID, precision="float16")


def test_a_grid_is_given_on_the_command_line(make_data, command):
    data = make_data({"train": 8, "val": 4})
    words = ["store=features.zarr", "manifest=manifest.jsonl", "decoder.name=attentive", "epochs=1", "device=cpu"]
    code, out, err = command(
        "train",
        *words,
        "tensorboard=false",
        "grid={optimiser.learning_rate: [5e-3, 1e-3], optimiser.weight_decay: [0.01, 0.1]}",
    )
    assert code == 0, err
    assert "4 combinations of optimiser.learning_rate, optimiser.weight_decay" in out
    assert len(RunFolder(data / "runs/run").trained_seeds()) == 1


@pytest.mark.parametrize("options", [{}, {"complete": False}, {"queries": (1, 2)}, {"layers": 2}, {"time_code": True}])
def test_probes_side_by_side_say_and_learn_what_each_does_alone(options):
    members = []
    for seed in range(3):
        torch.manual_seed(seed)
        members.append(build_decoder("attentive", dim=24, outputs=3, heads=4, **options).double())
    tokens, lengths = torch.randn(2, 11, 24, dtype=torch.float64), torch.tensor([11, 4])
    tokens[1, 4:] = torch.nan
    together = SideBySide(members)(tokens, lengths)
    together.square().sum().backward()
    found = [[parameter.grad.clone() for parameter in member.parameters()] for member in members]
    for member, logits, gradients in zip(members, together, found, strict=True):
        member.zero_grad()
        alone = member(tokens, lengths)
        assert_same_numbers(logits, alone, terms=256)
        alone.square().sum().backward()
        for parameter, gradient in zip(member.parameters(), gradients, strict=True):
            torch.testing.assert_close(gradient, parameter.grad)
