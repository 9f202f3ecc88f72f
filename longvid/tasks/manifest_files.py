"""The three file formats of a manifest: JSON lines, CSV and parquet.

CSV has text only, so values are written in a way that comes back as what they were: numbers as numbers, lists as
JSON, and text that looks like one of those (a class called "7") as JSON text with its quotes. `007` and `1_000` are
text. `key`, `path`, `label_path`, `group`, `split` and `sha256` are always text.

A spreadsheet runs a cell that starts like a formula, and class names and keys come from anywhere. So such text is
written with an apostrophe before it, which a spreadsheet takes for "this is text" and `read_records` takes off again.
"""

import csv
import io
import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from longvid.errors import AnnotationError
from longvid.files import write_bytes
from longvid.tasks.manifest import TEXT_COLUMNS

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"-?[0-9]+(\.[0-9]+([eE][-+]?[0-9]+)?|[eE][-+]?[0-9]+)")
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_FORMULA = re.compile(r"'*(?:[=+@\t\r＝＋－＠]|-(?![\w.-]*$))", re.ASCII)
"""What OWASP's rule against CSV injection escapes, apart from `-` before plain letters and digits: ids of YouTube."""
_LOOKS_LIKE_JSON = frozenset('-0123456789["{')
_LONGEST_FIELD = 16 * 2**20
_LONGEST_LINE = 64 * 2**20
_BATCH_ROWS = 10_000
_LARGEST_BATCH = 256 * 2**20
"""Bytes of the texts in so many rows, 26 kB in each: a file of 50 kB can claim 600 GB."""

Record = dict[str, Any]


def read_records(path: Path) -> tuple[str, Iterator[tuple[int, Record]]]:
    """How errors name a line before its number (`file:`), and number and values by column of every line, in order.

    The ending names the format. A line is read when it is asked for, so no file has to fit into memory.
    """
    readers = {".jsonl": _read_jsonl, ".ndjson": _read_jsonl, ".parquet": _read_parquet}
    readers |= dict.fromkeys(_DELIMITERS, _read_csv)
    if path.suffix.lower() not in readers:
        raise AnnotationError(f"{path}: the name of a manifest ends in {', '.join(readers)}")
    if not path.is_file():
        raise AnnotationError(f"{path}: no such file")
    suffix = path.suffix.lower()
    return f"{path}: row " if suffix == ".parquet" else f"{path}:", readers[suffix](path)


