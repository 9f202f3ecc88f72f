"""A parquet file in which one text stands for many rows is not unpacked beyond bounds."""

import resource
from pathlib import Path
from typing import Any

import pytest

from longvid.errors import AnnotationError
from longvid.tasks.manifest import read_rows

pytestmark = pytest.mark.faults

ROWS = 10_000
LONG = "x" * (1 << 20)


def tables() -> dict[str, Any]:
    """10 GB of text in a few kilobytes: as a column, in lists, in structures."""
    pyarrow = pytest.importorskip("pyarrow")
    packed = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * ROWS, pyarrow.int32()), pyarrow.array([LONG]))
    return {
        "column": packed,
        "list": pyarrow.ListArray.from_arrays(pyarrow.array(range(ROWS + 1), pyarrow.int32()), packed),
        "structure": pyarrow.StructArray.from_arrays([packed], ["a"]),
    }


@pytest.mark.parametrize("kind", ["column", "list", "structure"])
def test_texts_that_claim_more_than_memory_are_one_line(kind: str, tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "bomb.parquet"
    table = pyarrow.table({"key": [str(row) for row in range(ROWS)], "note": tables()[kind]})
    parquet.write_table(table, path, compression="zstd")
    assert path.stat().st_size < 100_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(AnnotationError, match=r"the texts of 10,000 rows have more than 268,435,456 bytes") as refused:
        list(read_rows(path))
    assert "\n" not in str(refused.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000, "kilobytes"


def test_texts_that_repeat_are_read_as_what_they_are(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    values = {
        "key": [f"video {row}" for row in range(300)],
        "label": [None if row % 7 == 0 else "ab"[row % 2] for row in range(300)],
        "tags": [["a", "b"][: row % 3] for row in range(300)],
        "about": [{"by": "me", "year": row} for row in range(300)],
    }
    parquet.write_table(pyarrow.table(values), tmp_path / "m.parquet")
    rows = list(read_rows(tmp_path / "m.parquet"))
    assert [row.key for row in rows] == values["key"]
    assert [row.label for row in rows] == values["label"]
    assert [row.extra["tags"] for row in rows] == values["tags"]
    assert [row.extra["about"] for row in rows] == values["about"]
