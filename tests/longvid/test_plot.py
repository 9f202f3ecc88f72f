"""Pictures show what they are given, and refuse what they cannot show."""

import inspect
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

from longvid import plot  # noqa: E402
from longvid.errors import BackendUnavailable, ConfigError  # noqa: E402
from longvid.files import write_json  # noqa: E402


@pytest.fixture(autouse=True)
def closed():
    yield
    from matplotlib import pyplot

    pyplot.close("all")


@dataclass
class Answer:
    seconds: np.ndarray
    scores: np.ndarray
    outputs: tuple[str, ...]


ANSWER = Answer(
    np.array([[0.0, 2.0], [2.0, 4.0]]), np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0]]), ("run", "jump", "sit")
)


def test_a_timeline_has_a_line_per_output_at_the_middle_of_each_row() -> None:
    axes = plot.timeline(ANSWER, truth=[(0.0, 2.0, "run")])
    lines = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert lines["jump"] == [[1.0, 0.1], [3.0, 0.8]]
    assert axes.get_xlim() == (0.0, 4.0)
    assert [line.get_label() for line in plot.timeline(ANSWER, most=2).lines] == ["run", "jump"]


def test_a_timeline_refuses_truth_that_is_no_output() -> None:
    with pytest.raises(ValueError, match="'swim', which is not one of the outputs run, jump, sit"):
        plot.timeline(ANSWER, truth=[(0.0, 1.0, "swim")])


def test_lanes_of_segments_share_colours() -> None:
    axes = plot.segments({"truth": [(0.0, 2.0, "run")], "answer": [(0.0, 1.0, "run"), (1.0, 2.0, "sit")]})
    assert [label.get_text() for label in axes.get_yticklabels()] == ["truth", "answer"]
    first, same, other = (bars.get_facecolor()[0].tolist() for bars in axes.collections)
    assert first == same != other


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    for seed in (0, 1):
        place = folder / f"seed-{seed}"
        place.mkdir(parents=True)
        rows = [
            "epoch,train_loss,val_loss,accuracy,learning_rate,seconds",
            "0,1.5,1.4,0.5,0.1,1",
            f"1,1,,0.{6 + seed},0.1,1",
        ]
        (place / "history.csv").write_text("\n".join(rows) + "\n")
    seeds = [{"seed": seed, "metrics": {"accuracy": 0.6 + seed / 10}} for seed in (0, 1)]
    write_json(folder / "evaluation" / "test.json", {"seeds": seeds, "baseline": {"accuracy": 0.25}})
    return folder


def test_curves_have_a_line_per_seed_and_count_epochs_from_one(run: Path) -> None:
    axes = plot.curves(run)
    assert [line.get_xydata().tolist() for line in axes.lines] == [[[1, 0.5], [2, 0.6]], [[1, 0.5], [2, 0.7]]]
    losses = plot.curves(run, metric="loss").lines
    assert [len(line.get_xydata()) for line in losses] == [2, 1, 2, 1]  # an epoch that was not validated has no point
    with pytest.raises(ConfigError, match="mof was not measured in training; choose loss, accuracy"):
        plot.curves(run, metric="mof")


def test_scores_show_seeds_their_mean_and_the_constant_answer(run: Path) -> None:
    dots, mean, cross = plot.scores(run).lines
    assert np.allclose(dots.get_xdata(), [0.6, 0.7])
    assert np.allclose(mean.get_xdata(), 0.65)
    assert cross.get_xdata() == [0.25]


def test_a_run_that_was_not_evaluated_names_the_command(run: Path) -> None:
    with pytest.raises(ConfigError, match=r"longvid evaluate .* --split val"):
        plot.scores(run, split="val")
    with pytest.raises(ConfigError, match="longvid train"):
        plot.curves(run / "seed-0")


class Video:
    key = "film"
    seconds = np.array([[0.0, 1.0], [1.0, 2.0], [2.0, 3.0], [3.0, 4.0]])
    num_clips = 4

    def read(self, start: int, stop: int, *, missing: str) -> np.ndarray:
        assert missing == "nan"
        return np.array([[[1.0, 0.0]], [[2.0, 0.0]], [[0.0, 1.0]], [[np.nan, np.nan]]])[start:stop]


def test_similarity_is_the_cosine_of_every_two_clips_and_white_where_one_is_not_there() -> None:
    shown = plot.similarity(Video()).images[0].get_array()
    assert np.allclose(shown[:3, :3], [[1, 1, 0], [1, 1, 0], [0, 0, 1]])
    assert shown.mask[3].all() or np.isnan(np.asarray(shown)[3]).all()
    assert plot.similarity(Video(), most=2).images[0].get_array().shape == (2, 2)


def test_a_confusion_matrix_shows_shares_of_each_true_class() -> None:
    axes = plot.confusion([[3, 1], [0, 0]], ["a", "b"])
    assert np.asarray(axes.images[0].get_array()).tolist() == [[0.75, 0.25], [0.0, 0.0]]
    with pytest.raises(ValueError, match=r"shape \(1, 1\) for 2 classes"):
        plot.confusion([[1]], ["a", "b"])


