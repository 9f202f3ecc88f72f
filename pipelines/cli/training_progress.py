"""Progress of a training: a bar in a terminal, plain lines elsewhere."""

import time
from collections.abc import Mapping

from rich.console import Console
from rich.progress import Progress

from longvid.metrics.items import METRICS
from longvid.pipelines.cli.console import LINE_EVERY_SECONDS, epoch_bar
from longvid.pipelines.training.results import EpochRow, SeedResult


class ConsoleProgress:
    """Draws a bar for the seed in training and leaves one line per finished seed.

    Fits 80 columns. Without a terminal it prints a plain line every 15 seconds instead of the bar.
    """

    def __init__(self, console: Console, *, label: str, monitor: str) -> None:
        self._console = console
        self._label = label
        self._monitor = monitor
        self._bar: Progress | None = None
        self._epochs = 0
        self._last_line = time.monotonic()

    def seed_started(self, seed: int, *, epochs: int, done: int) -> None:
        """Start a bar."""
        self._epochs, self._last_line = epochs, time.monotonic()
        if not self._console.is_terminal:
            return
        self._bar = epoch_bar(self._console)
        self._task = self._bar.add_task(f"{self._label} seed {seed}", total=epochs, completed=done, figures="")
        self._bar.start()

    def epoch_ended(self, row: EpochRow) -> None:
        """Move the bar, or print a line if the last one is 15 seconds old."""
        figures = f"loss {row.train_loss:.3f}"
        if row.metrics:
            figures += f"  val {self._monitored(row.metrics)[1]}"
        if self._bar is not None:
            self._bar.update(self._task, completed=row.epoch + 1, figures=figures)
        elif time.monotonic() - self._last_line >= LINE_EVERY_SECONDS:
            self._last_line = time.monotonic()
            self._print(f"{self._label}: epoch {row.epoch + 1}/{self._epochs}  {figures}")

    def seed_ended(self, result: SeedResult) -> None:
        """Replace the bar by the result."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        label, value = self._monitored(result.metrics)
        self._print(
            f"{self._label} seed {result.seed}: best validation {label} "
            f"{value} in epoch {result.best_epoch + 1} of {result.epochs}, "
            f"{result.train_seconds:.0f} s"
        )

    def _monitored(self, metrics: Mapping[str, float]) -> tuple[str, str]:
        """Label and value of what chooses the epoch: one metric, or the sum of several joined by `+`."""
        names = self._monitor.split("+")
        if names[0] not in METRICS:
            return self._monitor, f"{metrics[self._monitor]:.3f}"
        return " + ".join(METRICS[name].label for name in names), METRICS[names[0]].format(
            sum(metrics[n] for n in names)
        )

    def __enter__(self) -> "ConsoleProgress":
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False)
