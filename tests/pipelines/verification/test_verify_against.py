"""A store is checked against its videos: what was changed is named, with its seconds and its cause."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from short_videos import extract_short_videos

from longvid.errors import ConfigError, EncoderError
from longvid.pipelines.extraction import ExtractionJob, expand_inputs, extract
from longvid.pipelines.rebuilding import Given
from longvid.pipelines.verification.against import parse_sample, verify_against
from longvid.pipelines.verification.comparing import compare, tolerance_of
from longvid.stores import FeatureStore
from longvid.stores.numbers import to_stored
from longvid.video.backends import BACKENDS, check_backend


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Four short videos and their store, in shards of 64 clips."""
    folder = tmp_path_factory.mktemp("verified")
    extract_short_videos(folder)
    return folder


def changed(store: FeatureStore, location: Path, change, **recipe) -> FeatureStore:
    """A sound copy of a store whose tokens, recipe or sources are others: what a digest cannot notice."""
    other = FeatureStore.create(location, store.recipe.model_copy(update=recipe), made_with=store.made_with)
    for video in store:
        tokens, source = change(video.key, np.array(video), json.loads(json.dumps(video.source)))
        other.plan(video.key, video.seconds, source)
        other.write_shard(video.key, 0, tokens)
        other.complete(video.key)
    return other


def unchanged(key, tokens, source):
    return tokens, source


def test_the_videos_of_a_store_give_its_bytes_again(made):
    found = verify_against(made / "features.zarr", [made], sample=1.0)
    assert found.agrees
    assert found.equal_bytes_expected
    assert found.counts == {"equal": sum(FeatureStore.open(made / "features.zarr").num_clips().values()), "close": 0,
                            "different": 0}  # fmt: skip
    assert found.failures == found.not_given == ()


def test_a_store_records_the_versions_that_made_it(made):
    about = FeatureStore.open(made / "features.zarr").video("v0").source["about"]
    assert {"longvid", "numpy", "torch", "av", "ffmpeg", "processor", "device", "batch_clips"} <= set(
        about["made_with"]
    )


def test_one_replaced_clip_is_named_with_its_seconds(made, tmp_path):
    def replace_one(key, tokens, source):
        if key == "v2":
            tokens[5] = tokens[0][:, ::-1]
        return tokens, source

    store = changed(FeatureStore.open(made / "features.zarr"), tmp_path / "x.zarr", replace_one)
    found = verify_against(store, [made], sample=1.0)
    (shard,) = [one for one in found.findings if one.status != "equal"]
    (clip,) = shard.different
    assert (shard.key, clip.clip) == ("v2", 5)
    assert clip.start_seconds == store.video("v2").seconds[5, 0]
    assert clip.cosine is not None
    assert clip.cosine < 0.99
    assert "changed in the store after their extraction" in shard.cause


def test_two_exchanged_clips_are_told_from_a_change(made, tmp_path):
    def exchange(key, tokens, source):
        tokens[[1, 4]] = tokens[[4, 1]]
        return tokens, source

    store = changed(FeatureStore.open(made / "features.zarr"), tmp_path / "x.zarr", exchange)
    found = verify_against(store, [made], sample=0.01, seed=1)
    (shard,) = found.findings
    assert [one.clip for one in shard.different] == [1, 4]
    assert "stored clip 1 of the shard holds what the video shows in its clip 4" in shard.cause


