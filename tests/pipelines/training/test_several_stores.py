"""Several stores train, evaluate, predict and answer a baseline as one, and what does not fit together is one line."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from rounding import assert_same_numbers

from longvid.clips.sampling import Sampling
from longvid.decoders import DECODERS
from longvid.errors import AnnotationError, ConfigError
from longvid.files import read_json
from longvid.pipelines.demo.videos import Script, encode
from longvid.pipelines.evaluation.baseline import baseline
from longvid.pipelines.evaluation.evaluate import evaluate
from longvid.pipelines.evaluation.predict import predict
from longvid.pipelines.extraction import ExtractionJob, VideoRequest, extract
from longvid.pipelines.learning.config import DistilConfig
from longvid.pipelines.pretraining.config import PretrainConfig
from longvid.pipelines.reporting import report
from longvid.pipelines.training.config import TrainConfig, load_config
from longvid.pipelines.training.data import open_training_data, refuse_short_windows
from longvid.pipelines.training.run_folder import RunFolder
from longvid.pipelines.training.settings import checked_settings
from longvid.pipelines.training.train import train
from longvid.stores import FeatureStore, Recipe
from longvid.tasks import Manifest, ManifestRow
from longvid.trained import load_decoder

SECONDS = 16
SPLITS = {"train": 16, "val": 8, "test": 8}


def write_store(path, name, signs, *, stride, dim, noise=0.3, scale=1.0):
    """A store in which the sign of every video's features is given, under noise."""
    recipe = Recipe(
        encoder=name,
        encoder_config={},
        weights_sha256="0" * 64,
        sampling={"stride_seconds": stride},
        preprocessing={},
        pooling="mean",
        num_tokens=1,
        dim=dim,
    )
    store = FeatureStore.create(path, recipe, clips_per_shard=64)
    rng = np.random.default_rng(dim)
    for key, sign in signs.items():
        begins = np.arange(0, SECONDS, stride)
        store.plan(key, np.stack([begins, begins + stride], axis=1), {})
        tokens = noise * rng.standard_normal((len(begins), 1, dim))
        tokens += sign
        store.write_shard(key, 0, (scale * tokens).astype(np.float32))
        store.complete(key)
    return store


