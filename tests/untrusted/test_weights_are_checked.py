"""A run's weights are those that were trained; an encoder is found where it was, or named by its user."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import longvid as longvid_package
from longvid.encoders import build_encoder
from longvid.errors import ConfigError, WeightsError
from longvid.pipelines.evaluation.evaluate import evaluate
from longvid.pipelines.evaluation.predict import predict
from longvid.pipelines.extraction import ExtractionJob
from longvid.stores import FeatureStore, verify

pytestmark = pytest.mark.faults

SETTINGS = ["manifest=manifest.jsonl", "decoder.name=mean-linear", "epochs=1", "tensorboard=false", "device=cpu"]


def spoil(file: Path) -> None:
    """Change one number of a file of weights, as a flipped bit does."""
    state = load_file(file)
    name = next(name for name in state if name.endswith("weight"))
    state[name].view(-1)[0] += 1
    save_file(state, file)


@pytest.mark.parametrize("spoilt", ["one number", "another seed's"])
def test_weights_that_were_not_trained_are_refused_wherever_they_are_loaded(world, refused, spoilt):
    file = world.run / "seed-0" / "best.safetensors"
    if spoilt == "one number":
        spoil(file)
    else:
        shutil.copy(world.run / "seed-1" / "best.safetensors", file)
    for words in (["evaluate", world.run], ["predict", world.run, world.video]):
        assert "seed-0/best.safetensors: is not what was trained" in refused(*words)
    with pytest.raises(WeightsError, match="is not what was trained"):
        longvid_package.load_decoder(world.run, seed=0)
    assert longvid_package.load_decoder(world.run, seed=1).decoder is not None


def test_training_that_goes_on_refuses_weights_that_were_changed_meanwhile(world, longvid):
    (world.run / "seed-0" / "result.json").unlink()
    spoil(world.run / "seed-0" / "best.safetensors")
    status, _, err = longvid("train", world.run / "recipe.yaml")
    assert status == 2
    assert "best.safetensors: is not what was trained" in err.splitlines()[-1]


def test_a_trained_decoder_loads_in_one_line_with_its_standardisation_and_task(world):
    decoder, task, windows = longvid_package.load_decoder(world.run, seed=1)
    assert (task.classes, windows.whole) == (("a", "b"), True)
    video = FeatureStore.open(world.store).video("v3")
    tokens = torch.from_numpy(video.read(0, video.num_clips)).flatten(0, 1)[None].float()
    with torch.inference_mode():
        scores = decoder(tokens).softmax(dim=1)[0].numpy()
    evaluate(world.run, predictions="jsonl", device="cpu")
    lines = (world.run / "evaluation" / "test-predictions.jsonl").read_text().splitlines()
    told = next(line for line in map(json.loads, lines) if line["seed"] == 1)
    np.testing.assert_allclose(scores, [told["score a"], told["score b"]], atol=1e-5)
    assert not decoder.training


def test_a_decoder_that_is_not_there_is_named(world, tmp_path):
    with pytest.raises(ConfigError, match=r"the training of seed 7 is not finished .finished seeds: 0, 1"):
        longvid_package.load_decoder(world.run, seed=7)
    with pytest.raises(ConfigError, match=r"run\.json: no such file"):
        longvid_package.load_decoder(tmp_path)


@pytest.fixture
def local(world, longvid, vision_model) -> Path:
    """A run on features of the model in the folder `dino`."""
    vision_model(world.folder / "dino")
    words = ["-e", "dino", "-o", "local.zarr", "--scheduler", "serial"]
    assert longvid("extract", *world.folder.glob("v*.mp4"), *words)[0] == 0
    assert longvid("train", "store=local.zarr", "out=local", *SETTINGS)[0] == 0
    return world.folder / "local"


def test_predict_finds_the_folder_of_a_local_encoder_again(world, longvid, local):
    store = FeatureStore.open("local.zarr")
    assert store.recipe.encoder == "hf:dino"
    assert store.made_with == {"encoder": str(world.folder / "dino")}
    assert verify(store) == []
    assert FeatureStore.create("local.zarr", store.recipe).made_with == store.made_with, "it is not part of the recipe"
    status, out, err = longvid("predict", local, world.video)
    assert (status, err) == (0, "")
    assert "v3.mp4" in out


@pytest.mark.parametrize(
    ("encoder", "said"), [("dino", "dino"), ("hf:dino", "dino"), ("./dino", "dino"), ("patch-statistics", None)]
)
def test_only_an_encoder_that_its_name_does_not_find_again_is_noted(tmp_path, monkeypatch, encoder, said):
    monkeypatch.chdir(tmp_path)
    for name in ("dino", "patch-statistics"):
        (tmp_path / name).mkdir()
    noted = ExtractionJob(encoder).made_with()
    assert noted == ({} if said is None else {"encoder": str(tmp_path / said)})


def test_a_local_encoder_that_moved_is_named_and_taken_from_where_it_is(world, longvid, refused, local):
    shutil.move("dino", "elsewhere")
    line = refused("predict", local, world.video)
    assert f"its encoder was the model in {world.folder / 'dino'}" in line
    assert "--encoder FOLDER" in line
    shutil.copytree("elsewhere", "a/dino")
    status, _, err = longvid("predict", local, world.video, "--encoder", "a/dino")
    assert (status, err) == (0, "")


def test_another_model_where_the_encoder_was_is_refused_by_its_digest(world, refused, local, vision_model):
    vision_model(world.folder / "dino", seed=1)
    line = refused("predict", local, world.video)
    assert "weights_sha256" in line
    assert f"--encoder {world.folder / 'dino'}" in line


@pytest.mark.parametrize(("side", "patch"), [(64, 16), (48, 16), (64, 64), (40, 8)])
def test_an_encoder_of_another_image_size_is_one_line(world, refused, local, vision_model, side, patch):
    vision_model(world.folder / "other", side=side, patch=patch)
    line = refused("predict", local, world.video, "--encoder", "other")
    assert "weights_sha256" in line or "size" in line


def test_an_encoder_of_changed_size_is_built_again_by_the_size_of_its_frames(world, longvid, vision_model):
    vision_model(world.folder / "dino")
    words = ["-e", "dino", "--option", "size=64", "-o", "s.zarr", "--scheduler", "serial"]
    assert longvid("extract", *world.folder.glob("v*.mp4"), *words)[0] == 0
    assert longvid("train", "store=s.zarr", "out=sized", *SETTINGS)[0] == 0
    status, _, err = longvid("predict", "sized", world.video)
    assert (status, err) == (0, "")


def test_a_weights_file_is_found_where_it_was_and_checked(world, longvid, refused):
    encoder = build_encoder("mobile-former-26m", size=64, seed=5)
    longvid_package.save_weights(encoder, "w.safetensors", architecture="mobile_former", config=encoder.config)
    words = ["-e", "mobile-former-26m", "--option", "size=64", "--weights", "w.safetensors", "-o", "w.zarr"]
    assert longvid("extract", *world.folder.glob("v*.mp4"), *words, "--scheduler", "serial")[0] == 0
    assert longvid("train", "store=w.zarr", "out=w", *SETTINGS)[0] == 0
    assert longvid("predict", "w", world.video)[0] == 0
    shutil.move("w.safetensors", "moved.safetensors")
    line = refused("predict", "w", world.video)
    assert f"the weights of its encoder were in {world.folder / 'w.safetensors'}" in line
    assert "--weights FILE" in line
    assert longvid("predict", "w", world.video, "--weights", "moved.safetensors")[0] == 0
    other = build_encoder("mobile-former-26m", size=64, seed=6)
    longvid_package.save_weights(other, "w.safetensors", architecture="mobile_former", config=other.config)
    assert "weights_sha256" in refused("predict", "w", world.video)
    assert predict("w", world.video, weights="moved.safetensors", device="cpu").answer in ("a", "b")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"attn_implementation": "somebody/kernel"}, "attn_implementation"),
        ({"_attn_implementation": "flash_attention_2"}, "_attn_implementation"),
        ({"attn_implementation": {"": "somebody/kernel"}}, "attn_implementation"),
        ({"deep": [{"experts_implementation": "somebody/kernel"}]}, "experts_implementation"),
        ({"use_pretrained_backbone": True, "backbone": "somebody/model"}, "use_pretrained_backbone"),
        ({"auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}, "model_type": "evil"}, "config.json"),
    ],
)
def test_a_model_folder_that_names_code_is_refused(world, refused, vision_model, changes, named):
    folder = vision_model(world.folder / "dino")
    shutil.copy("evil.py", folder / "evil.py")
    world.change(folder / "config.json", lambda config: config.update(changes))
    assert named in refused("extract", world.video, "-e", "dino", "-o", "x.zarr", "--scheduler", "serial")
    assert not (folder / "MARKER").exists()


@pytest.mark.parametrize("shard", ["../outside.safetensors", "/etc/passwd", "a/b.safetensors", "..\\x", 5, None])
def test_a_model_folder_whose_index_leads_out_of_it_is_refused(world, refused, vision_model, shard):
    folder = vision_model(world.folder / "dino")
    shutil.move(folder / "model.safetensors", "outside.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": shard}}))
    line = refused("extract", world.video, "-e", "dino", "-o", "x.zarr", "--scheduler", "serial")
    assert "which is not a file beside it" in line


def test_a_model_folder_that_holds_a_pickle_of_code_is_refused(world, refused, vision_model):
    folder = vision_model(world.folder / "dino")
    (folder / "model.safetensors").unlink()
    torch.save({"a": world.poison()}, folder / "pytorch_model.bin")
    line = refused("extract", world.video, "-e", "dino", "-o", "x.zarr", "--scheduler", "serial")
    assert "pytorch_model.bin" in line
