"""A pretraining goes on where it was cut off, beats what needs no model, and training starts from it."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from longvid.errors import AnnotationError, ConfigError, DecoderError, WeightsError
from longvid.pipelines.pretraining.config import PretrainConfig, load_pretraining
from longvid.pipelines.pretraining.data import RandomStretches, open_pretraining_data
from longvid.pipelines.pretraining.results import PretrainResult, Silent
from longvid.pipelines.pretraining.run import pretrain
from longvid.pipelines.pretraining.surprise import surprise_of
from longvid.pipelines.training.config import load_config
from longvid.pipelines.training.train import train
from longvid.pretrained import load_pretrained, read_pretrained
from longvid.stores import FeatureStore, Recipe
from longvid.tasks import Manifest, ManifestRow

DIM = 4
VIS4MER = {"name": "vis4mer", "options": {"width": 16, "layers": 2, "state_size": 8, "bidirectional": True}}


class CutOff(Silent):
    """Presses Ctrl-C at the end of an epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def epoch_ended(self, row) -> None:
        if row.epoch == self.epoch:
            raise KeyboardInterrupt


def cycle(rng: np.random.Generator, num_clips: int, num_tokens: int) -> np.ndarray:
    """A turn of four clips with a phase and a speed of its own, and noise: a line between neighbours cuts corners."""
    angle = (np.pi / 2) * np.arange(num_clips) + rng.uniform(0, 2 * np.pi)
    clean = np.stack([np.cos(angle), np.sin(angle), np.cos(2 * angle), np.ones(num_clips)], axis=1)
    return (clean[:, None] + 0.05 * rng.standard_normal((num_clips, num_tokens, DIM))).astype(np.float32)


