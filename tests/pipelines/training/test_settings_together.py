"""Settings that are each possible work with each other: grids, refinement, pretraining, several stores and devices."""

import numpy as np
import pytest
import torch
from cores import needs_two_cores
from rounding import same_numbers
from safetensors.torch import load_file

import longvid
from longvid.decoders import build_decoder
from longvid.decoders.joined import JoinedStreams, StreamLayout
from longvid.decoders.segmentation.refined import Refined, RefinementSettings
from longvid.errors import ConfigError, DecoderError
from longvid.pipelines.evaluation.evaluate import evaluate
from longvid.pipelines.pretraining.config import PretrainConfig
from longvid.pipelines.pretraining.run import pretrain
from longvid.pipelines.training.joint import part_folders
from longvid.pipelines.training.run_folder import RunFolder
from longvid.pipelines.training.train import train
from longvid.pretrained import load_pretrained, read_pretrained
from longvid.stores import FeatureStore, Recipe
from longvid.tasks import Manifest

DENSE = {"kind": "dense", "classes": ["x", "y"], "metrics": ["clip_accuracy"]}
CONVOLUTIONS = {"name": "temporal-convolution", "options": {"width": 8, "layers": 1, "dropout": 0.0}}
REFINEMENT = {"stages": 1, "layers": 2, "width": 8, "dropout": 0.0}
RATES = {"optimiser.learning_rate": [1e-2, 1e-3]}


@pytest.fixture
def labelled(make_data):
    """Videos of which one kind has four times as many labelled clips as the other, and batches that do not come out."""
    return make_data({"train": 7, "val": 5, "test": 2}, label=lambda order: [[0, 16 if order else 4, order]])


def weights_of(folder):
    return load_file(RunFolder(folder).seed(0).weights_file)


def as_one(recipe_for, data, **settings):
    """Trains a grid, then what it chose alone; both results."""
    grid = train(recipe_for(data, out=str(data / "grid"), grid=RATES, **settings)).seeds[0]
    own = {"learning_rate": grid.combination["optimiser.learning_rate"]}
    optimiser = settings.pop("optimiser", {}) | own
    return grid, train(recipe_for(data, out=str(data / "alone"), optimiser=optimiser, **settings)).seeds[0]


@pytest.mark.parametrize(
    "settings",
    [
        {"decoder": {"name": "ms-tcn", "options": {"width": 8, "layers": 2, "refinements": 1}}},
        {"decoder": CONVOLUTIONS, "refinement": REFINEMENT | {"dropout": 0.3}, "smoothing": {"weight": 0.1}},
    ],
    ids=["stages of its own", "refinement and smoothing"],
)
def test_a_grid_supervises_every_stage_as_a_training_alone_does(labelled, recipe_for, settings):
    grid, alone = as_one(recipe_for, labelled, task=DENSE, epochs=2, **settings)
    assert grid.weights_sha256 == alone.weights_sha256
    assert grid.metrics == pytest.approx(alone.metrics)


def test_a_grid_starts_every_member_from_the_pretraining_with_layer_wise_rates(make_data, recipe_for):
    data = make_data({"train": 8, "val": 4})
    spans = {"name": "vis4mer", "options": {"width": 8, "layers": 2, "state_size": 4}}
    settings = {"decoder": spans, "window": {"clips": 16}, "epochs": 1, "device": "cpu", "out": str(data / "pre")}
    pre = pretrain(PretrainConfig.of({"stores": [str(data / "features.zarr")], **settings})).out
    start = {"decoder": {"init": pre}, "epochs": 1}
    grid, alone = as_one(recipe_for, data, optimiser={"layer_decay": 0.5}, **start)
    assert grid.weights_sha256 == alone.weights_sha256
    still = recipe_for(data, out=str(data / "still"), grid=RATES, decoder={"init": pre, "frozen": True}, epochs=1)
    train(still)
    trained, body = weights_of(data / "still"), load_pretrained(pre).decoder
    for name, tensor in body.state_dict().items():
        assert torch.equal(tensor, trained[name]) == (not name.startswith(body.head_names)), name


def test_an_attentive_probe_is_pretrained_below_its_query_and_only_where_it_can_tell_time(make_data, recipe_for):
    data = make_data({"train": 8, "val": 4})
    shared = {"stores": [str(data / "features.zarr")], "window": {"clips": 16}, "epochs": 2, "device": "cpu"}
    refused = {
        "has no order; give decoder.options.time_code=true": {"name": "attentive-4"},
        "has nothing to pretrain; use attentive-4": {"name": "attentive", "options": {"time_code": True}},
    }
    for message, decoder in refused.items():
        with pytest.raises(DecoderError, match=message):
            pretrain(PretrainConfig.of(shared | {"decoder": decoder, "out": str(data / "none")}))
    options = {"time_code": True, "layers": 2}
    pre = pretrain(
        PretrainConfig.of(shared | {"decoder": {"name": "attentive", "options": options}, "out": str(data / "pre")})
    )
    torch.manual_seed(0)
    start = read_pretrained(pre.out).build().decoder.state_dict()
    moved = {
        name for name, tensor in load_pretrained(pre.out).decoder.state_dict().items() if (tensor != start[name]).any()
    }
    assert {name.split(".")[0] for name in moved} == {"time", "blocks"}
    train(recipe_for(data, decoder={"init": pre.out, "frozen": True}, epochs=2))
    trained, body = weights_of(data / "run"), load_pretrained(pre.out).decoder
    still = {name for name, tensor in body.state_dict().items() if torch.equal(tensor, trained[name])}
    assert {name.split(".")[0] for name in still} == {"time", "blocks"}
    assert not {name for name in body.state_dict() if name.startswith("blocks")} - still


