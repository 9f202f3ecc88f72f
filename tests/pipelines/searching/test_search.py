"""A search ranks as the slow, obvious form does, finds what was shown to it, and says what it cannot do."""

import json

import numpy as np
import pytest
from rounding import rounding

from longvid.encoders.huggingface.text import build_text_encoder
from longvid.errors import ConfigError, EncoderError
from longvid.pipelines.evaluation.evaluate import evaluate
from longvid.pipelines.searching.page import write_sheet
from longvid.pipelines.searching.queries import Example, parse_example
from longvid.pipelines.searching.ranking import peaks
from longvid.pipelines.searching.run import search
from longvid.pipelines.searching.scan import Scorer, in_threads
from longvid.pipelines.training.config import TrainConfig
from longvid.pipelines.training.train import train
from longvid.stores import FeatureStore
from longvid.tasks import Manifest, ManifestRow

ROUNDING = rounding(np.float32, terms=128, layers=4)


def brute_force(store, query, *, most, per_video, apart, without=()):
    """Every pair of clips compared, in float64: (key, clip, score), best first, some clips left out."""
    found = []
    for video in store:
        key = video.key
        tokens = np.array(video).astype(np.float64).mean(axis=1)
        scores = tokens @ query / (np.linalg.norm(tokens, axis=1) * np.linalg.norm(query))
        middles, kept = video.seconds.mean(axis=1), []
        for clip in sorted(range(len(scores)), key=lambda clip: (-scores[clip], clip)):
            if (key, clip) not in without and all(abs(middles[clip] - middles[other]) >= apart for other in kept):
                kept.append(clip)
        found += [(key, clip, scores[clip]) for clip in kept[:per_video]]
    return sorted(found, key=lambda one: -one[2])[:most]


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8"])
@pytest.mark.parametrize("num_tokens", [1, 3])
def test_the_ranking_is_that_of_the_brute_force_form(make_store, dtype, num_tokens):
    store = make_store({"a": 150, "b": 64, "c": 7}, num_tokens=num_tokens, dtype=dtype, clips_per_chunk=16)
    found = search(store, like=Example("b", 20.0, 24.0), most=12, per_video=5, apart_seconds=6.0)
    tokens = np.array(store.video("b"))[10:12].astype(np.float64).mean(axis=1)
    query = (tokens / np.linalg.norm(tokens, axis=1, keepdims=True)).mean(axis=0)
    own = [("b", 10), ("b", 11)]
    wanted = brute_force(store, query, most=12, per_video=5, apart=6.0, without=own)
    assert [(hit.key, hit.clip) for hit in found.hits] == [(key, clip) for key, clip, _ in wanted]
    np.testing.assert_allclose([hit.score for hit in found.hits], [one[2] for one in wanted], atol=ROUNDING)


def test_words_find_the_clips_that_the_whole_model_scores_highest(aligned):
    store = FeatureStore.open(aligned / "clip.zarr")
    found = search(store, "a red square", most=6, per_video=2, apart_seconds=2.0)
    query = build_text_encoder(str(aligned / "model"))(["a red square"])[0].astype(np.float64)
    expected = brute_force(store, query, most=6, per_video=2, apart=2.0)
    assert [(hit.key, hit.clip) for hit in found.hits] == [(key, clip) for key, clip, _ in expected]
    np.testing.assert_allclose([hit.score for hit in found.hits], [one[2] for one in expected], atol=ROUNDING)
    assert found.num_clips == sum(store.num_clips().values())


def test_an_example_finds_its_own_moment_in_a_copy_of_the_video_but_never_itself(make_store, tmp_path):
    store = make_store({"a": 100, "b": 100})
    writable = FeatureStore.open(store.location, mode="a")
    video = store.video("a")
    writable.plan("copy", video.seconds, {})
    for shard in writable.missing("copy"):
        first, stop = writable.shard_clips("copy", shard)
        writable.write_shard("copy", shard, video.read(first, stop))
    writable.complete("copy")
    found = search(store.location, like="a@1:00-1:02", most=3)
    assert (found.hits[0].key, found.hits[0].start_seconds) == ("copy", 60.0)
    assert found.hits[0].score == pytest.approx(1.0, abs=ROUNDING)
    assert not any(hit.key == "a" and hit.start_seconds == 60.0 for hit in found.hits)


def test_an_example_may_be_a_file_that_is_not_in_the_store(aligned):
    store = FeatureStore.open(aligned / "clip.zarr")
    found = search(store, like=f"{aligned / 'videos' / 'v1.mp4'}@2-3", most=1)
    (hit,) = found.hits
    assert (hit.key, hit.score) == ("v1", pytest.approx(1.0, abs=0.01))
    assert 1.0 <= hit.start_seconds <= 3.0


@pytest.mark.parametrize("apart", [0.0, 3.0, 50.0])
def test_hits_of_one_video_lie_apart_and_no_better_clip_is_passed_over(apart):
    scores = np.random.default_rng(0).random(200)
    seconds = np.stack([np.arange(200), np.arange(200) + 1], axis=1).astype(float)
    chosen = peaks(scores, seconds, apart_seconds=apart, most=10)
    middles = seconds[chosen].mean(axis=1)
    assert all(abs(one - other) >= apart for at, one in enumerate(middles) for other in middles[:at])
    near = np.abs(seconds.mean(axis=1)[:, None] - middles[None]) < max(apart, 1e-9)
    assert (scores[~near.any(axis=1)] <= scores[chosen].min()).all()


