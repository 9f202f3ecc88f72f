"""Progress fits eighty columns in a terminal, is plain lines elsewhere, and is silent unless asked for."""

import io
from contextlib import suppress

from rich.console import Console

from longvid.pipelines.cli import training_progress as module
from longvid.pipelines.cli.training_progress import ConsoleProgress
from longvid.pipelines.training.progress import Quiet
from longvid.pipelines.training.results import EpochRow, SeedResult

ROW = EpochRow(epoch=4, train_loss=0.6931, learning_rate=1e-3, seconds=0.1, val_loss=0.7, metrics={"accuracy": 0.875})
RESULT = SeedResult(0, best_epoch=3, epochs=10, metrics={"accuracy": 0.9}, train_seconds=12.3, weights_sha256="")


def drive(progress: ConsoleProgress | Quiet) -> None:
    progress.seed_started(0, epochs=10, done=0)
    progress.epoch_ended(ROW)
    progress.seed_ended(RESULT)


def test_a_terminal_of_eighty_columns_shows_one_line_that_fits():
    out = io.StringIO()
    with ConsoleProgress(Console(file=out, force_terminal=True, width=80), label="vis4mer", monitor="accuracy") as bar:
        drive(bar)
    lines = [
        Console(file=io.StringIO()).render_str(part).plain for part in out.getvalue().replace("\r", "\n").split("\n")
    ]
    text = "".join(lines)
    assert "5/10" in text
    assert "val 87.5 %" in text
    assert "vis4mer seed 0: best validation accuracy 90.0 % in epoch 4 of 10, 12 s" in text.replace("\n", "")


def test_without_a_terminal_only_plain_lines_are_printed(monkeypatch):
    monkeypatch.setattr(module, "LINE_EVERY_SECONDS", 0.0)
    out = io.StringIO()
    drive(ConsoleProgress(Console(file=out, width=80), label="vis4mer", monitor="accuracy"))
    assert out.getvalue().splitlines() == [
        "vis4mer: epoch 5/10  loss 0.693  val 87.5 %",
        "vis4mer seed 0: best validation accuracy 90.0 % in epoch 4 of 10, 12 s",
    ]


def test_lines_without_a_terminal_are_rare():
    out = io.StringIO()
    progress = ConsoleProgress(Console(file=out, width=80), label="vis4mer", monitor="accuracy")
    progress.seed_started(0, epochs=10, done=0)
    for _ in range(100):
        progress.epoch_ended(ROW)
    assert out.getvalue() == ""


def test_an_interrupted_bar_gives_the_terminal_back():
    out = io.StringIO()
    progress = ConsoleProgress(Console(file=out, force_terminal=True, width=80), label="vis4mer", monitor="accuracy")
    with suppress(KeyboardInterrupt), progress:
        progress.seed_started(0, epochs=10, done=0)
        raise KeyboardInterrupt
    assert out.getvalue().count("\x1b[?25h") == out.getvalue().count("\x1b[?25l") == 1


def test_quiet_is_quiet(capfd):
    drive(Quiet())
    assert capfd.readouterr() == ("", "")
