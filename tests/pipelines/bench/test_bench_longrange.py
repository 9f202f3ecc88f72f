"""The long-range bench trains every decoder alike, and its plot shows what its table says."""

from dataclasses import replace

import pytest
import torch

from longvid.decoders import build_decoder
from longvid.pipelines.bench import longrange
from longvid.pipelines.bench.longrange import (
    CONTENDERS,
    PARAMETERS,
    POOLED,
    Outcome,
    add_claims,
    count_parameters,
    matched_decoder,
)
from longvid.pipelines.bench.memory_tasks import CHANNELS, TASKS
from longvid.pipelines.bench.plot import PlotError, draw
from longvid.pipelines.bench.table import BenchTable, Panel

ORDER = TASKS[0]


@pytest.mark.parametrize("name", [name for name in CONTENDERS if name not in POOLED])
@pytest.mark.parametrize("task", [TASKS[0], TASKS[2]], ids=lambda task: task.head)
def test_parameters_are_matched_within_a_tenth(name: str, task):
    assert abs(count_parameters(matched_decoder(name, task, 0)) / PARAMETERS - 1) < 0.1


@pytest.mark.parametrize("name", ["hybrid", "lstm"])
def test_no_other_width_comes_nearer(name: str):
    found = count_parameters(matched_decoder(name, ORDER, 0))
    options = {"dim": CHANNELS, "outputs": ORDER.outputs} | CONTENDERS[name]
    sizes = [count_parameters(build_decoder(name, **options, width=width)) for width in longrange.WIDTHS]
    assert abs(found - PARAMETERS) == min(abs(size - PARAMETERS) for size in sizes)


def test_the_same_seed_builds_the_same_weights():
    first, again, other = (matched_decoder("gru", ORDER, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_an_outcome_has_an_accuracy_for_each_length(monkeypatch):
    monkeypatch.setattr(longrange, "FIRST_STEPS", 2)
    monkeypatch.setattr(longrange, "STEPS", 1)
    task = replace(ORDER, lengths=(64, 128))
    for name in ("gru", "mean-linear"):
        outcome = longrange.outcome_of(task, name, 0)
        assert list(outcome.accuracy) == [64, 128]
        assert all(0 <= value <= 1 for value in outcome.accuracy.values())


def test_s4_learns_the_order_of_two_events_where_pooling_guesses():
    task = replace(ORDER, lengths=(128,))
    learned, guessed = (longrange.outcome_of(task, name, 0).accuracy[128] for name in ("vis4mer", "mean-linear"))
    assert learned > 0.9
    assert abs(guessed - 0.5) < 0.1


def test_a_baseline_on_top_and_a_pooling_that_knows_are_goals_not_reached():
    def results(ours: float, gru: float, pooled: float) -> dict[str, list[Outcome]]:
        reached = {"vis4mer": ours, "gru": gru, "mean-linear": pooled}
        return {name: [Outcome("order", name, 0, 1, {16384: value})] for name, value in reached.items()}

    def reached(*values: float) -> list[bool]:
        table = BenchTable("t", [])
        add_claims(table, ORDER, results(*values))
        return [claim.reached for claim in table.claims]

    assert reached(0.9, 0.6, 0.5) == [True, True]
    assert reached(0.9, 0.92, 0.5) == [True, True], "two seeds cannot tell them apart"
    assert reached(0.9, 0.95, 0.5) == [False, True]
    assert reached(0.9, 0.6, 0.7) == [True, False]


def test_a_plot_holds_every_line_and_refuses_what_it_cannot_draw(tmp_path):
    panel = Panel("one", "steps", "accuracy", {"vis4mer": [(64, 0.5), (128, 0.9)]}, 0.5)
    table = BenchTable("a title", [], panels=[panel])
    draw(table, tmp_path / "plot.svg")
    assert "<svg" in (tmp_path / "plot.svg").read_text()
    draw(table, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 5000
    with pytest.raises(PlotError, match="no plot"):
        draw(BenchTable("bare", []), tmp_path / "plot.svg")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["store", "--plot", "x.png"], "has no plot"),
        (["longrange", "--plot", "x.gif"], "its name must end in .png"),
        (["longrange", "--plot", "nowhere/x.png"], "the folder nowhere for the plot does not exist"),
    ],
)
def test_a_plot_that_cannot_be_drawn_is_refused_before_anything_is_measured(arguments, message, command):
    status, out, err = command("bench", *arguments)
    assert status == 2
    assert message in err
    assert not out
