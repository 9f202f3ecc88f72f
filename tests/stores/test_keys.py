"""Any id is a safe, unmistakable path."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longvid.stores import FeatureStore, path_name

pytestmark = pytest.mark.faults

HOSTILE = [
    "../../etc/passwd",
    "/etc/passwd",
    "..",
    ".",
    "a/../b",
    "C:\\videos\\a.mp4",
    "-rf",
    "--help",
    "a--b",
    "con",
    "NUL",
    "com1.mp4",
    "zarr.json",
    "trailing.",
    "trailing ",
    " leading",
    "tab\tnewline\n",
    "null\0byte",
    "映画 (1).mp4",
    "\u00e9",  # é in one code point
    "e\u0301",  # and in two: one letter to a file system that normalises
    "İstanbul",
    "ﬁlm",
    "a" * 5000,
    "~",
    "$HOME",
    "%2e%2e",
    "s3://bucket/key",
    "file-\udcff.mp4",  # a file name that is not UTF-8
    "__init__",
]


def test_plain_lower_case_ids_stay_readable():
    for key in ("p03_cam01_cereals", "clip.0001", "a", "0", "tt0012349-shot3"):
        assert path_name(key) == key


def test_hostile_ids_become_one_harmless_segment(tmp_path: Path):
    for key in HOSTILE:
        name = path_name(key)
        assert re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,79}", name), name
        assert not name.endswith(".")
        assert (tmp_path / name).resolve().parent == tmp_path.resolve()


def test_hostile_ids_do_not_meet():
    names = [path_name(key) for key in HOSTILE]
    assert len({name.casefold() for name in names}) == len(HOSTILE)


def test_ids_that_a_case_folding_file_system_would_merge_stay_apart():
    assert len({path_name(key) for key in ("dQw4w9WgXcQ", "dqw4w9wgxcq", "DQW4W9WGXCQ")}) == 3


def test_a_name_is_never_another_key_s_name():
    for key in HOSTILE:
        name = path_name(key)
        assert path_name(name) != name or name == key


@given(st.text(st.characters(), min_size=1, max_size=60))
def test_any_text_is_a_safe_path(key: str):
    assert re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,79}", path_name(key))


@given(st.lists(st.text("aAbB/.-_é", min_size=1, max_size=6), min_size=2, max_size=30, unique=True))
def test_different_keys_have_different_names(keys: list[str]):
    assert len({path_name(key) for key in keys}) == len(keys)


@pytest.mark.parametrize("key", ["", None, 7, b"bytes"])
def test_what_is_no_text_is_no_key(key: object, unchecked):
    error = unchecked(f"from longvid.stores import path_name; path_name({key!r})")
    assert "InvalidKey" in error
    assert "a key must be a string" in error


def test_every_hostile_id_comes_back_from_the_store(store: FeatureStore, make_features, write_video):
    for i, key in enumerate(HOSTILE):
        write_video(store, key, make_features(2, seed=i))
    assert store.keys() == sorted(HOSTILE)
    store.update_catalogue()
    assert store.keys() == sorted(HOSTILE)
    for i, key in enumerate(HOSTILE):
        assert store.video(key).key == key
        assert (store.video(key).read(0, 2) == make_features(2, seed=i)).all()
