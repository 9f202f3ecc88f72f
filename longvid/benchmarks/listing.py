"""Rows of annotation files, and the rows that cannot be used.

A reader turns each row into a record, or into a `Fault` with file, line and reason. Nothing is dropped silently, and no
row is guessed at. A file that is wrong as a whole (another header, another encoding) raises `AnnotationError`.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar, runtime_checkable

from longvid.errors import AnnotationError
from longvid.tasks.manifest_files import read_text


class Unusable(ValueError):
    """Raised for a row that cannot be used; the message is the reason."""


@dataclass(frozen=True)
class Fault:
    """A row that cannot be used."""

    where: str
    """File and line, such as `train.csv:7`."""
    reason: str

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


@runtime_checkable
class Placed(Protocol):
    """A record that knows the file and line it came from."""

    @property
    def where(self) -> str:
        """`train.csv:7`."""
        ...


Line = TypeVar("Line")
Record = TypeVar("Record")
PlacedRecord = TypeVar("PlacedRecord", bound=Placed)


@dataclass(frozen=True)
class Listing(Generic[Record]):
    """The content of a file: records in file order, and the rows that cannot be used."""

    records: tuple[Record, ...]
    faults: tuple[Fault, ...] = ()

    def checked(self) -> tuple[Record, ...]:
        """The records; raises `AnnotationError` that names the first fault and counts the others, if there are any."""
        refuse_faults(self.faults)
        return self.records


def refuse_faults(faults: Iterable[Fault]) -> None:
    """Raises `AnnotationError` if there is a fault."""
    found = list(faults)
    if found:
        others = f" (and {len(found) - 1} more rows that cannot be used)" if len(found) > 1 else ""
        raise AnnotationError(f"{found[0]}{others}")


def numbered_lines(path: Path) -> Iterator[tuple[str, str]]:
    """(`file:line`, text) of every line that is not blank; any line ending and a byte order mark are accepted.

    Raises `AnnotationError` if the file is absent, is not UTF-8 text or is empty.
    """
    if not path.is_file():
        raise AnnotationError(f"{path}: no such file")
    text = read_text(path)
    if not text.strip():
        raise AnnotationError(f"{path}: is empty")
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield f"{path}:{number}", line.rstrip("\r")


def listed(lines: Iterable[tuple[str, Line]], parse: Callable[[Line, str], Record]) -> Listing[Record]:
    """The record of each line, or its fault if `parse(line, where)` raises `Unusable`."""
    records, faults = [], []
    for where, line in lines:
        try:
            records.append(parse(line, where))
        except Unusable as error:
            faults.append(Fault(where, str(error)))
    return Listing(tuple(records), tuple(faults))


def without_repeats(
    listing: Listing[PlacedRecord], name: Callable[[PlacedRecord], str], *, what: str = "video"
) -> Listing[PlacedRecord]:
    """One record per name. A repeated row is a fault; of rows that contradict each other, all are faults."""
    members: dict[str, list[PlacedRecord]] = defaultdict(list)
    for record in listing.records:
        members[name(record)].append(record)
    kept, faults = [], list(listing.faults)
    for key, group in members.items():
        if all(record == group[0] for record in group):
            kept.append(group[0])
            faults += [Fault(record.where, f"{what} {key!r} repeats {group[0].where}") for record in group[1:]]
        else:
            places = ", ".join(record.where for record in group[:3])
            faults += [
                Fault(record.where, f"{what} {key!r} is listed {len(group)} times with different values ({places})")
                for record in group
            ]
    return Listing(tuple(kept), tuple(faults))


def quoted(text: object) -> str:
    """A value as shown in an error message, shortened if it is long."""
    shown = ascii(text)
    return shown if len(shown) <= 60 else shown[:57] + "..."
