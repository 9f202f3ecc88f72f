"""Progress of an extraction: a bar in a terminal, plain lines elsewhere."""

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from longvid.pipelines.cli.console import LINE_EVERY_SECONDS, failed_line, human_seconds
from longvid.pipelines.extraction.report import VideoRow

MOST_NAMED = 10
"""Failed videos that are named as they fail; the others are named at the end of the run."""


class ExtractionProgress:
    """Draws clips done of those planned so far, the rate and the time left.

    `name_failures`: name the first failed videos as they fail; for long runs, because only their end names all.
    """

    def __init__(self, console: Console, *, videos: int, name_failures: bool = True) -> None:
        self._console = console
        self._name_failures = name_failures
        self._videos, self._ended, self._failed = videos, 0, 0
        self._total, self._done = 0, 0
        self._begin = self._last_line = time.monotonic()
        self._bar: Progress | None = None
        if console.is_terminal:
            self._bar = Progress(
                SpinnerColumn(),
                BarColumn(bar_width=None),
                TextColumn("{task.completed}/{task.total} clips"),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(compact=True),
                TextColumn("{task.fields[videos]}"),
                console=console,
                transient=True,
            )
            self._task = self._bar.add_task("extract", total=0, rate="", videos=self._video_count())

    def __enter__(self) -> "ExtractionProgress":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def planned(self, *, clips: int) -> None:
        """This many more clips have to be encoded."""
        if not self._total:
            self._begin = time.monotonic()  # only now: the start of the workers does not count
        self._total += clips
        self._draw()

    def encoded(self, *, clips: int) -> None:
        """This many more clips are in the store."""
        self._done += clips
        self._draw()

    def ended(self, row: VideoRow) -> None:
        """A video is done, kept or failed."""
        self._ended += 1
        if row.status == "failed":
            self._failed += 1
            if self._name_failures and self._failed <= MOST_NAMED:
                self._console.print(failed_line(row.key, row.reason), style="red")
            if self._name_failures and self._failed == MOST_NAMED + 1:
                self._console.print("more videos fail; the reasons follow at the end of the run", style="red")
        self._draw()

    def _video_count(self) -> str:
        failed = f", {self._failed} failed" if self._failed else ""
        return f"{self._ended}/{self._videos} videos{failed}"

    def _rate(self) -> float:
        return self._done / max(time.monotonic() - self._begin, 1e-9)

    def _draw(self) -> None:
        if self._bar is not None:
            self._bar.update(
                self._task,
                completed=self._done,
                total=self._total,
                rate=f"{self._rate():.1f}/s",
                videos=self._video_count(),
            )
            return
        now = time.monotonic()
        if now - self._last_line >= LINE_EVERY_SECONDS and self._done:
            self._last_line = now
            left = human_seconds((self._total - self._done) / self._rate())
            self._console.print(
                f"{self._done}/{self._total} clips, {self._rate():.1f} clips/s, {left} left, {self._video_count()}",
            )