def write_records(path: Path, records: list[Record]) -> None:
    """Write the records atomically, in the format that the path's suffix names."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        _write_parquet(path, records)
    elif suffix in _DELIMITERS:
        write_bytes(path, _csv_text(records, _DELIMITERS[suffix]).encode())
    elif suffix in (".jsonl", ".ndjson"):
        lines = (json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n" for record in records)
        write_bytes(path, "".join(lines).encode())
    else:
        raise AnnotationError(f"{path}: the name of a manifest ends in .jsonl, .ndjson, .csv, .tsv or .parquet")


def read_text(path: Path) -> str:
    """The text of a UTF-8 file without its byte order mark; `AnnotationError` names the line that is not UTF-8."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read ({error.strerror})") from None
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise AnnotationError(f"{path}: is UTF-16 text; save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise AnnotationError(f"{path}:{line}: is not UTF-8 text; save the file as UTF-8") from None


def _lines(path: Path, newline: str) -> Iterator[str]:
    """Lines of a UTF-8 file with their ends, one in memory at a time; `newline` as `open` takes it."""
    number = 0
    try:
        with path.open("rb") as raw:
            if raw.read(2) in (b"\xff\xfe", b"\xfe\xff"):
                raise AnnotationError(f"{path}: is UTF-16 text; save it as UTF-8")
        with path.open(encoding="utf-8-sig", newline=newline) as file:
            for number, line in enumerate(iter(partial(file.readline, _LONGEST_LINE), ""), 1):
                if len(line) == _LONGEST_LINE:
                    raise AnnotationError(f"{path}:{number}: is longer than {_LONGEST_LINE:,} characters")
                yield line
    except UnicodeDecodeError:
        raise AnnotationError(f"{path}:{_first_broken_line(path)}: is not UTF-8 text; save the file as UTF-8") from None
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read ({error.strerror})") from None


def _first_broken_line(path: Path) -> int:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return 1


def _read_jsonl(path: Path) -> Iterator[tuple[int, Record]]:
    for number, line in enumerate(_lines(path, "\n"), 1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            if not line.strip():
                continue
            raise AnnotationError(f"{path}:{number}: is not a line of JSON ({error})") from None
        if not isinstance(record, dict):
            raise AnnotationError(f'{path}:{number}: is not a JSON object like {{"key": ...}}')
        yield number, record


def _read_csv(path: Path) -> Iterator[tuple[int, Record]]:
    csv.field_size_limit(_LONGEST_FIELD)
    reader = csv.reader(_lines(path, ""), delimiter=_DELIMITERS[path.suffix.lower()], strict=True)
    columns: list[str] | None = None
    while True:
        number = reader.line_num + 1
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise AnnotationError(f"{path}:{number}: cannot be read as CSV ({error})") from None
        if not any(map(str.strip, values)):
            continue
        if columns is None:
            columns = _checked_columns([_unescaped(value.strip()) for value in values], f"{path}:{number}")
        elif len(values) != len(columns):
            raise AnnotationError(
                f"{path}:{number}: has {len(values)} values, but the header names {len(columns)} columns"
            )
        else:
            yield number, {name: _from_text(value, name) for name, value in zip(columns, values, strict=True)}


def _checked_columns(columns: list[str], where: str) -> list[str]:
    if not {"key", "path"} & set(columns):
        shown = ", ".join(repr(name[:40]) for name in columns[:12])
        raise AnnotationError(f"{where}: the header has no column 'key' or 'path'; it names {shown}")
    repeated = sorted({name for name in columns if columns.count(name) > 1})
    if repeated or "" in columns:
        raise AnnotationError(f"{where}: column {(repeated or [''])[0]!r} is named twice, or has no name")
    return columns


def _from_text(text: str, column: str) -> Any:
    """The value of a CSV cell; None for an empty one."""
    if text == "":
        return None
    if text[0] == "'":
        return _unescaped(text)
    if column in TEXT_COLUMNS or text[0] not in _LOOKS_LIKE_JSON:
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if text[0] in '["{':
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
    return text


def spreadsheet_text(text: str) -> str:
    """The text as it can stand in a cell: with an apostrophe before what a spreadsheet would run as a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def _unescaped(text: str) -> str:
    """The text without the apostrophe that keeps a spreadsheet from running it."""
    return text[1:] if text[:1] == "'" and _FORMULA.match(text) else text


def _to_text(value: Any, column: str) -> str:
    """The CSV cell that `_from_text` turns back into the value."""
    if value is None:
        return ""
    if isinstance(value, str) and _FORMULA.match(value):
        return spreadsheet_text(value)
    if isinstance(value, str) and (column in TEXT_COLUMNS or _from_text(value, column) == value):
        return value
    if isinstance(value, bool):
        return str(int(value))
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _csv_text(records: list[Record], delimiter: str) -> str:
    columns = list(dict.fromkeys(name for record in records for name in record))
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    writer.writerow([spreadsheet_text(name) for name in columns])
    writer.writerows([_to_text(record.get(name), name) for name in columns] for record in records)
    return out.getvalue()


def _pyarrow(path: Path) -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise AnnotationError(
            f"{path}: parquet needs pyarrow (`pip install pyarrow`); .jsonl and .csv do not"
        ) from None
    return pyarrow


def _read_parquet(path: Path) -> Iterator[tuple[int, Record]]:
    """Row after row, a batch in memory at a time."""
    pyarrow = _pyarrow(path)
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            texts = _text_columns(file.schema)
            columns = _checked_columns(list(file.schema_arrow.names), str(path))
            encoded = _json_columns(path, file.schema_arrow.metadata, columns)
        # texts that stand for many rows are not written out before it is known how long all of them are
        with pyarrow.parquet.ParquetFile(path, read_dictionary=texts) as file:
            number = 0
            for batch in file.iter_batches(_BATCH_ROWS):
                if sum(map(_text_bytes, batch.columns)) > _LARGEST_BATCH:
                    raise AnnotationError(
                        f"{path}: row {number}: the texts of {len(batch):,} rows have more than {_LARGEST_BATCH:,} "
                        "bytes"
                    )
                for record in _written_out(batch).to_pylist():
                    yield number, _from_parquet(record, columns, encoded, f"{path}: row {number}")
                    number += 1
    except AnnotationError:
        raise
    except Exception as error:  # pyarrow raises its own kinds, and Python's own for text that is none
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise AnnotationError(f"{path}: is not readable as parquet ({reason})") from error


def _text_columns(schema: Any) -> list[str]:
    """Columns of text, also inside lists and structures, by the schema: what else a damaged file says can end us."""
    leaves = (schema.column(index) for index in range(len(schema)))
    return sorted({leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"})


def _written_out(batch: Any) -> Any:
    """The rows with each text written out, which Python reads twice as fast."""
    import pyarrow

    columns = [one.dictionary_decode() if pyarrow.types.is_dictionary(one.type) else one for one in batch.columns]
    return pyarrow.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _text_bytes(array: Any) -> int:
    """Bytes of the texts that an array stands for, those that repeat counted each time."""
    import pyarrow
    from pyarrow import compute

    kind = array.type
    if pyarrow.types.is_dictionary(kind):
        lengths = compute.binary_length(array.dictionary)
        return int(compute.sum(compute.cast(lengths.take(array.indices), pyarrow.int64())).as_py() or 0)
    if pyarrow.types.is_list(kind) or pyarrow.types.is_large_list(kind):
        return _text_bytes(array.flatten())
    if pyarrow.types.is_struct(kind):
        return sum(map(_text_bytes, array.flatten()))
    return int(array.nbytes)


def _json_columns(path: Path, metadata: dict[bytes, bytes] | None, columns: list[str]) -> list[str]:
    """Columns that hold JSON text, as `_write_parquet` noted them."""
    try:
        encoded = json.loads((metadata or {}).get(b"longvid.json_columns", b"[]"))
    except (ValueError, RecursionError):
        encoded = None
    if not isinstance(encoded, list) or not all(isinstance(name, str) and name in columns for name in encoded):
        raise AnnotationError(f"{path}: its note `longvid.json_columns` is not a list of its columns; write it again")
    return encoded


def _from_parquet(record: Record, columns: list[str], encoded: list[str], where: str) -> Record:
    """The values of a row; pandas writes NaN where a column of numbers has nothing."""
    for name in encoded:
        if record[name] is None:
            continue
        try:
            record[name] = json.loads(record[name])
        except (TypeError, ValueError, RecursionError) as error:
            raise AnnotationError(f"{where}: column {name!r} is not the JSON it is said to be ({error})") from None
    return {name: None if record[name] != record[name] else record[name] for name in columns}


def _write_parquet(path: Path, records: list[Record]) -> None:
    """Columns of one scalar type unchanged; others (lists, mixed labels) as JSON text, named in the metadata."""
    pyarrow = _pyarrow(path)
    columns = list(dict.fromkeys(name for record in records for name in record))
    encoded, arrays = [], []
    for name in columns:
        values = [record.get(name) for record in records]
        types = {type(value) for value in values if value is not None}
        if len(types) > 1 or not types <= {str, int, float}:
            encoded.append(name)
            values = [None if value is None else json.dumps(value, allow_nan=False) for value in values]
        arrays.append(pyarrow.array(values))
    table = pyarrow.table(arrays, names=columns)
    table = table.replace_schema_metadata({"longvid.json_columns": json.dumps(encoded)})
    out = io.BytesIO()
    pyarrow.parquet.write_table(table, out)
    write_bytes(path, out.getvalue())
