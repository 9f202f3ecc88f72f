"""Several devices learn what one learns, count every video once, and go on after a kill to the same bits."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from cores import needs_two_cores
from rounding import same_numbers
from safetensors.torch import load_file

from longvid.errors import ConfigError
from longvid.pipelines.training.ranks import DealtBatches, Rank, SharedBatches
from longvid.pipelines.training.run_folder import RunFolder
from longvid.pipelines.training.train import train
from longvid.windows import RandomWindows, WindowDataset

NO_DROPOUT = {"name": "vis4mer", "options": {"width": 16, "layers": 2, "state_size": 8, "dropout": 0.0}}
STEPS = 6
"""Optimiser steps of the training below. One step of AdamW moves a weight by at most the learning rate, whatever
rounding does to a gradient near zero; sums over a batch of 4 windows differ by some units in the last place."""


class Numbered(WindowDataset):
    """Windows without a store: as many per video as said."""

    def __init__(self, counts):
        import numpy as np

        self.rows = tuple(range(len(counts)))
        self.video_of_window = np.repeat(np.arange(len(counts)), counts)


@pytest.mark.parametrize(("videos", "batch", "world"), [(7, 3, 2), (9, 4, 3), (8, 8, 2), (5, 4, 4), (2, 2, 2)])
def test_the_ranks_share_every_batch_of_one_process_and_nothing_counts_twice(videos, batch, world):
    data = Numbered([3] * videos)
    draws = list(RandomWindows(data, seed=1))
    parts = [SharedBatches(RandomWindows(data, seed=1), batch, Rank(rank, world)) for rank in range(world)]
    for index, shared in enumerate(zip(*parts, strict=True)):
        counted = [draw for part, own in zip(parts, shared, strict=True) if part.counts(index) for draw in own]
        assert sorted(counted) == sorted(draws[index * batch : (index + 1) * batch])
        assert all(shared), "a rank without a window cannot take part in the step"
    assert all(len(part) == -(-videos // batch) for part in parts)


@pytest.mark.parametrize(("windows", "batch", "world"), [(5, 2, 2), (9, 2, 3), (2, 4, 3)])
def test_evaluation_batches_are_dealt_out_whole(windows, batch, world):
    dealt = [list(DealtBatches(windows, batch, Rank(rank, world))) for rank in range(world)]
    number = -(-windows // batch)
    in_order = [dealt[at % world][at // world] for at in range(number)]
    assert [window for one in in_order for window in one] == list(range(windows))
    assert all(dealt)


@pytest.fixture
def uneven(make_data):
    """Videos of which one kind has four times as many labelled clips as the other, and batches that do not come out."""
    return make_data({"train": 7, "val": 5}, label=lambda order: [[0, 16 if order else 4, order]])


def settings(**changes):
    dense = {"kind": "dense", "classes": ["x", "y"], "metrics": ["clip_accuracy"]}
    return {"task": dense, "decoder": NO_DROPOUT, "batch_size": 3, "eval_batch_size": 2, "epochs": 2} | changes


COMMAND = (
    "import sys; from longvid.pipelines.training.config import load_config; "
    "from longvid.pipelines.training.train import train\nif __name__ == '__main__': train(load_config(sys.argv[1]))"
)


@needs_two_cores
@pytest.mark.faults
def test_two_processes_give_the_result_of_one_and_a_killed_run_goes_on_to_the_same_bits(uneven, recipe_for):
    one = train(recipe_for(uneven, out=str(uneven / "one"), **settings()))
    two = train(recipe_for(uneven, out=str(uneven / "two"), devices=2, **settings()))
    weights = [load_file(RunFolder(uneven / name).seed(0).weights_file) for name in ("one", "two")]
    for name, tensor in weights[0].items():
        assert same_numbers(weights[1][name], tensor, terms=4096, size=1.0), name
    assert two.seeds[0].metrics == one.seeds[0].metrics
    assert two.seeds[0].best_epoch == one.seeds[0].best_epoch
    config = recipe_for(uneven, out=str(uneven / "cut"), devices=2, **settings())
    (uneven / "recipe.yaml").write_text(config.to_yaml())
    (uneven / "run.py").write_text(COMMAND)
    written = uneven / "cut" / "seed-0" / "history.csv"
    with subprocess.Popen([sys.executable, str(uneven / "run.py"), str(uneven / "recipe.yaml")]) as process:
        while process.poll() is None and not written.exists():
            time.sleep(0.01)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    cut = train(config)
    assert cut.seeds[0].weights_sha256 == two.seeds[0].weights_sha256


TEN_KILLS = """
import os, random, signal, sys, time
from longvid.pipelines.training.config import load_config
from longvid.pipelines.training.train import train

