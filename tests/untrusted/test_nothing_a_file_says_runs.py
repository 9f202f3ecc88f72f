"""Code that a store, a run, a recipe or a checkpoint names is never imported, called or unpickled, by any command."""

import json
import pickle
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numcodecs.pickles
import numpy as np
import pytest
import torch
import yaml

import longvid as longvid_package
from longvid.errors import DecoderError, EncoderError, LongvidError
from longvid.pipelines.evaluation.evaluate import evaluate
from longvid.pipelines.evaluation.predict import predict
from longvid.pipelines.training.config import load_features
from longvid.stores import FeatureStore, Recipe, StoreError

pytestmark = pytest.mark.faults

CODE = ["os:system", "evil:build", "evil:nothing"]
"""What a file may name: in the standard library, beside the working folder, not there at all."""


def name_encoder(world, name, **made_with):
    """Have the run say that this encoder made its features, with the options it is to be called with."""

    def change(record):
        config = {"command": world.command, "weights": "loaded"}
        record["store_recipe"] |= {"encoder": name, "encoder_config": config}
        record["made_with"] = made_with

    world.change(world.run / "run.json", change)


@pytest.mark.parametrize("name", CODE)
def test_predict_names_the_code_a_run_asks_for_and_imports_nothing(world, refused, name):
    name_encoder(world, name)
    line = refused("predict", world.run, world.video)
    assert f"--encoder {name}" in line
    with pytest.raises(EncoderError, match="code is not imported"):
        predict(world.run, world.video, device="cpu")


def test_what_the_run_says_of_where_its_encoder_was_is_text_too(world, refused):
    name_encoder(world, "colour", encoder="evil:build", weights="evil.pt")
    assert "--encoder evil:build" in refused("predict", world.run, world.video)
    name_encoder(world, "colour")
    assert "'colour', which is not a built-in encoder" in refused("predict", world.run, world.video)


def test_options_in_a_run_reach_only_what_a_builder_of_longvids_declares(world, longvid):
    def change(record):
        record["store_recipe"]["encoder_config"] |= {"command": world.command, "fetch": True, "name": "os:system"}

    world.change(world.run / "run.json", change)
    status, _, err = longvid("predict", world.run, world.video)
    assert status == 2
    assert "command" in err, "the difference is named, and nothing else is done with it"


@pytest.mark.parametrize("name", CODE)
def test_a_store_that_names_code_is_trained_and_scored_as_numbers(world, longvid, refused, name):
    source = FeatureStore.open(world.store)
    recipe = Recipe.from_dict(source.recipe.to_dict() | {"encoder": name, "encoder_config": {"command": world.command}})
    poisoned = FeatureStore.create(world.folder / "poisoned.zarr", recipe, made_with={"encoder": name})
    for video in source.videos():
        poisoned.plan(video.key, video.seconds, {})
        poisoned.write_shard(video.key, 0, video.read(0, len(video.seconds)))
        poisoned.complete(video.key)
    settings = ["manifest=manifest.jsonl", "decoder.name=mean-linear", "epochs=1", "tensorboard=false", "device=cpu"]
    assert longvid("train", "store=poisoned.zarr", "out=r", *settings)[0] == 0
    for words in (
        ["evaluate", "r"],
        ["report", "r", "--out", "page.html"],
        ["info", "poisoned.zarr"],
        ["verify", "poisoned.zarr"],
        ["repair", "poisoned.zarr"],
        ["export", "poisoned.zarr", "out"],
        ["results", "breakfast/dish", "--runs", "."],
    ):
        status, _, err = longvid(*words)
        assert (status, err) == (0, ""), words
    assert f"--encoder {name}" in refused("predict", "r", world.video)


@pytest.mark.parametrize("name", ["os:system", "evil:Decoder"])
def test_a_decoder_that_is_code_is_refused_by_name(world, refused, name):
    world.change(world.run / "run.json", lambda record: record["decoder"].update(name=name))
    for words in (["evaluate", world.run], ["predict", world.run, world.video]):
        assert repr(name) in refused(*words)
    with pytest.raises(DecoderError, match="nothing is imported because a file names it"):
        longvid_package.load_decoder(world.run)


