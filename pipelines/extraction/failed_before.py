"""Videos that failed in the last run: tried again, left out, or alone."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from longvid.errors import ConfigError
from longvid.pipelines.extraction.inputs import VideoRequest
from longvid.pipelines.extraction.report import VideoRow, rows_of_report

Failed = Literal["try", "skip", "only"]
AGAIN = "not tried again (it failed before): "
"""What the reason of a video that is left out starts with."""


def after_failures(
    requests: Iterable[VideoRequest], report: Path, failed: Failed
) -> tuple[Iterable[VideoRequest], list[VideoRow]]:
    """The videos to be tried, and rows for those that are left out, by the last run's report.

    "skip" tries a failed video again if its file has changed since that run. Raises `ConfigError` if the report is
    needed and not there.
    """
    if failed == "try":
        return requests, []
    if not report.is_file():
        if failed == "skip":  # a first run
            return requests, []
        raise ConfigError(f"{report}: no report of an earlier run, so it is not known which videos failed")
    before = {row.key: row for row in rows_of_report(report) if row.status == "failed"}
    requests = list(requests)
    if failed == "only":
        return [request for request in requests if request.key in before], []
    then = report.stat().st_mtime
    skipped = [request for request in requests if request.key in before and not _changed_since(request.path, then)]
    keys = {request.key for request in skipped}
    rows = [
        replace(before[r.key], path=r.path, reason=AGAIN + before[r.key].reason.removeprefix(AGAIN)) for r in skipped
    ]
    return [request for request in requests if request.key not in keys], rows


def _changed_since(path: str, then: float) -> bool:
    """Whether a local file was written after a time; a file that is not there has not changed."""
    try:
        return Path(path).stat().st_mtime > then
    except (OSError, ValueError):
        return False