whole, cut = (load_config(path) for path in sys.argv[1:])
begin = time.perf_counter()
train(whole)  # here first: whatever is loaded late is loaded for all children
seconds, chance, killed = time.perf_counter() - begin, random.Random(7), 0
while killed < 10:
    child = os.fork()
    if child == 0:
        train(cut)
        os._exit(0)
    time.sleep(chance.uniform(0, seconds / 4))
    if os.waitpid(child, os.WNOHANG)[0] == child:
        break
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    killed += 1
print(killed)
"""


@pytest.mark.faults
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the moments are struck in forked processes")
def test_a_run_killed_at_ten_random_moments_ends_with_the_bits_of_one_that_was_left_alone(make_data, recipe_for):
    data = make_data({"train": 12, "val": 4})
    recipes = []
    for name in ("whole", "cut"):
        config = recipe_for(data, out=str(data / name), epochs=12, batch_size=4)
        recipes.append(data / f"{name}.yaml")
        recipes[-1].write_text(config.to_yaml())
    words = [sys.executable, "-W", "ignore", "-c", TEN_KILLS, *map(str, recipes)]
    told = subprocess.run(words, capture_output=True, text=True, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert int(told.stdout) >= 5, told.stdout
    cut, whole = train(config), load_file(RunFolder(data / "whole").seed(0).weights_file)
    assert cut.seeds[0].epochs == 12
    for name, tensor in load_file(RunFolder(data / "cut").seed(0).weights_file).items():
        assert torch.equal(tensor, whole[name]), name


def epochs_of(history: Path) -> int:
    return len(history.read_text().splitlines()) - 1 if history.exists() else 0


@needs_two_cores
@pytest.mark.faults
@pytest.mark.slow  # starts two processes a dozen times: pytest -m slow -k two_processes
def test_two_processes_killed_at_ten_random_moments_end_with_the_bits_of_a_run_that_was_left_alone(uneven, recipe_for):
    recipes = []
    for name in ("whole", "cut"):
        config = recipe_for(uneven, out=str(uneven / name), devices=2, **settings(epochs=40, batch_size=2))
        recipes.append(uneven / f"{name}.yaml")
        recipes[-1].write_text(config.to_yaml())
    (uneven / "run.py").write_text(COMMAND)
    whole, cut = ([sys.executable, str(uneven / "run.py"), str(recipe)] for recipe in recipes)
    subprocess.run(whole, check=True)
    history, chance, epochs = uneven / "cut" / "seed-0" / "history.csv", random.Random(7), []
    for kill in range(10):
        reached = (epochs[-1] if epochs else 0) + chance.randint(0, 2)
        with subprocess.Popen(cut, start_new_session=True) as process:
            while process.poll() is None and epochs_of(history) < reached:
                time.sleep(0.01)
            time.sleep(chance.uniform(0, 0.5))
            if kill % 2:
                os.killpg(process.pid, signal.SIGKILL)  # every process at once; otherwise the ranks see their parent go
            else:
                process.kill()
        assert process.returncode == -signal.SIGKILL, "it was killed, and did not end by itself"
        epochs.append(epochs_of(history))
    assert len(set(epochs)) > 2, f"the moments lie along the training: {epochs}"
    assert train(config).seeds[0].epochs == 40
    found = load_file(RunFolder(uneven / "cut").seed(0).weights_file)
    for name, tensor in load_file(RunFolder(uneven / "whole").seed(0).weights_file).items():
        assert torch.equal(tensor, found[name]), name


@needs_two_cores
def test_an_error_of_a_process_is_the_errors_own_line(uneven, recipe_for):
    from longvid.pipelines.training.module import TrainingDiverged

    config = recipe_for(uneven, devices=2, **settings(optimiser={"learning_rate": 1e30, "clip_norm": None}))
    with pytest.raises(TrainingDiverged, match="the loss became"):
        train(config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"devices": 4096}, r"devices=4096: this machine has \d+ CPU cores; give devices=\d+ or fewer"),
        pytest.param(
            {"devices": 2, "batch_size": 1},
            "devices=2: a batch of 1 cannot be shared among so many",
            marks=needs_two_cores,
        ),
        ({"devices": 0}, "devices=0: should be at least 1"),
    ],
)
def test_more_devices_than_there_are_is_one_line_before_anything_is_trained(make_data, recipe_for, changes, message):
    data = make_data({"train": 8, "val": 4})
    with pytest.raises(ConfigError, match=message) as refusal:
        train(recipe_for(data, **changes))
    assert "\n" not in str(refusal.value)
    assert not Path(data / "run").exists()
