"""A manifest comes back as it was written, and a row that cannot be used is named by file and line."""

import csv
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
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
    "ragged row": ("list.csv", b"key,label\na,1\nb,1,2\n", ":3: has 3 values, but the header names 2 columns"),
    "twice named column": ("list.csv", b"key,label,label\na,1,2\n", ":1: column 'label' is named twice"),
    "unclosed quote": ("list.csv", b'key,label\n"a,1\n', "cannot be read as CSV"),
    "misspelt split": ("list.csv", b"key,split\na,trian\n", ":2: split 'trian' is not one of train, val, test"),
    "text as time": ("list.csv", b"key,start_seconds\na,soon\n", ":2: start_seconds='soon' must be a number"),
    "end before start": ("list.csv", b"key,start_seconds,end_seconds\na,9,3\n", ":2: end_seconds=3.0 is not after"),
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
    "deep label": ("list.jsonl", b'{"key": "a", "label": ' + b"[" * 400 + b"]" * 400 + b"}\n", ":1: label holds lists"),
    "deep line": ("list.jsonl", b"[" * 100_000 + b"\n", ":1: is not a line of JSON"),
    "deep extra": ("list.jsonl", b'{"key": "a", "x": ' + b"[" * 900 + b"]" * 900 + b"}\n", ":1: column 'x' is"),
    "endless number": ("list.jsonl", b'{"key": "a", "label": ' + b"9" * 5000 + b"}\n", ":1: is not a line of JSON"),
    "huge seconds": ("list.jsonl", b'{"key": "a", "end_seconds": 1e999}\n', ":1: end_seconds=inf must be"),
    "path of a folder": ("list.jsonl", b'{"path": "/"}\n', ":1: path '/' does not name a file, and the key is missing"),
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


FORMULAS = ["=cmd|' /C calc'!A0", "+1+1", "-2+3+cmd|'x'!A1", "@SUM(1)", "'=1", "''-1+1", "＝1"]


@pytest.mark.parametrize("ending", ["csv", "tsv"])
@pytest.mark.parametrize("text", [*FORMULAS, "'tis", "''quoted''", "-dQw4w9WgXcQ", "-1", "'"])
def test_no_cell_starts_a_formula_and_every_text_comes_back(tmp_path, ending, text):
    rows = (ManifestRow(text, label=text, group=text, extra={text: text, "list": [text]}),)
    Manifest(rows).write(tmp_path / f"list.{ending}")
    assert Manifest.read(tmp_path / f"list.{ending}").rows == rows
    with (tmp_path / f"list.{ending}").open(newline="") as file:
        cells = [cell for line in csv.reader(file, delimiter="\t" if ending == "tsv" else ",") for cell in line]
    assert not any(cell[:1] in ("=", "+", "@", "＝") for cell in cells)
    assert not any(cell.startswith("-") and cell != "-dQw4w9WgXcQ" and cell != "-1" for cell in cells)


def parquet(path, **changes):
    """A manifest of parquet with a note of ours, changed."""
    arrow, files = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {"key": ["a", "b"], "label": ["[1]", "2"]} | changes.get("columns", {})
    table = arrow.table(columns).replace_schema_metadata({"longvid.json_columns": changes.get("note", "[]")})
    files.write_table(table, path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"note": "[" * 100_000}, "its note `longvid.json_columns` is not a list"),
        ({"note": '["absent"]'}, "its note `longvid.json_columns` is not a list"),
        ({"note": "7"}, "its note `longvid.json_columns` is not a list"),
        ({"note": '["label"]', "columns": {"label": ["{", "2"]}}, "row 0: column 'label' is not the JSON"),
        ({"note": '["label"]', "columns": {"label": [1, 2]}}, "row 0: column 'label' is not the JSON"),
        ({"columns": {"label": [b"\xff", b"a"]}}, "row 0: label b'\\xff' must be a number"),
        ({"columns": {"key": ["a", "a"]}}, "row 1: key 'a' was already given at"),
        ({"columns": {"x": [{"a": b"b"}, None]}}, "not plain JSON"),
    ],
)
def test_a_poisoned_parquet_file_is_an_error_in_one_line(tmp_path, changes, message):
    parquet(tmp_path / "list.parquet", **changes)
    with pytest.raises(AnnotationError) as caught:
        Manifest.read(tmp_path / "list.parquet")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_more_rows_and_longer_lines_than_a_manifest_has_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("longvid.tasks.manifest.MOST_ROWS", 3)
    monkeypatch.setattr("longvid.tasks.manifest_files._LONGEST_LINE", 1000)
    (tmp_path / "many.csv").write_text("key\na\nb\nc\nd\n")
    with pytest.raises(AnnotationError, match=r"many\.csv: lists more than 3 videos"):
        Manifest.read(tmp_path / "many.csv")
    for ending in ("csv", "jsonl"):
        (tmp_path / f"long.{ending}").write_text("x" * 1001)
        with pytest.raises(AnnotationError, match=rf"long\.{ending}:1: is longer than 1,000 characters"):
            Manifest.read(tmp_path / f"long.{ending}")


