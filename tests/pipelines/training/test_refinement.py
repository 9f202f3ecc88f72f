"""Refinement stages and the smoothing loss in a training: what they gain, what is kept of them, what is refused."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import longvid
from longvid.errors import ConfigError
from longvid.files import read_json
from longvid.pipelines.evaluation.evaluate import evaluate
from longvid.pipelines.training.run_folder import RunFolder
from longvid.pipelines.training.train import train
from longvid.stores import FeatureStore, Recipe
from longvid.tasks import Manifest, ManifestRow

CLASSES = ("wait", "take", "pour", "stir")
TASK = {
    "kind": "dense",
    "classes": list(CLASSES),
    "metrics": ["mof", "edit", "f1@10", "f1@25", "f1@50"],
    "labels_per_second": 1,
}
CLIPS, DIM = 96, 6


def script(rng: np.random.Generator) -> np.ndarray:
    """Class of each clip: wait, then take, pour and stir in one of two orders, each for 10 to 25 clips."""
    orders = [(0, 1, 2, 3, 0), (0, 1, 3, 2, 0)]
    lengths = rng.integers(10, 26, 5)
    return np.repeat(orders[rng.integers(2)], lengths)[:CLIPS]


@pytest.fixture
def actions(tmp_path: Path, toy_recipe: Recipe) -> Path:
    """A folder with a store and a manifest: one token per second, its class under noise of twice its size."""
    rng, rows = np.random.default_rng(0), []
    recipe = Recipe.from_dict(toy_recipe.to_dict() | {"dim": DIM})
    store = FeatureStore.create(tmp_path / "features.zarr", recipe, clips_per_shard=256)
    marks = rng.standard_normal((len(CLASSES), DIM))
    for split, count in {"train": 24, "val": 6, "test": 8}.items():
        for index in range(count):
            labels = script(rng)
            key, starts = f"{split}/{index}", np.arange(len(labels), dtype=float)
            tokens = marks[labels] + 1.2 * rng.standard_normal((len(labels), DIM))
            store.plan(key, np.stack([starts, starts + 1], axis=1), {})
            store.write_shard(key, 0, tokens[:, None].astype(np.float32))
            store.complete(key)
            borders = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), len(labels)]
            segments = [[float(a), float(b), CLASSES[labels[a]]] for a, b in pairwise(borders)]
            rows.append(ManifestRow(key, split=split, label=segments))
    Manifest(tuple(rows)).write(tmp_path / "manifest.jsonl")
    return tmp_path


def settings(**more: Any) -> dict[str, Any]:
    return {
        "task": TASK,
        "decoder": {"name": "temporal-convolution", "options": {"width": 16, "layers": 2}},
        "epochs": 25,
        "batch_size": 4,
        "optimiser": {"learning_rate": 1e-2},
        "seeds": [0, 1, 2],
    } | more


REFINED = {
    "refinement": {"stages": 2, "layers": 5, "width": 16, "dropout": 0.1},
    "smoothing": {"weight": 0.05},
}


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_refinement_raises_f1_of_segments_for_every_seed(
    seed: int, actions: Path, recipe_for: Callable[..., Any]
) -> None:
    found = {}
    for name, more in {"plain": {}, "refined": REFINED}.items():
        out = str(actions / name)
        train(recipe_for(actions, **settings(out=out, seeds=[seed], **more)))
        found[name] = evaluate(out).seeds[0].metrics["f1@50"]
    assert found["refined"] - found["plain"] > 0.05, found


def test_a_refined_run_is_loaded_evaluated_and_told_in_every_way_to_count(
    actions: Path, recipe_for: Callable[..., Any]
) -> None:
    train(recipe_for(actions, **settings(seeds=[0], epochs=1, standardise=True, **REFINED)))
    record = RunFolder(actions / "run").record()
    assert record.decoder.refinement == {**REFINED["refinement"], "shared": False, "tokens_per_clip": 1}
    decoder, _, _ = longvid.load_decoder(actions / "run")
    stages = decoder.stages(torch.randn(1, 20, DIM))
    assert stages.shape == (3, 1, 20, len(CLASSES)), "the decoder's own answer and two refinements"
    result = evaluate(actions / "run")
    assert set(result.readings) == {"pooled", "last-frame-cut", "per-video", "epsilon"}
    for name, value in result.readings["pooled"].items():
        assert value == pytest.approx(result.metrics[name].mean)
    assert read_json(actions / "run" / "evaluation" / "test.json")["readings"] == result.readings


def test_a_changed_count_of_refinement_stages_is_refused_before_anything_is_built(
    actions: Path, recipe_for: Callable[..., Any]
) -> None:
    train(recipe_for(actions, **settings(seeds=[0], epochs=1, **REFINED)))
    path = actions / "run" / "run.json"
    path.write_text(path.read_text().replace('"stages": 2', '"stages": 200000000'))
    with pytest.raises(ConfigError, match=r"refinement\.stages=200000000"):
        longvid.load_decoder(actions / "run")


def test_the_last_epoch_is_kept_where_the_authors_kept_it(actions: Path, recipe_for: Callable[..., Any]) -> None:
    given = settings(seeds=[0], epochs=3, optimiser={"learning_rate": 0.3}, validation={"choose": "last"})
    seed = train(recipe_for(actions, **given)).seeds[0]
    assert seed.best_epoch == 2
    rows = (actions / "run" / "seed-0" / "history.csv").read_text().splitlines()
    assert float(rows[-1].split(",")[3]) == pytest.approx(seed.metrics["mof"], rel=1e-5)


def test_a_sum_of_metrics_chooses_the_epoch(actions: Path, recipe_for: Callable[..., Any]) -> None:
    given = settings(seeds=[0], epochs=4, validation={"metric": "edit+f1@50"})
    seed = train(recipe_for(actions, **given)).seeds[0]
    lines = (actions / "run" / "seed-0" / "history.csv").read_text().splitlines()
    rows = [dict(zip(lines[0].split(","), line.split(","), strict=True)) for line in lines[1:]]
    sums = [float(row["edit"]) + float(row["f1@50"]) for row in rows]
    assert sums[seed.best_epoch] == max(sums)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"validation": {"metric": "accuracy"}}, "validation.metric=accuracy: task 'labels' has no metric 'accuracy'"),
        ({"task": TASK | {"reading": "pooledd"}}, "no reading 'pooledd' of segmentation metrics; there are pooled"),
    ],
)
def test_metrics_and_readings_that_are_not_there_are_named(
    more: dict[str, Any], message: str, actions: Path, recipe_for: Callable[..., Any]
) -> None:
    with pytest.raises(ConfigError, match=message):
        train(recipe_for(actions, **settings(**more)))


@pytest.mark.parametrize("name", ["refinement", "smoothing"])
def test_refinement_and_smoothing_of_whole_videos_are_refused(name: str, make_data: Any, recipe_for: Any) -> None:
    with pytest.raises(ConfigError, match=f"{name} is for dense tasks, and 'labels' is a classification"):
        train(recipe_for(make_data(), **{name: {}}))