def test_a_replaced_file_is_the_cause_that_is_named(made, tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    for index in range(4):
        shutil.copy(made / f"v{index}.mp4", videos / f"v{index}.mp4")
    shutil.copy(made / "v1.mp4", videos / "v0.mp4")
    found = verify_against(made / "features.zarr", [videos], sample=1.0)
    (shard,) = [one for one in found.findings if one.status != "equal"]
    assert shard.key == "v0"
    assert shard.cause.startswith("another file: the store records")
    assert len(shard.different) == shard.stop_clip - shard.first_clip


def test_features_of_another_video_under_a_key_are_found_where_the_file_is_the_recorded_one(made, tmp_path):
    store = FeatureStore.open(made / "features.zarr")
    others = np.array(store.video("v3"))

    def mixed_up(key, tokens, source):
        return (others[: len(tokens)] if key == "v2" else tokens), source

    found = verify_against(changed(store, tmp_path / "x.zarr", mixed_up), [made], sample=1.0)
    (shard,) = [one for one in found.findings if one.status != "equal"]
    assert shard.key == "v2"
    assert "features of another video under this key" in shard.cause or "clips in other places" in shard.cause


def test_other_weights_are_named_with_both_digests(made, tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    shutil.copy(made / "v0.mp4", videos)
    job = ExtractionJob("dualformer-tiny", weights="random", seed=1, pooling="mean", batch_clips=2)
    job = replace(job, sampling=replace(job.build().spec.sampling, stride_seconds=4.0))
    extract(expand_inputs([videos]), job, tmp_path / "d.zarr", scheduler="inline")
    assert verify_against(tmp_path / "d.zarr", [videos], sample=1.0).agrees
    store = FeatureStore.open(tmp_path / "d.zarr")
    lying = changed(store, tmp_path / "lie.zarr", unchanged,
                    encoder_config={**store.recipe.encoder_config, "weights": "random (seed 2)"})  # fmt: skip
    (shard,) = verify_against(lying, [videos], sample=1.0).findings
    assert shard.status == "different"
    assert shard.cause.startswith("other weights than the recipe's (store != here: weights_sha256")


def test_weights_that_the_recipe_does_not_tell_are_the_cause_that_is_left(made, tmp_path):
    noise = np.random.default_rng(0)

    def others(key, tokens, source):
        return (tokens * noise.uniform(0.5, 1.5, tokens.shape)).astype(tokens.dtype), source

    store = changed(FeatureStore.open(made / "features.zarr"), tmp_path / "x.zarr", others)
    found = verify_against(store, [made], sample=1.0)
    assert {one.cause.partition(" than")[0] for one in found.findings} == {"other weights or settings"}


@pytest.mark.parametrize("record", [{"av": "1.0"}, {"ffmpeg": "0.5"}])
def test_another_version_of_the_decoder_allows_a_tolerance_and_is_named_beyond_it(made, tmp_path, record):
    def nearly(key, tokens, source):
        source["about"]["made_with"] |= record
        wrong = tokens * (1.2 if key == "v1" else 1.0)
        return (wrong * (1 + 1e-3)).astype(tokens.dtype), source

    store = changed(FeatureStore.open(made / "features.zarr"), tmp_path / "x.zarr", nearly)
    found = verify_against(store, [made], sample=1.0)
    assert not found.equal_bytes_expected
    assert {one.key: one.status for one in found.findings} == {
        "v0": "close", "v1": "different", "v2": "close", "v3": "close",
    }  # fmt: skip
    (shard,) = [one for one in found.findings if one.different]
    assert shard.cause.startswith(f"another version of the decoder: {next(iter(record))} ")


def test_on_the_same_kind_of_machine_rounding_is_not_accepted_unless_it_is_asked_for(made, tmp_path):
    def nearly(key, tokens, source):
        return (tokens * (1 + 1e-3)).astype(tokens.dtype), source

    store = changed(FeatureStore.open(made / "features.zarr"), tmp_path / "x.zarr", nearly)
    found = verify_against(store, [made], sample=1.0)
    assert all(one.different and one.cause.startswith("rounding") for one in found.findings)
    assert verify_against(store, [made], sample=1.0, tolerance=0.01).agrees


def test_another_decoder_is_named(made, tmp_path):
    others = [name for name in BACKENDS if name != "pyav" and check_backend(name).works]
    if not others:
        pytest.skip("only one decoder runs here")
    found = verify_against(made / "features.zarr", [made], sample=1.0, backend=others[0])
    assert not found.equal_bytes_expected
    assert all(one.cause == f"another decoder: pyav then, {others[0]} here" for one in found.findings if one.different)


def test_the_decoder_that_a_store_records_is_the_one_that_is_used(made, tmp_path):
    def by_another(key, tokens, source):
        source["about"]["backend"] = "opencv"
        return tokens * 2, source

    store = changed(FeatureStore.open(made / "features.zarr"), tmp_path / "x.zarr", by_another)
    found = verify_against(store, [made], sample=1.0)
    assert {one.cause for one in found.findings} == {"another decoder: opencv then, pyav here"}


def test_code_that_a_store_names_is_not_imported(made, tmp_path):
    store = changed(FeatureStore.open(made / "features.zarr"), tmp_path / "x.zarr", unchanged, encoder="evil:build")
    with pytest.raises(EncoderError, match="code is not imported because a file names it"):
        verify_against(store, [made])


def test_the_encoder_given_now_is_built_for_a_store_of_ones_own(made, tmp_path):
    store = changed(FeatureStore.open(made / "features.zarr"), tmp_path / "x.zarr", unchanged, encoder="mine:build")
    options = {"size": 32, "dim": 16, "frames": 2}
    found = verify_against(store, [made], given=Given("patch-statistics", options), sample=1.0)
    assert found.agrees  # its features are the same, whatever it is called


def test_the_sample_is_random_repeatable_and_at_least_one_shard(made):
    one = verify_against(made / "features.zarr", [made], sample=0.01)
    assert len(one.findings) == 1
    again = verify_against(made / "features.zarr", [made], sample=0.01, seed=one.seed)
    assert again.findings == one.findings
    keys = {verify_against(made / "features.zarr", [made], seed=seed).findings[0].key for seed in range(8)}
    assert len(keys) > 1


@pytest.mark.parametrize(("text", "share"), [("1%", 0.01), ("0.5", 0.5), ("100%", 1.0)])
def test_a_share_is_percent_or_a_fraction(text, share):
    assert parse_sample(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["0", "101%", "a lot", "nan", "-1%"])
def test_an_impossible_share_is_refused(text):
    with pytest.raises(ConfigError, match="give a share of the shards"):
        parse_sample(text)


def test_a_file_that_is_gone_or_no_video_is_named_and_the_others_are_checked(made, tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    shutil.copy(made / "v1.mp4", videos)
    (videos / "v0.mp4").write_bytes(b"not a video" * 100)
    found = verify_against(made / "features.zarr", [videos], sample=1.0)
    assert [one.key for one in found.failures] == ["v0"]
    assert [one.key for one in found.findings] == ["v1"]
    assert found.not_given == ("v2", "v3")


def test_a_manifest_says_where_the_videos_are(made):
    assert verify_against(made / "features.zarr", [made / "manifest.jsonl"], sample=1.0).agrees


def test_no_video_of_the_store_is_refused(made, tmp_path):
    (tmp_path / "other.mp4").write_bytes(b"x")
    with pytest.raises(ConfigError, match=r"none of its 4 videos is in .*it holds 'v0'"):
        verify_against(made / "features.zarr", [tmp_path])


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8"])
def test_the_tolerance_bears_the_rounding_of_the_store(dtype, made):
    recipe = FeatureStore.open(made / "features.zarr").recipe.model_copy(update={"dtype": dtype})
    tokens = np.random.default_rng(0).standard_normal((16, 4, 64)).astype(np.float32)
    nudged = tokens * (1 + np.float32(1e-4))
    compared = compare(to_stored(tokens, dtype), to_stored(nudged, dtype))
    assert (compared.error <= tolerance_of(recipe)).all()
    assert (compared.cosine > 0.999).all()


def test_a_shard_without_a_clip_that_is_there_has_nothing_to_compare():
    nothing = {"tokens": np.zeros((0, 1, 4), np.int8), "scale": np.zeros((0, 1), np.float32)}
    assert len(compare(nothing, nothing).equal) == 0


def test_a_clip_of_zeros_has_an_error_and_no_crash():
    zeros, ones = np.zeros((1, 1, 4), np.float16), np.ones((1, 1, 4), np.float16)
    assert compare({"tokens": zeros}, {"tokens": ones}).error.tolist() == [np.inf]
    assert compare({"tokens": zeros}, {"tokens": zeros}).cosine.tolist() == [1.0]


def test_the_command_prints_the_clip_its_seconds_and_exits_with_1(made, tmp_path, command):
    status, out, _ = command("verify", made / "features.zarr", "--against", made, "--sample", "100%")
    assert status == 0
    assert "equal byte for byte, 0 within the tolerance, 0 different" in out

    def replace_one(key, tokens, source):
        tokens[3] += 1 if key == "v2" else 0
        return tokens, source

    changed(FeatureStore.open(made / "features.zarr"), tmp_path / "x.zarr", replace_one)
    status, out, _ = command("verify", tmp_path / "x.zarr", "--against", made, "--sample", "100%")
    assert status == 1
    start, end = FeatureStore.open(tmp_path / "x.zarr").video("v2").seconds[3]
    assert f"different: clip 3 of v2 ({start:.3f} to {end:.3f} s): cosine 0." in out
    status, out, _ = command("verify", tmp_path / "x.zarr", "--against", made, "--sample", "100%", "--json")
    assert status == 1
    assert json.loads(out)["clips"]["different"] == 1


def test_an_unreadable_video_is_exit_status_3(made, tmp_path, command):
    (tmp_path / "v0.mp4").write_bytes(b"not a video" * 100)
    status, out, _ = command("verify", made / "features.zarr", "--against", tmp_path)
    assert status == 3
    assert "failed: v0:" in out


def test_a_shard_that_differs_as_a_whole_is_one_row_with_its_cause(made, tmp_path, command):
    changed(
        FeatureStore.open(made / "features.zarr"), tmp_path / "x.zarr", lambda key, tokens, source: (-tokens, source)
    )
    status, out, _ = command("verify", tmp_path / "x.zarr", "--against", made, "--sample", "100%")
    assert status == 1
    assert out.count("all different") == 4
    assert "different: clip" not in out
    assert "v0: likely cause: other weights or settings than the recipe says" in out


def test_a_decoder_that_is_none_is_refused_before_anything_is_read(made, tmp_path, command):
    status, out, err = command("verify", made / "features.zarr", "--against", made, "--backend", "ffmpeg")
    assert (status, out) == (2, "")
    assert "--backend 'ffmpeg': expected one of pyav" in err
