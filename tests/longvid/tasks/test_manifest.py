"""A manifest comes back as it was written, and a row that cannot be used is named by file and line."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from longvid.errors import AnnotationError
from longvid.tasks.manifest import COLUMNS, Manifest, ManifestRow

FORMATS = ["jsonl", "csv", "tsv", "parquet"]
WRITABLE = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)
KEYS = WRITABLE.filter(str.strip)
SCALARS = st.one_of(st.integers(-(10**17), 10**17), st.floats(allow_nan=False, allow_infinity=False), WRITABLE)
LABELS = st.one_of(st.none(), SCALARS, st.lists(SCALARS, max_size=3))


@st.composite
def rows(draw) -> ManifestRow:
    start = draw(st.none() | st.floats(0, 1e6))
    length = draw(st.none() | st.floats(0.5, 1e6))
    return ManifestRow(
        key=draw(KEYS),
        split=draw(st.sampled_from([None, "train", "val", "test"])),
        label=draw(LABELS),
        start_seconds=start,
        end_seconds=None if length is None else (start or 0) + length,
        group=draw(st.none() | WRITABLE),
        extra=draw(st.dictionaries(KEYS.filter(lambda n: n == n.strip() and n not in COLUMNS), SCALARS, max_size=2)),
    )


@pytest.mark.parametrize("ending", FORMATS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(listed=st.lists(rows(), min_size=1, max_size=4, unique_by=lambda row: row.key))
def test_a_written_manifest_reads_back_equal_and_of_equal_types(tmp_path, ending, listed):
    manifest = Manifest(tuple(listed))
    manifest.write(tmp_path / f"manifest.{ending}")
    again = Manifest.read(tmp_path / f"manifest.{ending}")
    assert again.rows == manifest.rows
    assert [type(row.label) for row in again] == [type(row.label) for row in manifest]


@pytest.mark.parametrize("ending", FORMATS)
def test_a_folder_of_manifest_and_videos_can_be_moved(tmp_path, ending):
    before, after = tmp_path / "before", tmp_path / "after"
    Manifest((ManifestRow("a", path=str(before / "videos" / "a.mp4")),)).write(before / f"list.{ending}")
    before.rename(after)
    assert Manifest.read(after / f"list.{ending}").row("a").path == str(after / "videos" / "a.mp4")


def test_a_url_stays_a_url(tmp_path):
    Manifest((ManifestRow("a", path="s3://bucket/a.mp4"),)).write(tmp_path / "list.csv")
    assert Manifest.read(tmp_path / "list.csv").row("a").path == "s3://bucket/a.mp4"


def test_byte_order_mark_crlf_and_blank_lines_change_nothing(tmp_path):
    (tmp_path / "plain.csv").write_bytes(b"key,split,label\na,train,cat\nb,test,dog\n")
    (tmp_path / "windows.csv").write_bytes(b"\xef\xbb\xbfkey,split,label\r\n\r\na,train,cat\r\nb,test,dog\r\n\r\n")
    assert Manifest.read(tmp_path / "windows.csv").rows == Manifest.read(tmp_path / "plain.csv").rows


def test_without_keys_the_path_without_its_ending_is_the_key_so_equal_names_do_not_collide(tmp_path):
    (tmp_path / "list.csv").write_text("path,label\ncam01/P47_cereals.avi,0\ncam02/P47_cereals.avi,0\n")
    assert [row.key for row in Manifest.read(tmp_path / "list.csv")] == ["cam01/P47_cereals", "cam02/P47_cereals"]


def test_common_names_of_splits_are_understood(tmp_path):
    (tmp_path / "list.csv").write_text("key,split\na,Training\nb,validation\nc,testing\nd,\n")
    assert Manifest.read(tmp_path / "list.csv").counts() == {"train": 1, "val": 1, "test": 1, "": 1}


def test_a_label_that_only_looks_like_a_number_stays_text(tmp_path):
    (tmp_path / "list.csv").write_text('key,label\na,007\nb,1_000\nc,"""7"""\nd,7\n')
    assert [row.label for row in Manifest.read(tmp_path / "list.csv")] == ["007", "1_000", "7", 7]


HOSTILE = {
    "duplicate key": ("list.csv", b"key\na\nb\na\n", ":4: key 'a' was already given at"),
    "no key column": ("list.csv", b"name,label\na,1\n", ":1: the header has no column 'key' or 'path'"),
    "semicolons": ("list.csv", b"key;label\na;1\n", ":1: the header has no column"),
    "ragged row": ("list.csv", b"key,label\na,1\nb,1,2\n", ":3: has 3 values, the header names 2 columns"),
    "twice named column": ("list.csv", b"key,label,label\na,1,2\n", ":1: column 'label' is named twice"),
    "unclosed quote": ("list.csv", b'key,label\n"a,1\n', "is not readable as CSV"),
    "misspelt split": ("list.csv", b"key,split\na,trian\n", ":2: split 'trian' is not one of train, val, test"),
    "text as time": ("list.csv", b"key,start_seconds\na,soon\n", ":2: start_seconds='soon' must be a number"),
    "end before start": ("list.csv", b"key,start_seconds,end_seconds\na,9,3\n", ":2: end_seconds=3.0 does not lie"),
    "empty key": ("list.csv", b"key,label\n ,1\n", ":2: the key is empty"),
    "control character": ("list.csv", b"key,label\na\x00b,1\n", ":2: key"),
    "huge key": ("list.csv", b"key\n" + b"a" * 300_000 + b"\n", ":2: key is 300000 characters long"),
    "latin-1": ("list.csv", b"key\na\ncaf\xe9\n", ":3: is not UTF-8"),
    "utf-16": ("list.csv", "key\na\n".encode("utf-16"), "UTF-16"),
    "no rows": ("list.csv", b"key,label\n", "lists no videos"),
    "empty file": ("list.jsonl", b"", "lists no videos"),
    "not json": ("list.jsonl", b'{"key": "a"}\n{"key": \n', ":2: is not a line of JSON"),
    "not an object": ("list.jsonl", b'["a"]\n', ":1: is not a JSON object"),
    "infinite label": ("list.jsonl", b'{"key": "a", "label": Infinity}\n', ":1: label inf is not a finite number"),
    "flag as label": ("list.jsonl", b'{"key": "a", "label": true}\n', ":1: label True must be a number"),
    "list as key": ("list.jsonl", b'{"key": ["a"]}\n', ":1: key=['a'] must be text"),
    "half a surrogate": ("list.jsonl", b'{"key": "a\\ud800"}\n', ":1: key"),
    "not parquet": ("list.parquet", b"PAR1 not really", "is not readable as parquet"),
    "unknown ending": ("list.xlsx", b"", "a manifest ends in"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_cannot_be_used_is_an_error_with_file_and_line(tmp_path, case):
    name, content, message = HOSTILE[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(AnnotationError) as caught:
        Manifest.read(tmp_path / name)
    assert message in str(caught.value)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(AnnotationError, match=r"nowhere\.csv: no such file"):
        Manifest.read(tmp_path / "nowhere.csv")


@pytest.mark.parametrize("key", ["../../etc/passwd", "/absolute", "a\\b", "-dash", "CON", "a" * 1024, "ключ"])
def test_a_hostile_key_is_only_a_name(tmp_path, key):
    Manifest((ManifestRow(key),)).write(tmp_path / "list.csv")
    assert [row.key for row in Manifest.read(tmp_path / "list.csv")] == [key]
    assert [path.name for path in tmp_path.iterdir()] == ["list.csv"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=60)
    | st.text(max_size=60).map(lambda text: ("key,label\n" + text).encode("utf-8", "ignore"))
)
@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_any_bytes_are_a_manifest_or_an_annotation_error(tmp_path, ending, content):
    path = tmp_path / f"list.{ending}"
    path.write_bytes(content)
    try:
        outcome = str(Manifest.read(path).name)
    except AnnotationError as error:
        outcome = str(error)
    assert str(path) in outcome


def test_a_key_that_is_not_listed_is_named():
    with pytest.raises(AnnotationError, match="lists no video 'b'"):
        Manifest((ManifestRow("a"),)).row("b")


def test_json_lines_are_one_plain_object_a_video(tmp_path):
    Manifest((ManifestRow("a", split="train", label="cat", extra={"views": 3}),)).write(tmp_path / "list.jsonl")
    written = Path(tmp_path / "list.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in written] == [{"key": "a", "split": "train", "label": "cat", "views": 3}]
