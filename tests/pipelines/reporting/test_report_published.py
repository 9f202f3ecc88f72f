"""A report of a public task shows the bar: the best number measured in the same way, with its source."""

import re

import pytest

from longvid.pipelines.evaluation.evaluate import evaluate
from longvid.pipelines.reporting import report
from longvid.pipelines.training.train import train
from longvid.tasks import Manifest


@pytest.fixture
def lvu_run(make_data, recipe_for):
    """Trains and evaluates a toy run of LVU's scenes by a protocol, and gives the text of its report."""
    folder = make_data({"train": 8, "val": 4, "test": 4}, label=lambda order: order)
    manifest = Manifest.read(folder / "manifest.jsonl")
    rows = tuple(type(row)(row.key, split=row.split, extra={"scene": row.label}) for row in manifest)
    Manifest(rows).write(folder / "manifest.jsonl")

    def page(**settings) -> str:
        config = recipe_for(folder, epochs=1, task={"name": "lvu/scene"}, **settings)
        train(config)
        evaluate(config.out)
        return re.sub(r"\s+", " ", report([config.out], folder / "page.html").read_text())

    return page


def test_the_bar_is_that_of_the_protocol(lvu_run):
    page = lvu_run(protocol="lvu/masked", window={"seconds": 8.0, "stride_seconds": 4.0})
    assert "Learnable VTM" in page  # 75.58, the best by lvu/vis4mer
    assert "75.58 %" in page
    assert "67.44 %" in page  # ViS4mer
    assert "90.0 %" not in page  # HERMES, measured by windows


def test_without_a_protocol_there_is_no_bar(lvu_run):
    assert "67.44 %" not in lvu_run()