@pytest.fixture
def make_store(tmp_path, toy_recipe):
    """Writes a store of turning videos: `make_store("a", videos=12)`."""

    def make(name: str, *, videos: int = 12, num_clips: int = 32, num_tokens: int = 1, **changes) -> str:
        recipe = Recipe.from_dict(toy_recipe.to_dict() | {"num_tokens": num_tokens} | changes)
        store = FeatureStore.create(tmp_path / f"{name}.zarr", recipe, clips_per_shard=64)
        rng = np.random.default_rng(len(name))
        for index in range(videos):
            key = f"{name}/{index}"
            begins = np.arange(num_clips, dtype=float)
            store.plan(key, np.stack([begins, begins + 1], axis=1), {})
            clips = cycle(rng, num_clips, num_tokens)
            store.write_shard(key, 0, np.repeat(clips, recipe.dim // DIM, axis=2))
            store.complete(key)
        return str(tmp_path / f"{name}.zarr")

    return make


@pytest.fixture
def settings_for(tmp_path):
    """A small, fast pretraining of a store."""

    def make(*stores: str, **settings) -> PretrainConfig:
        defaults = {
            "stores": list(stores),
            "decoder": VIS4MER,
            "window": {"clips": 32},
            "batch_size": 4,
            "epochs": 3,
            "optimiser": {"learning_rate": 1e-2},
            "device": "cpu",
            "out": str(tmp_path / "pre"),
        }
        return PretrainConfig.of(defaults | settings)

    return make


OBJECTIVES = {
    "spans": {"objective": {"mask": "spans", "mean_span": 2}},
    "semantic, cosine": {"objective": {"mask": "semantic", "loss": "cosine", "target": "unit-length"}},
    "next clip": {
        "objective": {"name": "next-clip", "horizons": [1, 2]},
        "decoder": {"name": "gru", "options": {"width": 8}},
    },
    "lv-mae": {
        "objective": {"mask": "random", "target": "unit-length"},
        "decoder": {"name": "lv-mae", "options": {"depth": 1, "decoder_width": 8, "decoder_depth": 1}},
        "window": {"clips": 16, "shortest": 2, "repeat_below": 5},
    },
    "global tokens, standardised": {
        "standardise": True,
        "decoder": {
            "name": "global-tokens",
            "options": {"width": 8, "token_dim": 8, "num_tokens": 2, "dilations": [1, 2]},
        },
    },
}


@pytest.mark.faults
@pytest.mark.parametrize("settings", OBJECTIVES.values(), ids=OBJECTIVES)
def test_an_interrupted_pretraining_goes_on_to_the_same_weights(make_store, settings_for, tmp_path, settings):
    store = make_store("a", videos=8)
    whole = pretrain(settings_for(store, out=str(tmp_path / "whole"), **settings))
    for epoch in (0, 1):
        with pytest.raises(KeyboardInterrupt):
            pretrain(settings_for(store, out=str(tmp_path / "cut"), **settings), progress=CutOff(epoch))
    cut = pretrain(settings_for(store, out=str(tmp_path / "cut"), **settings))
    assert cut.weights_sha256 == whole.weights_sha256
    assert (cut.train, cut.val) == (whole.train, whole.val)
    assert (whole.videos, whole.validated) == (7, 1)
    rows = list(csv.DictReader((tmp_path / "cut" / "history.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert all(float(row["hours_per_second"]) > 0 for row in rows)


def test_a_pretraining_beats_the_guesses_that_need_no_model(make_store, settings_for):
    config = settings_for(
        make_store("a", videos=40),
        epochs=40,
        objective={"mask": "spans", "mean_span": 3},
        optimiser={"learning_rate": 2e-2},
        decoder={"name": "vis4mer", "options": VIS4MER["options"] | {"dropout": 0.0}},
    )
    result = pretrain(config)
    assert result.learned
    assert result.val is not None
    assert result.val.loss < 0.8 * result.val.hardest
    assert set(result.val.constants) == {"store mean", "visible mean", "interpolation"}
    assert result.hours == pytest.approx(36 * 32 / 3600)
    assert result.hours_per_second > 0
    assert PretrainResult.from_dict(json.loads((Path(config.out) / "result.json").read_text())) == result


def test_several_stores_of_one_recipe_are_one_pretraining(make_store, settings_for):
    stores = make_store("a", videos=5), make_store("bb", videos=5)
    result = pretrain(settings_for(*stores, epochs=1))
    assert result.videos + result.validated == 10
    keys = read_pretrained(result.out).videos
    assert {key[0] for key in keys["train"]} == {"a", "b"}


@pytest.mark.parametrize(
    ("changes", "said"), [({"dim": 8}, r"dim: 4 != 8"), ({"pooling": "class"}, 'pooling: "mean" != "class"')]
)
def test_stores_of_two_recipes_are_refused(make_store, settings_for, changes, said):
    stores = make_store("a", videos=3), make_store("bb", videos=3, **changes)
    with pytest.raises(ConfigError, match=said):
        pretrain(settings_for(*stores))


def manifest_of(path: Path, name: str, count: int = 12) -> str:
    rows = [
        ManifestRow(f"{name}/{i}", split=("train", "val", "test")[i % 3], label=("x", "y")[i // 3 % 2])
        for i in range(count)
    ]
    Manifest(tuple(rows)).write(path / "manifest.jsonl")
    return str(path / "manifest.jsonl")


def test_a_manifest_keeps_a_pretraining_to_its_training_split(make_store, settings_for, tmp_path):
    store, manifest = make_store("a"), manifest_of(tmp_path, "a")
    result = pretrain(settings_for(store, manifest=manifest, epochs=1))
    used = read_pretrained(result.out).videos
    assert sorted(used["train"] + used["val"]) == sorted(f"a/{i}" for i in range(0, 12, 3))
    assert result.notes == ()
    with pytest.raises(AnnotationError, match=r"no video is in splits=\['unlabelled'\]"):
        pretrain(settings_for(store, manifest=manifest, splits=["unlabelled"], out=str(tmp_path / "other")))


def test_epochs_draw_other_stretches_of_every_video_and_the_same_again(make_store, settings_for):
    config = settings_for(make_store("a", videos=6), window={"clips": 20, "shortest": 4})
    data = open_pretraining_data(config, shortest=4).train
    sampler = RandomStretches(data, shortest=4, seed=3)
    epochs = []
    for epoch in (0, 1, 0):
        sampler.set_epoch(epoch)
        epochs.append(list(sampler))
    assert epochs[0] == epochs[2] != epochs[1]
    for drawn in epochs:
        assert sorted(stretch.video for stretch in drawn) == list(range(5))
        assert all(4 <= stretch.stop - stretch.first <= 20 and stretch.stop <= 32 for stretch in drawn)


def test_videos_that_are_too_short_are_named_and_left_out(make_store, settings_for, tmp_path):
    stores = make_store("a", videos=4), make_store("bb", videos=1, num_clips=3)
    result = pretrain(settings_for(*stores, epochs=1))
    assert result.short == ("bb/0",)
    assert any("fewer than 4 clips" in note and "'bb/0'" in note for note in result.notes)
    with pytest.raises(AnnotationError, match="no video of at least 4 clips"):
        pretrain(settings_for(stores[1], out=str(tmp_path / "none")))


@pytest.mark.parametrize("mode", ["frozen", "layer-wise"])
@pytest.mark.parametrize("name", ["spans", "lv-mae", "global tokens, standardised"])
def test_training_starts_from_a_pretraining(make_store, settings_for, tmp_path, name, mode):
    store, manifest = make_store("a"), manifest_of(tmp_path, "a")
    pre = pretrain(settings_for(store, epochs=1, **OBJECTIVES[name]))
    words = ["epochs=2", "batch_size=4", "tensorboard=false", "device=cpu", f"decoder.init={pre.out}"]
    words += ["decoder.frozen=true"] if mode == "frozen" else ["optimiser.layer_decay=0.5", "schedule.warmup=0"]
    words += ["standardise=true"] if "standardised" in name else []
    config = load_config(None, [f"store={store}", f"manifest={manifest}", f"out={tmp_path / 'run'}", *words])
    result = train(config)
    assert result.decoder == pre.decoder
    trained = load_file(tmp_path / "run" / "seed-0" / "best.safetensors")
    start = load_pretrained(pre.out).decoder
    body = {n: t for n, t in start.state_dict().items() if not n.startswith(start.head_names)}
    assert len(body) > 5
    moved = {n for n, t in body.items() if not torch.equal(t, trained[n])}
    assert (moved == set()) == (mode == "frozen")
    assert train(config) == result  # the kept recipe is the same run


@pytest.mark.parametrize("name", ["gru", "lstm", "temporal-convolution", "hybrid"])
def test_training_starts_from_a_pretraining_that_names_no_width(make_store, settings_for, tmp_path, name):
    store, manifest = make_store("a", dim=80), manifest_of(tmp_path, "a")
    pre = pretrain(settings_for(store, epochs=1, decoder={"name": name}))
    words = [f"store={store}", f"manifest={manifest}", "epochs=1", "batch_size=4", "tensorboard=false", "device=cpu"]
    result = train(load_config(None, [*words, f"out={tmp_path / 'run'}", f"decoder.init={pre.out}"]))
    plain = train(load_config(None, [*words, f"out={tmp_path / 'plain'}", f"decoder.name={name}"]))
    assert result.decoder == name
    assert result.parameters == plain.parameters, "a pretraining is as wide as a training without one"


def test_a_training_is_refused_a_pretraining_that_does_not_fit(make_store, settings_for, tmp_path):
    store, manifest = make_store("a"), manifest_of(tmp_path, "a")
    pre = pretrain(settings_for(store, epochs=1)).out
    given = [f"manifest={manifest}", f"out={tmp_path / 'run'}", f"decoder.init={pre}"]

    def refused(error: type[Exception], said: str, *words: str) -> None:
        with pytest.raises(error, match=said) as raised:
            train(load_config(None, [*given, *words]))
        assert "\n" not in str(raised.value)
        assert not (tmp_path / "run" / "seed-0").exists()

    wide = make_store("a2", dim=8)
    refused(ConfigError, "4 wide, the store's are 8 wide", f"store={wide}", f"manifest={manifest_of(tmp_path, 'a2')}")
    other = make_store("a3", pooling="class")
    refused(ConfigError, "other features .pooling", f"store={other}", f"manifest={manifest_of(tmp_path, 'a3')}")
    manifest_of(tmp_path, "a")
    refused(ConfigError, "pretrained 'vis4mer'; leave decoder.name out", f"store={store}", "decoder.name=gru")
    refused(ConfigError, "standardise=false; say the same", f"store={store}", "standardise=true")
    refused(WeightsError, "does not fit ViS4mer", f"store={store}", "decoder.options.width=8")
    refused(ConfigError, "holds no pretraining run", f"store={store}", f"decoder.init={tmp_path}")
    with pytest.raises(ConfigError, match=r"needs decoder\.init"):
        load_config(None, [f"store={store}", f"manifest={manifest}", "decoder.frozen=true"])


def test_a_pretraining_with_another_file_of_weights_is_refused(make_store, settings_for, tmp_path):
    store = make_store("a", videos=4)
    first = pretrain(settings_for(store, epochs=1))
    second = pretrain(settings_for(store, epochs=1, seed=5, out=str(tmp_path / "second")))
    (Path(first.out) / "pretrained.safetensors").write_bytes((Path(second.out) / "pretrained.safetensors").read_bytes())
    with pytest.raises(WeightsError, match="is not what was pretrained"):
        load_pretrained(first.out)


@pytest.mark.parametrize("setting", [{"epochs": 4}, {"objective": {"ratio": 0.3}}, {"seed": 2}])
def test_another_pretraining_does_not_go_on_in_a_folder(make_store, settings_for, setting):
    store = make_store("a", videos=4)
    pretrain(settings_for(store, epochs=1))
    with pytest.raises(ConfigError, match=f"holds another run .*{next(iter(setting))}"):
        pretrain(settings_for(store, **{"epochs": 1} | setting))


IMPOSSIBLE = {
    "a decoder that sees the future": ({"objective": {"name": "next-clip"}}, DecoderError, "sees the future"),
    "a pooling": ({"decoder": {"name": "mean-linear"}}, DecoderError, "cannot be pretrained"),
    "a window that is too short": ({"window": {"shortest": 2}}, ConfigError, "window.shortest=2: .* 4 clips or more"),
    "a window shorter than the shortest": ({"window": {"clips": 3}}, ConfigError, "less than the shortest window"),
    "a ratio of nothing": ({"objective": {"ratio": 0}}, ConfigError, "masks nothing"),
    "a setting of training": ({"decoder": {"init": "x"}}, ConfigError, "settings of `longvid train`"),
    "a setting that is not there": ({"objective": {"rate": 1}}, ConfigError, "did you mean objective.ratio"),
}


@pytest.mark.parametrize(("setting", "error", "said"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_an_impossible_pretraining_is_refused_before_anything_is_written(
    make_store, settings_for, tmp_path, setting, error, said
):
    store = make_store("a", videos=4)
    with pytest.raises(error, match=said) as raised:
        pretrain(settings_for(store, **setting))
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "pre").exists()


def test_the_surprise_of_a_stored_video_marks_where_its_rhythm_breaks(make_store, settings_for, tmp_path, toy_recipe):
    pre = pretrain(
        settings_for(
            make_store("a", videos=40),
            epochs=30,
            objective={"name": "next-clip", "horizons": [1]},
            decoder={"name": "gru", "options": {"width": 16}},
            optimiser={"learning_rate": 2e-2},
        )
    )
    assert pre.learned
    store = FeatureStore.create(tmp_path / "new.zarr", toy_recipe, clips_per_shard=64)
    begins = np.arange(60, dtype=float)
    store.plan("v", np.stack([begins, begins + 1], axis=1), {})
    clips = cycle(np.random.default_rng(9), 60, 1)
    clips[30:, 0, :3] *= -1
    store.write_shard("v", 0, clips)
    store.complete("v")
    found = surprise_of(pre.out, "v", store=str(tmp_path / "new.zarr"))
    assert 30 in found.boundaries
    assert int(np.argmax([value or 0.0 for value in found.surprise])) == 30
    assert found.surprise[0] is None
    assert found.mean < found.last_clip


def test_the_command_pretrains_trains_and_tells_the_constants(make_store, tmp_path, command):
    store, manifest = make_store("a"), manifest_of(tmp_path, "a")
    small = ["decoder.options.width=16", "decoder.options.layers=2", "decoder.options.state_size=8", "device=cpu"]
    status, said, errors = command("pretrain", store, *small, "window.clips=32", "epochs=2", "out=runs/pre")
    assert status == 0, errors
    for word in ("store mean", "visible mean", "interpolation", "hours of video per second", "decoder.init=runs/pre"):
        assert word in said
    given = [f"store={store}", f"manifest={manifest}", "epochs=1", "tensorboard=false", "device=cpu"]
    status, said, errors = command("train", *given, "decoder.init=runs/pre", "out=runs/fine")
    assert status == 0, errors
    assert "vis4mer" in said
    status, _, errors = command("surprise", "runs/pre", "a/0", "--store", store)
    assert status == 2
    assert "surprise needs objective.name=next-clip" in errors
    assert command("pretrain", "epochs=2")[0] == 2


def test_settings_come_from_a_file_and_overrides(tmp_path):
    (tmp_path / "lv.yaml").write_text("stores: x.zarr\nepochs: 7\noptimiser: {learning_rate: 5e-4}\n")
    config = load_pretraining([], tmp_path / "lv.yaml", ["epochs=9"])
    assert (config.stores, config.epochs) == ([str(tmp_path / "x.zarr")], 9)
    assert (config.optimiser.learning_rate, config.optimiser.betas) == (5e-4, (0.9, 0.95))
    (tmp_path / "far.yaml").write_text("stores: [s3://bucket/x.zarr]\n")
    with pytest.raises(ConfigError, match="not opened because a file names it"):
        load_pretraining([], tmp_path / "far.yaml", [])