@pytest.fixture
def two_stores(tmp_path):
    """`a.zarr` (a clip per second) and `b.zarr` (two per second): a video is of class `same` if their signs agree."""
    rows, a, b = [], {}, {}
    for split, count in SPLITS.items():
        for index in range(count):
            key = f"{split}/{index}"
            a[key], b[key] = (1, -1)[index % 2], (1, -1)[index // 2 % 2]
            rows.append(ManifestRow(key, split=split, label="same" if a[key] == b[key] else "different"))
    Manifest(tuple(rows)).write(tmp_path / "manifest.jsonl")
    write_store(tmp_path / "a.zarr", "appearance", a, stride=1.0, dim=8)
    write_store(tmp_path / "b.zarr", "motion", b, stride=0.5, dim=16, scale=50.0)
    return tmp_path


@pytest.fixture
def both(two_stores, recipe_for):
    """A training recipe over both stores."""

    def make(**settings) -> TrainConfig:
        stores = [str(two_stores / name) for name in ("a.zarr", "b.zarr")]
        defaults = {"store": stores, "standardise": True, "tensorboard": False}
        return recipe_for(two_stores, **defaults | settings)

    return make


WAYS = {
    "features": {},
    "features at 2 per second": {"join": {"rate": 2.0}},
    "streams": {"join": {"how": "streams", "width": 8}},
}
GRU = {"epochs": 12, "optimiser": {"learning_rate": 5e-2}, "decoder": {"name": "gru", "options": {"width": 8}}}


@pytest.mark.parametrize("way", WAYS)
def test_what_only_both_stores_together_tell_is_learned(two_stores, both, way):
    config = both(**GRU, **WAYS[way])
    assert train(config).validation["accuracy"].mean == 1.0
    result = evaluate(config.out)
    assert result.metrics["accuracy"].mean == 1.0
    assert result.evaluated == SPLITS["test"]
    report([two_stores / "run"], two_stores / "page.html")
    page = (two_stores / "page.html").read_text()
    assert "appearance" in page
    assert "motion" in page


def test_one_of_the_stores_alone_does_not_tell(two_stores, both):
    assert train(both(store=str(two_stores / "a.zarr"), **GRU)).validation["accuracy"].mean < 0.9


@pytest.mark.parametrize("how", ["features", "streams"])
def test_every_decoder_takes_joined_stores_and_a_padded_item_gets_its_own_scores(both, how):
    for name in DECODERS:
        if name == "selective-scan":  # a package of its own, for GPUs
            continue
        data = open_training_data(both(decoder={"name": name}, join={"how": how}))
        decoder = data.record.decoder.build().eval()
        refuse_short_windows(decoder, data.train)
        whole, tokens = data.train[0].tokens.float(), data.train.store.recipe.num_tokens
        part = whole[: 12 * tokens]
        padded = torch.full_like(whole, torch.nan)
        padded[: len(part)] = part
        with torch.no_grad():
            alone, together = (
                decoder(part[None]),
                decoder(torch.stack([padded, whole]), torch.tensor([len(part), len(whole)])),
            )
        assert_same_numbers(together[0], alone[0], terms=128, layers=16, what=name)
        groups = decoder.param_groups(1e-3, 0.0)
        assert sum(len(group["params"]) for group in groups) == len([*decoder.parameters()])


def test_standardise_is_answered_per_store(both, two_stores):
    for how in ("features", "streams"):
        out = str(two_stores / how)
        train(both(standardise=[False, True], join={"how": how}, decoder={"name": "mean-linear"}, epochs=1, out=out))
        decoder = load_decoder(out).decoder
        if how == "features":
            scales = decoder.scale[:8], decoder.scale[8:]
        else:
            scales = tuple(stream.scale for stream in decoder.streams)
        assert (scales[0] == 1).all()
        assert (scales[1] < 0.1).all()


@pytest.mark.parametrize("way", WAYS)
def test_the_linear_baseline_sees_every_store(both, two_stores, way):
    rows = [
        replace(row, label=("yes", "no")[int(row.key.split("/")[1]) // 2 % 2])
        for row in Manifest.read(two_stores / "manifest.jsonl")
    ]
    Manifest(tuple(rows)).write(two_stores / "manifest.jsonl")  # what the second store alone tells
    assert baseline(both(**WAYS[way])).metrics["accuracy"] == 1.0


def test_the_record_of_a_run_names_every_store_and_evaluation_wants_them_all(both, two_stores):
    config = both(decoder={"name": "mean-linear"}, epochs=1)
    train(config)
    record = RunFolder(two_stores / "run").record()
    assert [store.recipe["encoder"] for store in record.stores] == ["appearance", "motion"]
    with pytest.raises(ConfigError, match="1 stores are given, the run was trained on 2: give all of them"):
        evaluate(config.out, store=str(two_stores / "a.zarr"))
    with pytest.raises(ConfigError, match=r"b\.zarr: features differ from those of the training .*appearance"):
        evaluate(config.out, store=[str(two_stores / "b.zarr"), str(two_stores / "a.zarr")])
    again = evaluate(config.out, store=[str(two_stores / "a.zarr"), str(two_stores / "b.zarr")])
    assert again.metrics == evaluate(config.out).metrics
    assert load_config(two_stores / "run" / "recipe.yaml").store == config.store


def test_a_video_that_one_store_lacks_is_named_with_that_store(both, two_stores):
    store = FeatureStore.open(two_stores / "b.zarr", mode="a")
    store.delete("train/3")
    with pytest.raises(AnnotationError, match=r"1 of 32 videos .*'train/3' \(not in .*b\.zarr\); extract them"):
        train(both())
    assert not (two_stores / "run").exists()
    assert train(both(allow_missing=True, decoder={"name": "mean-linear"}, epochs=1)).found["train"] == 15


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"store": ["a", "a"]}, "store=.*: the same store is listed twice"),
        ({"store": []}, "should be a folder or URL, or a list of them"),
        ({"standardise": [True]}, "standardise has 1 answers for 2 stores"),
        ({"standardise": "perhaps"}, "standardise=perhaps: .*true or false, or a list"),
        ({"join": {"rate": -1}}, r"join\.rate=-1: should be more than 0"),
        ({"join": {"width": 3}}, "width is for token streams"),
        ({"store": "a.zarr", "join": {"rate": 1.0}}, "join is for several stores"),
    ],
)
def test_an_impossible_join_is_one_line(both, settings, message):
    with pytest.raises(ConfigError, match=message) as caught:
        both(**settings)
    assert "\n" not in str(caught.value)


def test_stores_that_do_not_meet_are_one_line_before_training(both, two_stores):
    write_store(two_stores / "c.zarr", "other", {"stranger": 1}, stride=1.0, dim=2)
    stores = [str(two_stores / name) for name in ("a.zarr", "c.zarr")]
    with pytest.raises(
        AnnotationError, match=r"no video of .* is complete in every store .*a\.zarr 32, in .*c\.zarr 0"
    ):
        train(both(store=stores))


def test_videos_covered_only_in_part_are_noted(both, two_stores):
    store = FeatureStore.open(two_stores / "b.zarr", mode="a")
    tokens, seconds = store.video("train/0").read(0, 10), store.video("train/0").seconds[:10]
    store.delete("train/0")
    store.plan("train/0", seconds, {})
    store.write_shard("train/0", 0, tokens)
    store.complete("train/0")
    notes = train(both(decoder={"name": "mean-linear"}, epochs=1)).notes
    assert any("cover different times of 1 of the videos" in note and "train/0 (5 of 16 s)" in note for note in notes)