def test_absent_clips_are_no_hits():
    scores = np.array([0.1, np.nan, 0.3, -np.inf])
    seconds = np.stack([np.arange(4), np.arange(4) + 1], axis=1).astype(float)
    assert peaks(scores, seconds, apart_seconds=0.0, most=9) == [2, 0]


def test_compressed_stores_are_searched_too(make_store):
    plain = make_store({"a": 90})
    tokens, seconds = np.array(plain.video("a")), plain.video("a").seconds
    packed = FeatureStore.create("memory://searched.zarr", plain.recipe, compression="zstd")
    packed.plan("a", seconds, {})
    for shard in packed.missing("a"):
        first, stop = packed.shard_clips("a", shard)
        packed.write_shard("a", shard, tokens[first:stop])
    packed.complete("a")
    query = np.ones((1, plain.recipe.dim), np.float32)
    np.testing.assert_array_equal(Scorer(query).of_video(packed.video("a")), Scorer(query).of_video(plain.video("a")))


def test_numkong_gives_the_cosines_of_float16_clips_up_to_the_rounding_of_the_query(make_store):
    pytest.importorskip("numkong")
    store = make_store({"a": 150}, dtype="float16", clips_per_chunk=16)
    clips = np.array(store.video("a"))
    query = np.random.default_rng(1).standard_normal((1, store.recipe.dim)).astype(np.float32)
    found = Scorer(query).of_video(store.video("a"))
    half_an_ulp = np.finfo(np.float16).eps / 2
    np.testing.assert_allclose(found, Scorer(query).of_clips({"tokens": clips}), atol=half_an_ulp)
    rounded = (query / np.linalg.norm(query)).astype(np.float16).astype(np.float64)
    wide = clips[:, 0].astype(np.float64)
    wanted = wide @ rounded.T / np.linalg.norm(wide, axis=1)[:, None] / np.linalg.norm(rounded)
    np.testing.assert_allclose(found, wanted, atol=ROUNDING)


def test_a_clip_of_zeros_is_like_nothing(make_store):
    store = make_store({"a": 20}, dtype="float16")
    writable = FeatureStore.open(store.location, mode="a")
    writable.plan("zeros", store.video("a").seconds, {})
    for shard in writable.missing("zeros"):
        first, stop = writable.shard_clips("zeros", shard)
        writable.write_shard("zeros", shard, np.zeros((stop - first, 1, store.recipe.dim), np.float16))
    writable.complete("zeros")
    scorer = Scorer(np.ones((1, store.recipe.dim), np.float32))
    assert not scorer.of_video(FeatureStore.open(store.location).video("zeros")).any()


def test_a_damaged_video_is_named_and_the_others_are_searched(make_store, command):
    store = make_store({"a": 90, "b": 90, "c": 90})
    (shard,) = sorted((store.place.folder / store.video("b").group / "tokens").glob("c.1.*"))
    shard.unlink()
    found = search(store.location, like="a@10-14")
    assert [failure.key for failure in found.failures] == ["b"]
    assert {hit.key for hit in found.hits} == {"a", "c"}
    status, out, _ = command("search", store.location, "--like", "a@10-14")
    assert status == 3
    assert "failed: b:" in out


def test_a_hit_whose_bytes_were_changed_is_not_reported(make_store):
    store = make_store({"a": 64, "b": 64})
    (shard,) = sorted((store.place.folder / store.video("b").group / "tokens").glob("c.0.*"))
    data = bytearray(shard.read_bytes())
    data[: 64 * 24 * 2] = np.tile(np.array(store.video("a"))[5, 0], 64).tobytes()
    shard.write_bytes(data)
    found = search(store.location, like="a@10-12", most=2)
    assert [failure.key for failure in found.failures] == ["b"]
    assert "b" not in {hit.key for hit in found.hits}


def test_features_that_have_no_text_are_refused_with_what_can_be_done(make_store):
    with pytest.raises(EncoderError, match=r"not in a space with text; extract with .* or search by example: --like"):
        search(make_store({"a": 3}), "a dog")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a", "give VIDEO@START-END"),
        ("a@5", "give VIDEO@START-END"),
        ("a@9-5", "its end is not after its start"),
        ("a@1:75-2:00", "not two times"),
        ("a@1.2.3-4", "not two times"),
    ],
)
def test_an_example_that_is_none_is_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_example(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("a@12:30-12:40", (750, 760)), ("x/y@b.mp4@1-2.5", (1, 2.5)), ("a@1:00:00-1:00:01.5", (3600, 3601.5))],
)
def test_times_are_those_of_a_clock_or_seconds(text, seconds):
    found = parse_example(text)
    assert (found.start_seconds, found.end_seconds) == seconds