def many_rows(path: Path, count: int) -> Path:
    with path.open("w") as file:
        for i in range(count):
            row = {
                "key": f"video_{i:07d}",
                "path": f"videos/video_{i:07d}.mp4",
                "split": "train",
                "label": f"c{i % 50}",
            }
            file.write(json.dumps(row) + "\n")
    return path


def test_a_row_that_is_read_takes_little_memory(tmp_path):
    path = many_rows(tmp_path / "m.jsonl", 4_000)
    tracemalloc.start()
    try:
        manifest = Manifest.read(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(manifest) == 4_000
    assert peak < 4_000 * (260 + len(str(tmp_path)))  # an object a row and its text took 700 bytes and more


@pytest.mark.slow
def test_a_million_rows_are_read_in_a_third_of_a_gigabyte(tmp_path):
    path = many_rows(tmp_path / "m.jsonl", 1_000_000)
    script = (
        "import resource, sys; from longvid.tasks.manifest import Manifest; m = Manifest.read(sys.argv[1]); "
        "print(len(m), m.rows[999_999].key, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    said = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    count, key, kilobytes = said.stdout.split()
    assert (count, key) == ("1000000", "video_0999999")
    assert int(kilobytes) < 350_000


@pytest.mark.parametrize("flips", [200, pytest.param(4000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("ending", FORMATS)
def test_a_flipped_bit_gives_other_rows_or_one_line(tmp_path, ending, flips):
    path = tmp_path / f"list.{ending}"
    rows = [ManifestRow(f"k{i}", "train", [i, "ä"], f"v{i}.mp4", None, 0.5, 3.25, "g", {"x": i}) for i in range(5)]
    Manifest(tuple(rows)).write(path)
    whole, draw, refusals = path.read_bytes(), np.random.default_rng(flips), []
    for _ in range(flips):
        content = bytearray(whole)
        content[int(draw.integers(len(content)))] ^= 1 << int(draw.integers(8))
        path.write_bytes(content)
        try:
            Manifest.read(path)
        except AnnotationError as error:
            refusals.append(str(error))
    assert len(refusals) > flips // 20
    assert not any("\n" in refusal for refusal in refusals)


@pytest.mark.parametrize("ending", FORMATS)
def test_a_sha256_is_text_of_64_digits_in_every_format(tmp_path, ending):
    manifest = Manifest((ManifestRow("a", sha256="12" * 32), ManifestRow("b", sha256="AB" * 32), ManifestRow("c")))
    manifest.write(tmp_path / f"manifest.{ending}")
    assert [row.sha256 for row in Manifest.read(tmp_path / f"manifest.{ending}")] == ["12" * 32, "ab" * 32, None]


def test_a_sha256_that_is_none_is_named_by_line(tmp_path):
    (tmp_path / "m.csv").write_text("key,sha256\na,d41d8cd98f00b204e9800998ecf8427e\n")
    with pytest.raises(AnnotationError, match=r"m\.csv:2: sha256 'd41d8.*' is not 64 hexadecimal digits"):
        Manifest.read(tmp_path / "m.csv")