@pytest.fixture(scope="module")
def filmed(tmp_path_factory):
    """Four short videos, their features by two encoders of different clips, sizes and rates, and runs on both."""
    folder = tmp_path_factory.mktemp("filmed")
    rows = []
    for index, split in enumerate(("train", "train", "val", "test")):
        encode(Script(f"v{index}", index % 2, 5.0 + index, 0.5, 2.5, seed=index), folder)
        path = str(folder / f"v{index}.mp4")
        rows.append(ManifestRow(f"v{index}", split=split, label=("a", "b")[index % 2], path=path))
    Manifest(tuple(rows)).write(folder / "manifest.jsonl")
    jobs = {
        "still": ExtractionJob(
            "patch-statistics",
            encoder_options={"size": 32, "dim": 16, "frames": 1},
            sampling=Sampling(frames=1, fps=1.0, stride_seconds=1.0),
            pooling="mean",
        ),
        "moving": ExtractionJob(
            "patch-statistics",
            encoder_options={"size": 48, "dim": 24, "frames": 4},
            sampling=Sampling(frames=4, fps=8.0, stride_seconds=0.4),
            pooling="mean",
            batch_clips=3,
        ),
    }
    for name, job in jobs.items():
        requests = [VideoRequest(row.key, str(row.path)) for row in rows]
        extract(requests, job, folder / f"{name}.zarr", scheduler="inline")
    for how in ("features", "streams"):
        train(
            TrainConfig.of(
                {
                    "store": [str(folder / "still.zarr"), str(folder / "moving.zarr")],
                    "manifest": str(folder / "manifest.jsonl"),
                    "out": str(folder / how),
                    "join": {"how": how},
                    "decoder": {"name": "mean-linear"},
                    "epochs": 2,
                    "tensorboard": False,
                    "device": "cpu",
                }
            )
        )
    return folder


@pytest.mark.parametrize("how", ["features", "streams"])
def test_a_file_gets_the_scores_that_evaluation_gave_its_stored_features(filmed, how):
    evaluate(filmed / how, predictions="jsonl")
    line = (filmed / how / "evaluation" / "test-predictions.jsonl").read_text().splitlines()[0]
    prediction = predict(filmed / how, filmed / "v3.mp4", device="cpu")
    assert_same_numbers(np.array([prediction.total["a"]]), np.array([json.loads(line)["score a"]]), terms=64, layers=80)


def test_one_decoding_feeds_both_encoders_and_gives_the_stores_numbers(filmed, monkeypatch, tmp_path):
    import longvid.video.reader as reader
    from longvid.pipelines.evaluation.predict import features_of
    from longvid.pipelines.extraction.together import Target
    from longvid.pipelines.rebuilding import Given, rebuilt

    decoded = []
    pyav = reader.BACKENDS["pyav"]

    def counted(*given, **named):
        decoded.append(given)
        return pyav.read_together(*given, **named)

    monkeypatch.setitem(reader.BACKENDS, "pyav", replace(pyav, read_together=counted))
    record = RunFolder(filmed / "features").record()
    targets = []
    for store in record.stores:
        job, encoder = rebuilt(Recipe.from_dict(store.recipe), store.made_with, Given(), source="run", device="cpu")
        targets.append(Target(job, tmp_path / f"{len(targets)}.zarr", 64, encoder=encoder))
    stores = features_of(str(filmed / "v3.mp4"), targets, None)
    assert len(decoded) == 1
    for made, name in zip(stores, ("still", "moving"), strict=True):
        here, there = made.video("video"), FeatureStore.open(filmed / f"{name}.zarr").video("v3")
        np.testing.assert_array_equal(here.seconds, there.seconds)
        assert_same_numbers(here.read(0, here.num_clips), there.read(0, there.num_clips), terms=64)


def test_encoders_are_given_one_per_store_or_not_at_all(filmed):
    with pytest.raises(ConfigError, match="1 of encoder given, for a run with 2 encoders"):
        predict(filmed / "features", filmed / "v3.mp4", encoder="patch-statistics")
    named = ["patch-statistics", None]
    assert predict(filmed / "features", filmed / "v3.mp4", encoder=named, device="cpu").answer in ("a", "b")


def test_the_command_line_takes_a_list_of_stores(two_stores, command):
    words = [f"store=[{two_stores}/a.zarr,{two_stores}/b.zarr]", f"manifest={two_stores}/manifest.jsonl", "out=both"]
    words += ["decoder.name=mean-linear", "epochs=1", "tensorboard=false", "join.how=streams"]
    status, out, err = command("train", *words)
    assert status == 0, err
    assert "trained on all 16 training videos" in out
    status, out, err = command("evaluate", "both", "--store", f"{two_stores}/a.zarr", "--store", f"{two_stores}/b.zarr")
    assert status == 0, err
    assert read_json(two_stores / "both" / "run.json")["joined"]["per_step"] == [1, 2]


@pytest.mark.parametrize("settings", [TrainConfig, DistilConfig, PretrainConfig])
def test_a_store_that_is_listed_twice_is_refused_wherever_several_are_taken(settings):
    name = "stores" if settings is PretrainConfig else "store"
    with pytest.raises(ConfigError, match=f"{name}=.*: the same store is listed twice"):
        checked_settings(settings, {name: ["a.zarr", "a.zarr"], "manifest": "videos.csv"}, source="settings")
