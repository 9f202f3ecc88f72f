"""A document of a store that somebody made up is one line or no document, whatever its checksum says."""

import json
from pathlib import Path

import pytest

from longvid.stores import FeatureStore, StoreError
from longvid.stores.bounded_json import MOST_LEVELS, parse_json
from longvid.stores.canonical import digest

pytestmark = pytest.mark.faults

DEEP = b"[" * 100_000
ROW = {"name": "v", "key": "v", "num_clips": 3, "start_seconds": 0.5, "end_seconds": 4.5, "complete": True}
POISONED_ROWS = {
    "no clips": {"num_clips": 0},
    "clips that are text": {"num_clips": "3"},
    "clips beyond counting": {"num_clips": 10**30},
    "a flag for clips": {"num_clips": True},
    "text for a time": {"end_seconds": "soon"},
    "backwards": {"end_seconds": -1},
    "a text for complete": {"complete": "yes"},
    "another video's key": {"key": "w"},
    "a key that is a list": {"key": ["v"]},
    "a path for a name": {"name": "../../v"},
    "unknown field": {"colour": "red"},
}


@pytest.fixture
def written(store, make_features, write_video) -> FeatureStore:
    """A store of one complete video, catalogue and all."""
    write_video(store, "v", make_features(3))
    store.update_catalogue()
    return store


def catalogue_of(store: FeatureStore) -> Path:
    return Path(store.location) / "catalogue/zarr.json"


def test_the_catalogue_is_what_these_tests_poison(written):
    (row,) = json.loads(catalogue_of(written).read_text())["attributes"]["videos"]
    assert row == ROW


@pytest.mark.parametrize("case", POISONED_ROWS)
def test_a_poisoned_catalogue_with_a_right_checksum_is_not_believed(case, written):
    rows = [ROW | POISONED_ROWS[case]]
    attributes = {"videos": rows, "checksum": digest(rows)}
    document = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    catalogue_of(written).write_text(json.dumps(document))
    assert written.num_clips() == {"v": 3}
    assert written.info().num_clips == 3
    assert written.info().seconds == 4.0


@pytest.mark.parametrize("content", [DEEP, b"[]", b"{}", b"\xff", b'{"attributes": []}', b'{"attributes": NaN}'])
def test_a_catalogue_that_is_none_is_passed_over(content, written):
    catalogue_of(written).write_bytes(content)
    assert written.keys() == ["v"]


@pytest.mark.parametrize("content", [DEEP, b"[]", b'{"attributes": 1}', b'{"attributes": {"a": NaN}}', b"\xff"])
@pytest.mark.parametrize("path", ["zarr.json", "videos/v/zarr.json", "videos/v/tokens/zarr.json"])
def test_any_other_poisoned_document_is_one_line(path, content, written):
    (Path(written.location) / path).write_bytes(content)
    with pytest.raises(StoreError) as raised:
        FeatureStore.open(written.location).video("v").read(0, 3)
    assert "\n" not in str(raised.value)


def test_json_is_bounded_in_depth_and_length():
    assert parse_json("[" * MOST_LEVELS + "]" * MOST_LEVELS)
    for text in ("[" * (MOST_LEVELS + 1) + "]" * (MOST_LEVELS + 1), '{"a":' * 70 + "1" + "}" * 70, "[" * 10**6):
        with pytest.raises(ValueError, match="nested deeper than 64 levels"):
            parse_json(text)
    with pytest.raises(ValueError, match="12 bytes of JSON where at most 10 are expected"):
        parse_json("[1, 2, 3, 4]", most_bytes=10)


@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"Infinity"])
def test_a_number_that_becomes_infinite_is_no_number_of_json(number: bytes) -> None:
    with pytest.raises(ValueError, match="is not JSON"):
        parse_json(b'{"seconds": [0, ' + number + b"]}")
