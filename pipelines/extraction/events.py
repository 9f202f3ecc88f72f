"""Events of a run, one JSON object per line, written as they happen.

`longvid extract --log-file FILE` writes them.

Every line has `time` (UTC) and `event`: `run started`, `workers`, `encoder loaded`, `film opened`, `pieces done`,
`video ended` (the row of the report), `worker died`, `warning` and `run ended`. A log that cannot be written any more
does not end the run; that is said once.
"""

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from longvid.errors import ConfigError

_log = logging.getLogger(__name__)


class Events:
    """Where events go: a file, or nowhere."""

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    @property
    def are_wanted(self) -> bool:
        """Whether events are written anywhere."""
        return self._stream is not None

    def emit(self, event: str, **about: Any) -> None:
        """Write an event down; `about` holds plain JSON values."""
        with self._lock:
            stream = self._stream
            if stream is None:
                return
            line = json.dumps({"time": now(), "event": event, **about}, ensure_ascii=False)
            try:
                stream.write(f"{line}\n")
                stream.flush()
            except OSError as error:
                self._stream = None
                reason = error.strerror or str(error)
        if self._stream is None:
            _log.warning("%s: cannot be written any more (%s); the run goes on without it", stream.name, reason)


@contextmanager
def open_events(path: Path | None) -> Iterator[Events]:
    """Events that are appended to the file, warnings among them; None: they go nowhere.

    Raises `ConfigError` for a file that cannot be written.
    """
    if path is None:
        yield Events()
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("a", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise ConfigError(f"{path}: the log cannot be written: {error.strerror or error}; name another file") from error
    events = Events(stream)
    handler = _Handler(events)
    loggers = [logging.getLogger(name) for name in ("longvid", "distributed")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield events
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
        stream.close()


class _Handler(logging.Handler):
    """Writes warnings among the events."""

    def __init__(self, events: Events) -> None:
        super().__init__(logging.WARNING)
        self._events = events

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record down, unless it is about the log itself."""
        if record.name != __name__:
            self._events.emit("warning", logger=record.name, message=record.getMessage())


def now() -> str:
    """The time now in UTC, to the millisecond: `2026-11-28T10:14:10.123+00:00`."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