def test_an_example_that_is_nowhere_is_refused(make_store):
    with pytest.raises(ConfigError, match=r"neither a video of .* nor a file"):
        search(make_store({"a": 3}), like="z@1-2")


def test_the_command_prints_json_for_programs_and_a_sheet_with_pictures(aligned, command, tmp_path):
    words = ["search", aligned / "clip.zarr", "a man pours milk", "--videos", aligned / "videos"]
    status, out, err = command(*words, "--json", "--page", "sheet.html", "-n", "4")
    assert status == 0, err
    found = json.loads(out)
    assert len(found["hits"]) == 4
    assert found["hits"][0].keys() >= {"key", "start_seconds", "end_seconds", "score", "path"}
    page = (tmp_path / "sheet.html").read_text()
    assert page.count("data:image/jpeg;base64") == 4 * 4
    assert "a man pours milk" in page
    status, out, _ = command(*words, "--group")
    assert status == 0
    assert out.splitlines()[0].split() == ["video", "start", "end", "score"]


def test_a_sheet_shows_no_markup_of_names(make_store, tmp_path):
    store = make_store({"<b>x</b>": 9, "a": 9})
    page = write_sheet(search(store, like="a@2-4"), tmp_path / "sheet.html").read_text()
    assert "<b>x</b>" not in page
    assert "No pictures: the search was not told where the videos are" in page


def test_a_search_needs_words_or_an_example(make_store):
    store = make_store({"a": 3})
    for given in ({}, {"text": "a dog", "like": "a@0-2"}):
        with pytest.raises(ConfigError, match="give either a text"):
            search(store, **given)


def test_the_names_of_the_classes_are_a_baseline_of_evaluate(aligned, tmp_path, command):
    rows = [("v0", "train", "a man"), ("v1", "val", "a dog"), ("v2", "test", "a man")]
    manifest = Manifest(tuple(ManifestRow(key, split=split, label=label) for key, split, label in rows))
    manifest.write(tmp_path / "manifest.jsonl")
    settings = {
        "store": str(aligned / "clip.zarr"), "manifest": str(tmp_path / "manifest.jsonl"), "out": str(tmp_path / "run"),
        "decoder": {"name": "mean-linear"}, "epochs": 1, "tensorboard": False, "device": "cpu",
    }  # fmt: skip
    settings["task"] = {"name": "who", "kind": "classification", "classes": ["a man", "a dog"]}
    train(TrainConfig.of(settings))
    found = evaluate(tmp_path / "run", zero_shot="{}")
    texts = build_text_encoder(str(aligned / "model"))(["a man", "a dog"])
    clips = np.array(FeatureStore.open(aligned / "clip.zarr").video("v2")).astype(np.float64)[:, 0]
    nearest = (clips / np.linalg.norm(clips, axis=1, keepdims=True)).mean(axis=0) @ texts.T
    assert found.zero_shot["accuracy"] == float(nearest.argmax() == 0)
    status, out, _ = command("evaluate", tmp_path / "run", "--zero-shot", "a {}")
    assert status == 0
    assert "zero-shot, by the names of the classes: accuracy" in out
    with pytest.raises(ConfigError, match="where the name of the class goes"):
        evaluate(tmp_path / "run", zero_shot="a dog")


def test_videos_that_cannot_be_among_the_best_are_passed_over_and_no_hit_is_lost(make_store):
    store = make_store({f"v{number:02d}": 20 + number for number in range(40)})
    found = search(store, like=Example("v07", 10.0, 12.0), most=4, per_video=2, apart_seconds=4.0)
    query = np.array(store.video("v07"))[5].astype(np.float64)[0]
    wanted = brute_force(store, query, most=4, per_video=2, apart=4.0, without=[("v07", 5)])
    assert [(hit.key, hit.clip) for hit in found.hits] == [(key, clip) for key, clip, _ in wanted]
    assert (found.num_videos, found.num_clips) == (40, sum(store.num_clips().values()))


@pytest.mark.parametrize("threads", [1, 3])
def test_work_in_threads_comes_back_in_order_and_its_error_in_its_turn(threads):
    def work(scorer, item):
        if item == 30:
            raise ValueError("the thirtieth")
        return scorer.num_queries * item

    seen = []
    with pytest.raises(ValueError, match="the thirtieth"):
        seen.extend(in_threads(work, Scorer(np.ones((1, 8), np.float32)), range(100), threads=threads))
    assert seen == [(item, item) for item in range(30)]


def test_a_scorer_of_wide_clips_takes_them_in_blocks_and_of_many_queries_at_once():
    random = np.random.default_rng(0)
    clips, queries = random.standard_normal((700, 1, 1024)).astype(np.float16), random.standard_normal((3, 1024))
    wanted = clips[:, 0].astype(np.float64) @ queries.T
    wanted /= np.linalg.norm(clips[:, 0].astype(np.float64), axis=1)[:, None] * np.linalg.norm(queries, axis=1)
    found = Scorer(queries.astype(np.float32)).of_clips({"tokens": clips})
    assert found.shape == (700, 3)
    np.testing.assert_allclose(found, wanted, atol=rounding(np.float32, terms=1024, layers=4))
