"""Progress of long work in a notebook: one line that changes."""

import html
import sys
import time
from typing import Any

EVERY_SECONDS = 0.2
"""Least time between two drawings."""


def in_notebook() -> bool:
    """Whether a Jupyter kernel runs this; False in scripts and in IPython's terminal."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return hasattr(shell, "kernel")


class Line:
    """A bar with words beside it; a notebook draws it as HTML, everything else as text."""

    def __init__(self, done: int, total: int, words: str) -> None:
        self.done, self.total, self.words = done, total, words

    def __repr__(self) -> str:
        return f"{self.done}/{self.total} {self.words}"

    def _repr_html_(self) -> str:
        bar = f"<progress value='{self.done}' max='{max(self.total, 1)}'></progress>"
        return f"<div>{bar} {html.escape(repr(self))}</div>"


class _Display:
    """Draws lines, each in the place of the one before it."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._drawn = 0.0

    def draw(self, line: Line, *, last: bool = False) -> None:
        """Show the line, unless the one before it is too young and this is not the last."""
        now = time.monotonic()
        if self._handle is not None and not last and now - self._drawn < EVERY_SECONDS:
            return
        self._drawn = now
        if self._handle is None:
            from IPython.display import display

            self._handle = display(line, display_id=True)
        else:
            self._handle.update(line)

    def new(self) -> None:
        """The next line has a place of its own."""
        self._handle = None


class NotebookExtraction:
    """Clips of an extraction, done of those planned so far; failed videos are counted, `RunReport` names them."""

    def __init__(self) -> None:
        self._display, self._begin = _Display(), time.monotonic()
        self._done, self._total, self._ended, self._failed = 0, 0, 0, 0

    def planned(self, *, clips: int) -> None:
        """This many more clips have to be encoded."""
        if not self._total:
            self._begin = time.monotonic()
        self._total += clips
        self._draw()

    def encoded(self, *, clips: int) -> None:
        """This many more clips are in the store."""
        self._done += clips
        self._draw()

    def ended(self, row: Any) -> None:
        """A video is done, kept or failed."""
        self._ended += 1
        self._failed += row.status == "failed"
        self._draw()

    def _draw(self) -> None:
        rate = self._done / max(time.monotonic() - self._begin, 1e-9)
        failed = f", {self._failed} failed" if self._failed else ""
        words = f"clips, {rate:.1f} per second; {self._ended} videos{failed}"
        # whether a video is the last one is not known here, so that the line of every finished piece is drawn
        self._display.draw(Line(self._done, self._total, words), last=self._done == self._total)


class NotebookTraining:
    """Epochs of each seed of a training."""

    def __init__(self) -> None:
        self._display, self._words, self._epochs, self._row = _Display(), "", 0, ""

    def seed_started(self, seed: int, *, epochs: int, done: int) -> None:
        """Draw a line of the seed's own."""
        self._display.new()
        self._words, self._epochs, self._row = f"epochs of seed {seed}", epochs, ""
        self._display.draw(Line(done, epochs, self._words))

    def epoch_ended(self, row: Any) -> None:
        """Move the bar."""
        measured = "".join(f", {name} {value:.4g}" for name, value in row.metrics.items())
        self._row = f"{self._words}; loss {row.train_loss:.4g}{measured}"
        self._display.draw(Line(row.epoch + 1, self._epochs, self._row))

    def seed_ended(self, result: Any) -> None:
        """Say which epoch was best."""
        measured = "".join(f", {name} {value:.4g}" for name, value in result.metrics.items())
        words = f"epochs of seed {result.seed}, the best is epoch {result.best_epoch + 1}{measured}"
        self._display.draw(Line(result.epochs, result.epochs, words), last=True)


class NotebookPretraining:
    """Epochs of a pretraining."""

    def __init__(self) -> None:
        self._display, self._epochs = _Display(), 0

    def started(self, *, epochs: int, done: int) -> None:
        """Draw the bar."""
        self._epochs = epochs
        self._display.draw(Line(done, epochs, "epochs"))

    def epoch_ended(self, row: Any) -> None:
        """Move the bar."""
        words = f"epochs; loss {row.train.loss:.4g}"
        self._display.draw(Line(row.epoch + 1, self._epochs, words), last=row.epoch + 1 == self._epochs)