@pytest.mark.parametrize("name", CODE)
def test_a_recipe_file_names_code_in_vain_unless_its_user_allows_it(world, refused, longvid, name):
    recipe = {"store": "features.zarr", "manifest": "manifest.jsonl", "out": "other", "epochs": 1, "tensorboard": False}
    recipe |= {"decoder": {"name": "mean-linear"}, "features": {"encoder": name, "options": {"command": world.command}}}
    Path("shared.yaml").write_text(yaml.safe_dump(recipe))
    line = refused("extract", world.video, "--recipe", "shared.yaml", "-o", "x.zarr", "--scheduler", "serial")
    assert f"shared.yaml names the encoder {name!r}, which is code" in line
    assert "--allow-code" in line
    with pytest.raises(EncoderError, match="which is code"):
        load_features("shared.yaml")
    assert longvid("train", "shared.yaml")[0] == 0, "training reads the features, whoever made them"
    Path("decoder.yaml").write_text(yaml.safe_dump(recipe | {"decoder": {"name": name}, "out": "third"}))
    line = refused("train", "decoder.yaml")
    assert f"decoder.yaml names the decoder {name!r}, which is code" in line
    assert "--allow-code" in line


def test_allow_code_says_what_it_imports(world, longvid):
    Path("mine.py").write_text(
        "from longvid import EncoderSpec, Preprocessing, Sampling, wrap\n"
        "def build(scale=1.0):\n"
        "    spec = EncoderSpec('mine', Sampling(frames=1, fps=1.0, stride_seconds=1.0), Preprocessing(8, 8))\n"
        "    return wrap(lambda clips: scale * clips.mean(dim=(3, 4)).transpose(1, 2).unsqueeze(2), spec)\n"
    )
    Path("own.yaml").write_text("features: {encoder: 'mine:build', options: {scale: 2.0}}\n")
    words = ["extract", world.video, "--recipe", "own.yaml", "-o", "x.zarr", "--scheduler", "serial"]
    status, _, err = longvid(*words, "--encoder", "mine:build")
    assert status == 2
    assert "has options for mine:build, which is code" in err
    status, _, err = longvid(*words, "--allow-code")
    assert status == 0, err
    assert "importing mine:build, which own.yaml names" in err
    assert FeatureStore.open("x.zarr").made_with == {"encoder": "mine:build"}


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['{command}']",
        "store: !!python/object/apply:os.system ['{command}']",
        "store: !!python/name:os.system",
        "store: !!python/module:evil",
        "store: &a [*a]",
        "a: &a [x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in pairwise("abcdefghi")),
        "a: &a {x: 1}\n"
        + "".join(f"{b}: &{b} {{<<: [{', '.join([f'*{a}'] * 9)}]}}\n" for a, b in pairwise("abcdefghi")),
        "store: " + "[" * 100_000,
        "store: " + "{a: " * 3_000,
        "epochs: " + "1" * 100_000,
        "store: 2026-02-31",
        "store: |\n" + "  x\n" * 400_000,
        "? [a, b]\n: 1",
    ],
    ids=["apply", "apply in a value", "name", "module", "cycle", "aliases", "merges", "deep", "deep maps", "digits",
         "date", "long", "key"],
)  # fmt: skip
def test_a_recipe_file_is_plain_values_of_bounded_size(world, refused, text):
    Path("shared.yaml").write_text(text.replace("{command}", world.command))
    for words in (["train", "shared.yaml"], ["extract", world.video, "--recipe", "shared.yaml", "-o", "x.zarr"]):
        assert "shared.yaml" in refused(*words)
    (world.run / "recipe.yaml").write_text(Path("shared.yaml").read_text())
    for words in (["evaluate", world.run], ["report", world.run]):
        assert "recipe.yaml" in refused(*words)
    assert len(refused("train", "store=x", "manifest=y", f"name={text}")) < 500


def test_a_checkpoint_that_is_a_pickle_of_code_is_refused(world, refused):
    for name in ("resume.ckpt", "best.safetensors"):
        torch.save({"state_dict": world.poison()}, world.run / "seed-0" / name)
    assert "best.safetensors" in refused("evaluate", world.run)
    assert "best.safetensors" in refused("predict", world.run, world.video)
    with pytest.raises(LongvidError, match=r"best\.safetensors"):
        longvid_package.load_decoder(world.run)
    (world.run / "seed-0" / "result.json").unlink()
    assert "resume.ckpt" in refused("train", world.run / "recipe.yaml")
    torch.save({"state_dict": world.poison()}, world.folder / "evil.pth")
    words = ["-o", "x.zarr", "--scheduler", "serial", "--weights", "evil.pth"]
    for encoder in ("xvit-b16-8f", "dualformer-tiny", "mobile-former-26m"):
        assert "evil.pth" in refused("extract", world.video, "-e", encoder, *words)