def test_a_picture_goes_into_axes_that_are_given() -> None:
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    assert plot.timeline(ANSWER, axes=axes) is axes


def test_names_are_shown_as_they_are_by_both_libraries(tmp_path: Path) -> None:
    named = Answer(ANSWER.seconds, ANSWER.scores, ("a $\\frac$ b", "<b>run</b>", "sit"))
    axes = plot.timeline(named)
    axes.figure.savefig(tmp_path / "x.png")  # matplotlib would take it for mathematics, which it is not
    assert next(text.get_text() for text in axes.get_legend().get_texts()) == "a \\$\\frac\\$ b"
    assert plot.timeline(named, backend="plotly").data[1].name == "&lt;b&gt;run&lt;/b&gt;"


def test_both_libraries_draw_the_same_points_names_and_colours(run: Path) -> None:
    for draw in (lambda **where: plot.timeline(ANSWER, **where), lambda **where: plot.curves(run, **where)):
        lines = draw().lines
        traces = draw(backend="plotly").data
        assert [list(zip(one.x, one.y, strict=True)) for one in traces] == [
            [tuple(point) for point in line.get_xydata().tolist()] for line in lines
        ]
        assert [one.name for one in traces] == [line.get_label() for line in lines]
        assert [one.line.color for one in traces] == [line.get_color() for line in lines]
    lanes = {"truth": [(0.0, 2.0, "run")], "answer": [(0.0, 1.0, "run"), (1.0, 2.0, "sit")]}
    bars = plot.segments(lanes, backend="plotly").data
    assert [(bar.y[0], bar.base[0], bar.base[0] + bar.x[0], bar.name) for bar in bars] == [
        (0, 0.0, 2.0, "run"),
        (1, 0.0, 1.0, "run"),
        (1, 1.0, 2.0, "sit"),
    ]
    assert [bar.showlegend for bar in bars] == [True, False, True]  # a name is in the legend once
    dots, mean, cross = plot.scores(run, backend="plotly").data
    assert np.allclose([*dots.x, *mean.x, *cross.x], [0.6, 0.7, 0.65, 0.65, 0.25])
    for draw in (
        lambda **where: plot.similarity(Video(), **where),
        lambda **where: plot.confusion([[3, 1], [0, 0]], ["a", "b"], **where),
    ):
        shown = np.ma.filled(np.ma.asarray(draw().images[0].get_array()), np.nan)
        assert np.allclose(draw(backend="plotly").data[0].z, shown, equal_nan=True)


def test_a_figure_of_plotly_names_its_lanes_from_the_top_and_shades_the_truth() -> None:
    figure = plot.segments({"truth": [(0.0, 90.0, "run")], "answer": []}, backend="plotly")
    assert figure.layout.yaxis.ticktext == ("truth", "answer")
    assert figure.layout.yaxis.range == (1.5, -0.5)
    assert figure.layout.xaxis.ticktext[:3] == ("0:00", "0:15", "0:30")
    (shade,) = plot.timeline(ANSWER, truth=[(0.0, 2.0, "run")], backend="plotly").layout.shapes
    assert (shade.x0, shade.x1, shade.fillcolor) == (0.0, 2.0, "#4477aa")


@pytest.mark.parametrize(("first", "last"), [(0.0, 0.4), (3.2, 61.0), (0.0, 5400.0), (0.0, 4e6)])
def test_ticks_of_a_time_axis_are_few_round_and_inside(first: float, last: float) -> None:
    from longvid.plot.on_plotly import MOST_TICKS, time_ticks

    ticks = time_ticks(first, last)
    assert 1 <= len(ticks) <= MOST_TICKS
    assert first <= ticks[0]
    assert ticks[-1] <= last
    assert all(tick == round(tick) for tick in ticks)


def test_a_figure_of_plotly_that_is_given_is_drawn_into_and_another_library_is_refused() -> None:
    from plotly.graph_objects import Figure

    from longvid.plot.canvas import canvas

    figure = Figure()
    assert plot.timeline(ANSWER, axes=figure) is figure
    with pytest.raises(ValueError, match="'bokeh' is not one of matplotlib, plotly"):
        inspect.unwrap(canvas)("bokeh", None, height=1.0)  # past the check of types that tests run with
    with pytest.raises(ValueError, match="backend='matplotlib' cannot draw into a Figure; leave backend out"):
        plot.timeline(ANSWER, axes=figure, backend="matplotlib")


@pytest.mark.parametrize(("library", "extra"), [("matplotlib", "plot"), ("plotly", "plotly")])
def test_a_library_that_is_missing_names_its_extra(library: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, f"longvid.plot.on_{library}", raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(BackendUnavailable, match=rf"needs {library}: pip install 'longvid\[{extra}\]'"):
        plot.timeline(ANSWER, backend=library)  # type: ignore[arg-type]