def test_a_grid_over_joint_tasks_writes_a_run_for_every_part(make_data, recipe_for):
    data = make_data({"train": 12, "val": 6, "test": 6})
    rows = []
    for row in Manifest.read(data / "manifest.jsonl"):
        order = int(row.label == "b-then-a")
        labels = {"scene": order, "view_count": (1000, 1_000_000)[order]}
        rows.append(type(row)(row.key, split=row.split, extra=labels | {"joint_labels": labels}))
    Manifest(tuple(rows)).write(data / "manifest.jsonl")
    joint = {"joint": ["lvu/scene", "lvu/view_count"], "task": {"name": "toy", "column": "joint_labels"}}
    result = train(recipe_for(data, grid=RATES, epochs=2, **joint))
    assert result.seeds[0].combination["optimiser.learning_rate"] in RATES["optimiser.learning_rate"]
    scene, views = (evaluate(folder) for folder in part_folders(result.out))
    assert (scene.listed, "accuracy" in scene.metrics, list(views.metrics)) == (6, True, ["mse", "mae"])


def test_refinement_follows_token_streams_step_by_step_and_every_stage_is_supervised(labelled, recipe_for, toy_recipe):
    other = FeatureStore.create(labelled / "b.zarr", Recipe.from_dict(toy_recipe.to_dict() | {"dim": 3}))
    rng = np.random.default_rng(1)
    for row in Manifest.read(labelled / "manifest.jsonl"):
        begins = np.arange(16, dtype=float)
        other.plan(row.key, np.stack([begins, begins + 1], axis=1), {})
        other.write_shard(row.key, 0, rng.standard_normal((16, 1, 3)).astype(np.float32))
        other.complete(row.key)
    stores = [str(labelled / "features.zarr"), str(labelled / "b.zarr")]
    config = recipe_for(
        labelled,
        store=stores,
        join={"how": "streams"},
        task=DENSE,
        decoder=CONVOLUTIONS,
        refinement=REFINEMENT,
        epochs=1,
    )
    train(config)
    decoder, _, _ = longvid.load_decoder(config.out)
    stages = decoder.stages(torch.randn(1, 20, 4))
    assert stages.shape == (2, 1, 20, 2)
    assert torch.equal(stages[1, :, 0::2], stages[1, :, 1::2]), "both tokens of a step have the step's answer"
    assert evaluate(config.out).metrics["clip_accuracy"].mean > 0
    inner = Refined(build_decoder("temporal-convolution", dim=4, outputs=2, head="steps"), RefinementSettings(stages=3))
    assert len(JoinedStreams(inner, StreamLayout(dims=(4, 3), tokens=(1, 1))).stages(torch.randn(1, 20, 4))) == 4


def test_refinement_follows_a_decoder_that_starts_from_a_pretraining(labelled, recipe_for):
    settings = {"decoder": CONVOLUTIONS, "window": {"clips": 16}, "epochs": 1, "device": "cpu", "standardise": True}
    pre = pretrain(
        PretrainConfig.of({"stores": [str(labelled / "features.zarr")], "out": str(labelled / "pre"), **settings})
    ).out
    frozen = {"init": pre, "frozen": True}
    train(recipe_for(labelled, task=DENSE, decoder=frozen, refinement=REFINEMENT, standardise=True, epochs=1))
    trained, body = weights_of(labelled / "run"), load_pretrained(pre).decoder
    moved = [
        name
        for name, tensor in body.state_dict().items()
        if not torch.equal(tensor, trained[f"decoder.{name}" if name.startswith("decoder.") else name])
    ]
    assert moved
    assert all(name.startswith(body.head_names) for name in moved)


SMALL_DATA = {
    "task": DENSE,
    "decoder": CONVOLUTIONS,
    "refinement": REFINEMENT,
    "smoothing": {"weight": 0.2},
    "loss": {"class_weights": "balanced", "label_smoothing": 0.1},
    "batch_size": 3,
    "eval_batch_size": 2,
    "epochs": 2,
}


@needs_two_cores
@pytest.mark.slow  # starts two processes: pytest -m slow -k two_processes
@pytest.mark.parametrize("grid", [{}, RATES], ids=["one", "grid"])
def test_two_processes_learn_with_every_setting_for_small_data_what_one_does(labelled, recipe_for, grid):
    settings = SMALL_DATA | {"optimiser": {"learning_rate": 1e-2, "accumulate": 2, "average": 0.9}, "grid": grid}
    one = train(recipe_for(labelled, out=str(labelled / "one"), **settings)).seeds[0]
    two = train(recipe_for(labelled, out=str(labelled / "two"), devices=2, **settings)).seeds[0]
    assert (two.metrics, two.best_epoch, two.combination) == (one.metrics, one.best_epoch, one.combination)
    found = weights_of(labelled / "two")
    for name, tensor in weights_of(labelled / "one").items():
        assert same_numbers(found[name], tensor, terms=4096, size=1.0), name


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"devices": 2, "smoothing": {"reading": "ms-tcn"}}, "smoothing.reading=ms-tcn counts padding"),
        ({"store": ["a", "b"], "decoder": {"init": "pre"}}, "decoder.init starts from a pretraining on one store"),
    ],
)
def test_what_has_no_meaning_together_stays_one_clear_line(tmp_path, recipe_for, settings, message):
    with pytest.raises(ConfigError, match=message) as raised:
        recipe_for(tmp_path, **settings)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("setting", [{"average": 0.9}, {"layer_decay": 0.5}, {"final_weight_decay": 1e-6}])
def test_a_pretraining_says_which_settings_of_a_training_it_does_not_have(setting):
    with pytest.raises(ConfigError, match=f"optimiser.{next(iter(setting))} is a setting of `longvid train`"):
        PretrainConfig.of({"stores": ["a.zarr"], "optimiser": setting})
