"""The three files a manifest is kept in: JSON lines, CSV and parquet.

CSV has text only, so values are written in a way that comes back as what they were: numbers as numbers, lists as
JSON, and text that looks like one of those (a class called "7") as JSON text with its quotes. `007` and `1_000` are
text. `key`, `path`, `label_path`, `group` and `split` are always text.
"""

import csv
import errno
import io
import json
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from longvid.errors import AnnotationError

_TEXT_COLUMNS = ("key", "path", "label_path", "group", "split")
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"-?[0-9]+(\.[0-9]+([eE][-+]?[0-9]+)?|[eE][-+]?[0-9]+)")
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_LONGEST_FIELD = 16 * 2**20

Record = dict[str, Any]


def read_records(path: Path) -> Iterator[tuple[str, Record]]:
    """(`file:line`, values by column) of every line of the file, in order; the ending names the format."""
    readers = {".jsonl": _read_jsonl, ".ndjson": _read_jsonl, ".parquet": _read_parquet}
    readers |= dict.fromkeys(_DELIMITERS, _read_csv)
    if path.suffix.lower() not in readers:
        raise AnnotationError(f"{path}: a manifest ends in {', '.join(readers)}")
    if not path.is_file():
        raise AnnotationError(f"{path}: no such file")
    return readers[path.suffix.lower()](path)


def write_records(path: Path, records: list[Record]) -> None:
    """Write the records, whole or not at all, in the format of the path's ending."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        _write_parquet(path, records)
    elif suffix in _DELIMITERS:
        write_atomically(path, _csv_text(records, _DELIMITERS[suffix]).encode())
    elif suffix in (".jsonl", ".ndjson"):
        lines = (json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n" for record in records)
        write_atomically(path, "".join(lines).encode())
    else:
        raise AnnotationError(f"{path}: a manifest ends in .jsonl, .ndjson, .csv, .tsv or .parquet")


def write_atomically(path: Path, content: bytes) -> None:
    """Put bytes at a path by way of a temporary name beside it, so that no reader sees half of them."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder; give the name of a file", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{secrets.token_hex(8)}"
    try:
        with temporary.open("xb") as file:  # with the permissions of any other file, unlike tempfile's
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, without its byte order mark; `AnnotationError` names the line where it is not."""
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


def _read_jsonl(path: Path) -> Iterator[tuple[str, Record]]:
    for number, line in enumerate(read_text(path).split("\n"), 1):
        where = f"{path}:{number}"
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise AnnotationError(f"{where}: is not a line of JSON ({error})") from None
        if not isinstance(record, dict):
            raise AnnotationError(f'{where}: is not a JSON object like {{"key": ...}}')
        yield where, record


def _read_csv(path: Path) -> Iterator[tuple[str, Record]]:
    text = read_text(path)
    csv.field_size_limit(_LONGEST_FIELD)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_DELIMITERS[path.suffix.lower()], strict=True)
    columns: list[str] | None = None
    while True:
        where = f"{path}:{reader.line_num + 1}"
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise AnnotationError(f"{where}: is not readable as CSV ({error})") from None
        if not any(value.strip() for value in values):
            continue
        if columns is None:
            columns = _checked_columns([value.strip() for value in values], where)
        elif len(values) != len(columns):
            raise AnnotationError(f"{where}: has {len(values)} values, the header names {len(columns)} columns")
        else:
            yield where, {name: _from_text(value, name) for name, value in zip(columns, values, strict=True)}


def _checked_columns(columns: list[str], where: str) -> list[str]:
    if not {"key", "path"} & set(columns):
        shown = ", ".join(repr(name[:40]) for name in columns[:12])
        raise AnnotationError(f"{where}: the header has no column 'key' or 'path'; it names {shown}")
    repeated = sorted({name for name in columns if columns.count(name) > 1})
    if repeated or "" in columns:
        raise AnnotationError(f"{where}: column {(repeated or [''])[0]!r} is named twice or not at all")
    return columns


def _from_text(text: str, column: str) -> Any:
    """The value a CSV cell stands for; None for an empty one."""
    if text == "":
        return None
    if column in _TEXT_COLUMNS:
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


def _to_text(value: Any, column: str) -> str:
    """The CSV cell that `_from_text` reads as the value."""
    if value is None:
        return ""
    if isinstance(value, str) and (column in _TEXT_COLUMNS or _from_text(value, column) == value):
        return value
    if isinstance(value, bool):
        return str(int(value))
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _csv_text(records: list[Record], delimiter: str) -> str:
    columns = list(dict.fromkeys(name for record in records for name in record))
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    writer.writerow(columns)
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


def _read_parquet(path: Path) -> Iterator[tuple[str, Record]]:
    pyarrow = _pyarrow(path)
    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise AnnotationError(f"{path}: is not readable as parquet ({str(error).splitlines()[0]})") from None
    columns = _checked_columns(list(table.column_names), str(path))
    encoded = json.loads((table.schema.metadata or {}).get(b"longvid.json_columns", b"[]"))
    for number, record in enumerate(table.to_pylist()):
        for name in encoded:
            record[name] = None if record[name] is None else json.loads(record[name])
        # pandas writes NaN where a column of numbers has nothing
        yield (
            f"{path}: row {number}",
            {name: None if record[name] != record[name] else record[name] for name in columns},
        )


def _write_parquet(path: Path, records: list[Record]) -> None:
    """Columns of one scalar type as they are; others (lists, mixed labels) as JSON text, named in the metadata."""
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
    write_atomically(path, out.getvalue())