def test_a_folder_of_npy_files_that_holds_pickled_objects_is_not_imported(world, longvid):
    folder = world.folder / "arrays"
    folder.mkdir()
    np.save(folder / "v0.npy", np.array([world.poison()], dtype=object), allow_pickle=True)
    assert longvid("import", folder, "x.zarr")[0] == 2


def test_an_array_of_the_old_zarr_format_is_not_read(world, refused, monkeypatch):
    """Format 2 names filters, of which one unpickles, in older versions of numcodecs without being asked."""
    monkeypatch.setattr(numcodecs.pickles, "ALLOW_UNSAFE_PICKLE_DECODE", True)
    old = {"zarr_format": 2, "shape": [9, 1, 16], "chunks": [9, 1, 16], "dtype": "|O", "order": "C", "fill_value": ""}
    old |= {"compressor": {"id": "pickle"}, "filters": [{"id": "vlen-utf8"}]}
    for array in (world.store / "videos").glob("*/tokens"):
        for file in array.iterdir():
            file.unlink()
        (array / ".zarray").write_text(json.dumps(old))
        (array / "0.0.0").write_bytes(pickle.dumps(world.poison()))
    assert "cannot be read" in refused("evaluate", world.run)
    with pytest.raises(StoreError, match="cannot be read"):
        FeatureStore.open(world.store).video("v3").read(0, 2)


@pytest.mark.parametrize("command", [["doctor"], ["tasks"], ["info", "features.zarr"], ["evaluate", "run"]])
def test_a_module_beside_the_working_folder_hides_and_feeds_nothing(world, command):
    """The installed command, unlike `python -m`, does not look into the working folder by itself."""
    for name in ("dask_cuda", "torchcodec", "decord", "pykeops", "timm", "dask_jobqueue", "mamba_ssm"):
        Path(f"{name}.py").write_text(Path("evil.py").read_text())
    code = "import sys; sys.path = [p for p in sys.path if p]; from longvid.pipelines.cli import main; main()"
    subprocess.run([sys.executable, "-c", code, *command], cwd=world.folder, capture_output=True, check=False)


def test_a_run_of_an_encoder_of_ones_own_takes_it_by_name_and_checks_its_weights(world, refused, longvid):
    Path("own_encoder.py").write_text(
        "import torch\n"
        "from longvid import EncoderSpec, Preprocessing, Sampling, wrap\n"
        "class Colour(torch.nn.Module):\n"
        "    def __init__(self, scale):\n"
        "        super().__init__()\n"
        "        self.scale = torch.nn.Parameter(torch.tensor(scale))\n"
        "    def forward(self, clips):\n"
        "        return self.scale * clips.mean(dim=(3, 4)).transpose(1, 2).unsqueeze(2)\n"
        "def build(scale=1.0):\n"
        "    spec = EncoderSpec('colour', Sampling(frames=1, fps=2.0, stride_seconds=0.5), Preprocessing(8, 8))\n"
        "    return wrap(Colour(scale), spec)\n"
    )
    words = ["-e", "own_encoder:build", "--option", "scale=2.0", "-o", "own.zarr", "--scheduler", "serial"]
    assert longvid("extract", *world.folder.glob("v*.mp4"), *words)[0] == 0
    settings = ["manifest=manifest.jsonl", "decoder.name=mean-linear", "epochs=1", "tensorboard=false", "device=cpu"]
    assert longvid("train", "store=own.zarr", "out=own", *settings)[0] == 0
    assert longvid("evaluate", "own")[0] == 0
    assert "--encoder own_encoder:build" in refused("predict", "own", world.video)
    assert "weights_sha256" in refused("predict", "own", world.video, "--encoder", "own_encoder:build")
    given = ["--encoder", "own_encoder:build", "--option", "scale=2.0"]
    status, out, err = longvid("predict", "own", world.video, *given)
    assert status == 0, err
    assert "v3.mp4" in out
    again = predict("own", world.video, encoder="own_encoder:build", encoder_options={"scale": 2.0}, device="cpu")
    assert again.answer in ("a", "b")
    assert evaluate("own", device="cpu").evaluated == 1
