"""The account of a run: one row a video, as JSON lines while it runs and as a table at the end."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

Status = Literal["done", "kept", "failed"]


@dataclass
class VideoRow:
    """What happened to one video. `kept`: the store already held all of it."""

    key: str
    path: str
    status: Status = "done"
    reason: str = ""
    num_clips: int = 0
    """Clips encoded in this run; a resumed video counts only what was missing."""
    video_seconds: float = 0.0
    decode_seconds: float = 0.0
    encode_seconds: float = 0.0
    write_seconds: float = 0.0
    backend: str = ""
    problems: list[str] = field(default_factory=list)


@dataclass
class RunReport:
    """Every video of a run, in the order in which they ended."""

    rows: list[VideoRow] = field(default_factory=list)
    wall_seconds: float = 0.0
    workers: int = 0
    """Encoders that ran at once; none where nothing was left to do."""
    path: Path | None = None
    """Where the JSON lines are."""
    stream: IO[str] | None = field(default=None, repr=False)

    def add(self, row: VideoRow) -> None:
        """Append a row, to the file at once: a killed run's report ends with the last video that ended."""
        self.rows.append(row)
        if self.stream is not None:
            self.stream.write(json.dumps(asdict(row)) + "\n")
            self.stream.flush()

    @property
    def failed(self) -> list[VideoRow]:
        """The videos that are not in the store, each with its reason."""
        return [row for row in self.rows if row.status == "failed"]

    @property
    def counts(self) -> Counter[str]:
        """Videos by status."""
        return Counter(row.status for row in self.rows)

    @property
    def num_clips(self) -> int:
        """Clips encoded in this run."""
        return sum(row.num_clips for row in self.rows)

    @property
    def exit_status(self) -> int:
        """0: every video is in the store; 3: some are not."""
        return 3 if self.failed else 0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "videos": [asdict(row) for row in self.rows],
            "counts": dict(self.counts),
            "clips": self.num_clips,
            "wall_seconds": self.wall_seconds,
            "workers": self.workers,
        }


@contextmanager
def open_report(path: Path | None) -> Iterator[RunReport]:
    """A report whose rows also go to `path`, one JSON object a line; an earlier run's file is replaced."""
    if path is None:
        yield RunReport()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as stream:
        yield RunReport(path=path, stream=stream)
