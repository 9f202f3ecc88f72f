"""Rows of annotation files, and the rows that cannot be used: those are kept with file, line and reason.

A reader turns each row into a record, or into a `Fault`. Nothing is dropped in silence, and no row is guessed at.
A file that is not what it should be as a whole (another header, another encoding) raises `AnnotationError`.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar, runtime_checkable

from longvid.errors import AnnotationError
from longvid.tasks.manifest_files import read_text


class Unusable(ValueError):
    """A row that says nothing that can be used; the message is the reason."""


@dataclass(frozen=True)
class Fault:
    """A row that cannot be used."""

    where: str
    """File and line, `train.csv:7`."""
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
    """What a file holds: records in its order, and the rows that are none."""

    records: tuple[Record, ...]
    faults: tuple[Fault, ...] = ()

    def checked(self) -> tuple[Record, ...]:
        """The records; `AnnotationError` that names the first fault and counts the others, where there is any."""
        refuse_faults(self.faults)
        return self.records


def refuse_faults(faults: Iterable[Fault]) -> None:
    """Raises `AnnotationError` where there is a fault."""
    found = list(faults)
    if found:
        others = f" (and {len(found) - 1} more rows that cannot be used)" if len(found) > 1 else ""
        raise AnnotationError(f"{found[0]}{others}")


def numbered_lines(path: Path) -> Iterator[tuple[str, str]]:
    """(`file:line`, text) of every line that is not blank; line ends of all systems, and a byte order mark, are taken.

    Raises `AnnotationError` for a file that is absent, is no UTF-8 text or holds nothing.
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
    """The record of each line, or its fault where `parse(line, where)` raises `Unusable`."""
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
    """One record for each name. A repeated row is a fault; rows that contradict each other are all faults."""
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
    """A value as it stands in an error, cut where it is long."""
    shown = ascii(text)
    return shown if len(shown) <= 60 else shown[:57] + "..."
