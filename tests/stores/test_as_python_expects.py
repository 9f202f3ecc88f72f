"""A store and its videos behave as Python's and numpy's sequences do, or say in one line why not."""

import pickle

import numpy as np
import pytest

from longvid.stores import AbsentClips, FeatureStore, InvalidWindow, PresentClips, StoredVideo, VideoNotInStore
from longvid.stores.sequence import CLIPS_AT_ONCE


@pytest.fixture
def filled(store, make_features, write_video) -> FeatureStore:
    for key, count in (("b", 70), ("a", 7)):
        write_video(store, key, make_features(count))
    return store


def test_a_store_is_indexed_by_key_and_gives_its_videos_in_order(filled):
    assert isinstance(filled["a"], StoredVideo)
    assert [video.key for video in filled] == ["a", "b"]
    assert len(filled) == 2
    assert "a" in filled
    with pytest.raises(VideoNotInStore, match="'c'"):
        filled["c"]
    with pytest.raises(TypeError, match="found by their key, a text, not by int"):
        filled[0]
    with pytest.raises(TypeError, match=r"use np\.asarray\(store\[key\]\)"):
        np.asarray(filled)


def test_an_empty_store_is_still_a_store(store):
    assert len(store) == 0
    assert bool(store)
    assert list(store) == []


@pytest.mark.parametrize(
    "chosen",
    [
        slice(3, 5), slice(None), slice(-3, None), slice(5, 2), slice(0, 1000), slice(None, None, 2), slice(6, 1, -2),
        slice(None, None, -1), slice(1, None, 3), slice(100, 200), 0, -1, 6, np.int64(3),
    ],
    ids=str,
)  # fmt: skip
def test_an_index_or_slice_of_a_video_gives_what_numpy_gives(filled, make_features, chosen):
    truth = make_features(7).astype(np.float16)[chosen]
    found = filled["a"][chosen]
    np.testing.assert_array_equal(found, truth)
    assert (found.shape, found.dtype) == (truth.shape, truth.dtype)


def test_a_slice_with_a_long_step_reads_only_its_clips(filled, monkeypatch):
    read, video = [], filled["b"]
    once = video.read
    monkeypatch.setattr(video, "read", lambda start, stop, **words: (read.append(stop - start), once(start, stop))[1])
    np.testing.assert_array_equal(video[:: CLIPS_AT_ONCE + 1], np.stack([once(0, 1)[0], once(65, 66)[0]]))
    assert read == [1, 1]


def test_a_video_has_a_length_is_looped_over_and_becomes_an_array(filled, make_features):
    video, truth = filled["b"], make_features(70).astype(np.float16)
    assert len(video) == 70
    np.testing.assert_array_equal(np.stack(list(video)), truth)
    np.testing.assert_array_equal(np.asarray(video), truth)
    assert np.asarray(video, dtype=np.float32).dtype == np.float32
    with pytest.raises(ValueError, match="makes a copy"):
        np.array(video, copy=False)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(video))[3:5], truth[3:5])


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (7, InvalidWindow, "has 7 clips, but clip 7 was asked"),
        (-8, IndexError, "has 7 clips, but clip -8 was asked"),
        ("3", TypeError, "chosen by a number or a slice, not by str"),
        ([1, 2], TypeError, r"by a list: np\.stack"),
        (1.0, TypeError, "not by float"),
    ],
)
def test_any_other_index_is_an_error_that_names_the_video(filled, wrong, error, message):
    with pytest.raises(error, match=message) as refused:
        filled["a"][wrong]
    assert "'a'" in str(refused.value)


def test_clips_that_are_not_there_are_refused_and_those_that_are_there_are_a_sequence_of_their_own(
    store, make_features, make_seconds
):
    store.plan("v", make_seconds(7), {})
    features = make_features(7)
    features[2] = np.nan
    store.write_shard("v", 0, features[:4], damaged={2: "lost"})
    store.write_shard("v", 1, features[4:])
    store.complete("v")
    video = store["v"]
    np.testing.assert_array_equal(video[3:5], features[3:5].astype(np.float16))
    for read in (lambda: np.asarray(video), lambda: list(video), lambda: video[2], lambda: video[1:4]):
        with pytest.raises(AbsentClips):
            read()
    there = PresentClips(video)
    assert len(there) == 6
    np.testing.assert_array_equal(np.asarray(there), np.delete(features, 2, axis=0).astype(np.float16))
    np.testing.assert_array_equal(there[2], features[3].astype(np.float16))
    assert "not there (damaged)" in video._repr_html_()


def test_a_notebook_shows_tables_in_which_names_are_text(tmp_path, make_recipe, make_features, write_video):
    store = FeatureStore.create(tmp_path / "x.zarr", make_recipe(encoder="<script>alert(1)</script>"))
    for index in range(12):
        write_video(store, f"<b>{index:02d}\u202e", make_features(3))
    page = store._repr_html_() + store["<b>03\u202e"]._repr_html_()
    assert "<script>" not in page
    assert "<b>03" not in page
    assert "&lt;b&gt;03\\u202e" in page
    assert "\u202e" not in page
    assert "and 2 more" in page
    assert page.count("<tr>") == page.count("</tr>") == 5 + 11 + 3
