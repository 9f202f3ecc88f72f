"""The report holds everything it shows, shows it in a real browser, and says what it rests on."""

import json
import re
import shutil
import subprocess
from base64 import b64decode
from html import unescape
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from longvid.errors import ConfigError
from longvid.files import read_json, write_json
from longvid.pipelines.demo.videos import Script, encode
from longvid.pipelines.evaluation.evaluate import VideoTimeline, evaluate
from longvid.pipelines.reporting import report
from longvid.pipelines.reporting.charts import Axis, Series, around, clock, line_chart
from longvid.pipelines.reporting.thumbnails import thumbnails, thumbnails_or_reason
from longvid.pipelines.reporting.videos import ANSWER_AT, OTHERS, TRUTH_AT, timeline_chart
from longvid.pipelines.training.train import train
from longvid.tasks import Manifest, Task

CHROMIUM = next(
    (p for name in ("chromium", "chromium-browser", "google-chrome", "chrome") if (p := shutil.which(name))), None
)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (apt install chromium)")

PROBE = """<script>
  window.addEventListener("load", () => {
    const waiting = setInterval(async () => {
      if (!document.documentElement.dataset.drawn) return;
      clearInterval(waiting);
      document.getElementById("theme").click();
      const charts = [...document.querySelectorAll(".chart")];
      Plotly.Fx.hover(charts[0], {xval: 1});
      const inside = [...document.querySelectorAll(".chart path.js-line")].every((p) => {
        const box = p.getBBox();
        return box.x > -1 && box.x + box.width < window.innerWidth;
      });
      const video = [...document.querySelectorAll(".video")].find((v) => v.querySelector(".film"));
      const [one, other] = video.querySelectorAll(".chart");
      await Plotly.relayout(one, {"xaxis.range[0]": 4000, "xaxis.range[1]": 8000});
      const far = performance.getEntriesByType("resource").map((r) => r.name).filter((n) => !n.startsWith("data:"));
      document.body.dataset.probe = JSON.stringify({
        far, images: document.images.length,
        wide: document.documentElement.scrollWidth > window.innerWidth,
        broken: [...document.images].filter((i) => !i.naturalWidth).length,
        drawn: charts.filter((c) => c.querySelector("svg .scatterlayer .trace")).length,
        tip: charts[0].querySelector(".hoverlayer").textContent,
        ticks: [...other.querySelectorAll(".xtick")].map((t) => t.textContent),
        zoom: video.querySelector(".film").style.getPropertyValue("--zoom"),
        inside,
        line: charts[0].data.find((t) => t.name === "vis4mer").line.color,
      });
    }, 20);
  });
  window.addEventListener("error", (e) => { document.body.dataset.error = e.message; });
  window.addEventListener("unhandledrejection", (e) => { document.body.dataset.error = String(e.reason); });
</script>"""


DENSE_PROBE = """<script>
  window.addEventListener("load", () => {
    const waiting = setInterval(() => {
      if (!document.documentElement.dataset.drawn) return;
      clearInterval(waiting);
      const highest = (chart, start) => Math.min(...chart.data
        .map((t, i) => [t, chart.querySelectorAll(".scatterlayer .trace")[i]])
        .filter(([t]) => start ? t.name.startsWith(start) : !t.name.includes(": "))
        .map(([, drawn]) => drawn.querySelector("path.js-line").getBoundingClientRect())
        .map((box) => box.top + box.height / 2));
      document.body.dataset.probe = JSON.stringify({
        wide: document.documentElement.scrollWidth > window.innerWidth,
        cut: [...document.querySelectorAll(".scroll")].filter((e) => e.scrollWidth > e.clientWidth)
          .map((e) => e.closest("section").id),
        bands: [...document.querySelectorAll(".chart.bands")]
          .map((chart) => [highest(chart, "true: "), highest(chart, "answer: "), highest(chart, "")]),
      });
    }, 20);
  });
  window.addEventListener("error", (e) => { document.body.dataset.error = e.message; });
  window.addEventListener("unhandledrejection", (e) => { document.body.dataset.error = String(e.reason); });
</script>"""


def rendered(page: Path, folder: Path, *, width: int = 1280, probe: str = PROBE) -> dict:
    """What Chromium finds in the page after it went dark, its first chart was pointed at and a video zoomed into."""
    probed = folder / "probed.html"
    probed.write_text(page.read_text("utf-8").replace("</head>", probe + "</head>"), "utf-8")
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        f"--disable-component-update --disable-sync --virtual-time-budget=20000 --window-size={width},2000 --dump-dom"
    )
    profile = f"--user-data-dir={folder / 'chromium'}"
    done = subprocess.run(
        [str(CHROMIUM), *flags.split(), profile, probed.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "data-error" not in done.stdout, re.findall(r'data-error="[^"]*"', done.stdout)
    found = re.search(r'data-probe="([^"]*)"', done.stdout)
    assert found is not None, "the charts were never drawn"
    return json.loads(unescape(found[1]))


@pytest.fixture
def two_runs(make_data, recipe_for):
    """Two evaluated runs on the same videos; the first test video has a file."""
    data = make_data({"train": 8, "val": 4, "test": 4})
    encode(Script("clip", 0, 16.0, 1.0, 8.0, seed=0), data)
    rows = [
        row if row.key != "test/0" else type(row)(**row.__dict__ | {"path": str(data / "clip.mp4")})
        for row in Manifest.read(data / "manifest.jsonl")
    ]
    Manifest(tuple(rows)).write(data / "manifest.jsonl")
    for name in ("vis4mer", "mean-linear"):
        options = {"width": 16, "layers": 2, "state_size": 8} if name == "vis4mer" else {}
        train(recipe_for(data, out=str(data / name), decoder={"name": name, "options": options}, seeds=[0, 1]))
        evaluate(data / name)
    return data


@needs_chromium
def test_the_page_works_in_a_browser_without_a_network(two_runs, tmp_path):
    page = report([two_runs / "vis4mer", two_runs / "mean-linear"], tmp_path / "report.html")
    seen = rendered(page, tmp_path)
    assert seen["far"] == []
    assert (seen["images"], seen["broken"]) == (8, 0)
    assert seen["drawn"] == 2 + 4 * 2 + 2  # the curves, four videos for two runs, and how sure each is
    assert "epoch 1" in seen["tip"]
    assert "vis4mer" in seen["tip"]
    assert seen["inside"]
    assert seen["line"] == "#7fb0ff"  # the dark palette
    html = page.read_text("utf-8")
    assert html.count('<table class="matrix">') == 2


@needs_chromium
def test_whoever_looks_closer_at_one_decoder_sees_the_same_moments_of_the_others_and_of_the_pictures(
    two_runs, tmp_path
):
    page = report([two_runs / "vis4mer", two_runs / "mean-linear"], tmp_path / "report.html")
    seen = rendered(page, tmp_path)
    assert float(seen["zoom"]) == 4.0  # 4 of 16 seconds
    assert seen["ticks"]
    assert {"0:05", "0:06"} <= set(seen["ticks"])
    assert "0:12" not in seen["ticks"]


@needs_chromium
@pytest.mark.parametrize("width", [1280, 500])
def test_nothing_is_wider_than_the_window(two_runs, tmp_path, width):
    page = report([two_runs / "vis4mer", two_runs / "mean-linear"], tmp_path / "report.html")
    assert not rendered(page, tmp_path, width=width)["wide"]


def test_the_page_refers_to_nothing_outside_itself(two_runs, tmp_path):
    page = report([two_runs / "vis4mer"], tmp_path / "report.html")
    html = page.read_text("utf-8")
    assert not re.findall(r'(?:src|href)="(?!data:)[^"]*"', html)
    assert not re.findall(r"https?://|@import|url\(", html)
    assert page.stat().st_size < 2_300_000  # plotly.js is 2.0 MB of it


def test_results_stand_with_their_deviation_baseline_and_coverage(two_runs, tmp_path):
    result = evaluate(two_runs / "vis4mer")
    html = report([two_runs / "vis4mer"], tmp_path / "report.html", title="A <b>title</b>").read_text("utf-8")
    summary = result.metrics["accuracy"]
    assert f"{summary.mean * 100:.1f} ± {(summary.std or 0) * 100:.1f} %" in html
    assert "always &#39;a-then-b&#39;" in html
    assert "all 4 videos" in html
    assert "A &lt;b&gt;title&lt;/b&gt;" in html


def test_random_encoder_weights_are_called_that(two_runs, tmp_path):
    html = report([two_runs / "vis4mer"], tmp_path / "report.html").read_text("utf-8")
    assert "never trained" not in html
    record = read_json(two_runs / "vis4mer" / "run.json")
    record["store_recipe"]["encoder_config"]["weights"] = "random (seed 0)"
    write_json(two_runs / "vis4mer" / "run.json", record)
    html = report([two_runs / "vis4mer"], tmp_path / "report.html").read_text("utf-8")
    assert "<strong>random</strong>, never trained" in html


def test_a_run_that_was_selected_on_test_says_so_beside_its_score(two_runs, tmp_path):
    html = report([two_runs / "vis4mer"], tmp_path / "report.html").read_text("utf-8")
    assert "epoch chosen on test" not in html
    recipe = two_runs / "vis4mer" / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("on_test: false", "on_test: true"))
    html = report([two_runs / "vis4mer", two_runs / "mean-linear"], tmp_path / "report.html").read_text("utf-8")
    assert html.count("epoch chosen on test") == 1


def test_hostile_names_are_only_text(make_data, recipe_for, tmp_path):
    hostile = "<script>alert(1)</script>"
    data = make_data({"train": 8, "val": 4, "test": 4}, label=lambda order: (hostile, "\"&'")[order])
    train(recipe_for(data))
    evaluate(data / "run")
    html = report([data / "run"], tmp_path / "report.html").read_text("utf-8")
    assert hostile not in html
    assert html.count("<script>") == 1
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html


def test_many_classes_are_shown_as_their_confusions(two_runs, tmp_path):
    names = [f"class-{i}" for i in range(40)]
    record, scored = (two_runs / "vis4mer" / "run.json"), (two_runs / "vis4mer" / "evaluation" / "test.json")
    values = read_json(record)
    values["task"] |= {"classes": names, "outputs": 40}
    write_json(record, values)
    values = read_json(scored) | {"per_class": [], "timelines": []}
    values["confusion"] = [[5 if i == j else 3 if j == i + 1 else 0 for j in range(40)] for i in range(40)]
    write_json(scored, values)
    html = report([two_runs / "vis4mer"], tmp_path / "report.html").read_text("utf-8")
    assert '<table class="matrix">' not in html
    assert "<td>class-0</td><td>class-1</td>" in html


@pytest.mark.parametrize(
    ("label", "task"),
    [
        (lambda order: float(order), {"kind": "regression"}),
        (lambda order: [("a", "b")[order], "always"], {}),
        (lambda order: [[0, 8, order], [8, 16, 1 - order]], {"kind": "dense", "classes": ["x", "y"]}),
    ],
    ids=["regression", "multilabel", "dense"],
)
def test_every_kind_of_task_has_a_report(make_data, recipe_for, tmp_path, label, task):
    data = make_data({"train": 8, "val": 4, "test": 4}, label=label)
    train(recipe_for(data, task=task, window={"clips": 8}))
    evaluate(data / "run")
    html = report([data / "run"], tmp_path / "report.html").read_text("utf-8")
    assert html.count(f'class="chart {"bands" if task.get("kind") == "dense" else "low"}"') == 4


def test_an_event_of_three_seconds_is_among_the_pictures(tmp_path):
    video = encode(Script("clip", 0, 60.0, 17.0, 40.0, seed=0), tmp_path)
    pictures = [
        np.array(Image.open(BytesIO(b64decode(uri.split(",")[1]))), int) for uri in thumbnails(str(video), 0.0, 60.0)
    ]
    redness = [(picture[..., 0] - picture[..., 1:].max(axis=-1) > 80).mean() for picture in pictures]
    blueness = [(picture[..., 2] - picture[..., :2].max(axis=-1) > 80).mean() for picture in pictures]
    assert np.argmax(redness) == 2
    assert np.argmax(blueness) == 5
    assert max(redness) > 0.01
    assert max(blueness) > 0.01


def test_a_file_that_is_gone_leaves_a_reason_instead_of_pictures(tmp_path):
    assert thumbnails_or_reason(None, 0.0, 1.0)[1] == "The manifest names no file for this video."
    pictures, reason = thumbnails_or_reason(str(tmp_path / "gone.mp4"), 0.0, 1.0)
    assert pictures == []
    assert reason == "No pictures: the file of this video is not on this machine."


def test_what_has_not_been_evaluated_is_not_reported(make_data, recipe_for, tmp_path):
    data = make_data({"train": 8, "val": 4, "test": 4})
    train(recipe_for(data))
    with pytest.raises(ConfigError, match=r"not evaluated on 'test'; run `longvid evaluate"):
        report([data / "run"], tmp_path / "report.html")
    (data / "run" / "result.json").unlink()
    with pytest.raises(ConfigError, match="training is not finished"):
        report([data / "run"], tmp_path / "report.html")
    with pytest.raises(ConfigError, match="at least one run"):
        report([], tmp_path / "report.html")


def test_runs_of_different_tasks_are_not_compared(two_runs, tmp_path):
    record = read_json(two_runs / "vis4mer" / "run.json")
    record["task"]["name"] = "another"
    write_json(two_runs / "vis4mer" / "run.json", record)
    with pytest.raises(ConfigError, match="different tasks"):
        report([two_runs / "vis4mer", two_runs / "mean-linear"], tmp_path / "report.html")


def test_the_truth_of_a_segmentation_is_drawn_above_the_answer_and_both_above_the_scores():
    seconds = [[float(i), i + 1.0] for i in range(5)]
    scores = [[0.4, 0.3, 0.3]] * 4 + [[0.1, 0.8, 0.1]]
    along = {"kind": "clips", "seconds": seconds, "scores": scores, "total": scores[0]}
    line = VideoTimeline("v", None, [1, 1, None, 0, 1], along)
    task = Task("t", "dense", ("a", "b", "c"), labels_per_second=1.0)
    figure = figure_of(timeline_chart(line, [0, 1], task, 0.0, 5.0, "title"))
    bands = {one["name"]: one for one in figure["data"] if ": " in one["name"]}
    assert [moment[-2:] for moment in bands["true: a"]["x"]] == ["03", "04", "04"]
    truth, answer = bands["true: b"]["y"], bands["answer: b"]["y"]
    assert [value is None for value in truth] == [False] * 4 + [True] + [False] * 2
    assert {*truth} - {None} == {TRUTH_AT * 100}
    assert {*answer} == {ANSWER_AT * 100}
    assert TRUTH_AT > ANSWER_AT > 1
    assert "true: c" not in bands
    assert figure["layout"]["yaxis"]["ticktext"][-2:] == ["answer", "truth"]
    assert figure["data"][0]["x"][-1] == "1970-01-01 00:00:05"  # the last clip's score holds to its end


def test_a_class_of_a_segmentation_without_a_colour_is_grey():
    scores = np.eye(9)[[0, 1, 8]].tolist()
    seconds = [[float(i), i + 1.0] for i in range(3)]
    line = VideoTimeline(
        "v", None, [0, 1, 8], {"kind": "clips", "seconds": seconds, "scores": scores, "total": scores[0]}
    )
    task = Task("t", "dense", tuple("abcdefghi"), labels_per_second=1.0)
    drawn = figure_of(timeline_chart(line, [0, 1], task, 0.0, 3.0, "title"))["data"]
    colours = {one["name"]: one["meta"] for one in drawn}
    assert (colours["true: a"], colours["true: i"], colours["answer: i"]) == (0, OTHERS, OTHERS)


NOISE = re.compile(
    r"<[\w .]*(?:object|method|function|class|module|generator)\b[^>]*>|\bat 0x[0-9a-f]+|\bNone\b|\b[Nn]a[Nn]\b"
    r"|\bTrue\b|\bFalse\b|\bundefined\b|\bUndefined\b|dtype=|\bnp\.|\barray\(|dict_|\{'|\[\('|Summary\("
)
"""What Python writes where a value of the wrong kind is shown."""


class VisibleText(HTMLParser):
    """Every text that a person can read in a page, those of its attributes included; not the recipe, which is YAML."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in ("script", "style", "pre")
        self.texts += [value for name, value in attrs if value and name in ("title", "aria-label", "alt")]

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("script", "style", "pre")

    def handle_data(self, data: str) -> None:
        if not self._hidden and data.strip():
            self.texts.append(data.strip())


def texts_of(page: Path) -> list[str]:
    """The visible texts of a page."""
    reader = VisibleText()
    reader.feed(page.read_text("utf-8"))
    return reader.texts


@pytest.fixture
def dense_runs(make_data, recipe_for):
    """Two evaluated runs of a segmentation into twenty classes with long names, scored by nine metrics."""
    names = [f"take_the_large_bowl_and_{number}" for number in range(20)]
    data = make_data(
        {"train": 8, "val": 4, "test": 4}, label=lambda order: [[0, 8, names[order]], [8, 16, names[5 - order]]]
    )
    metrics = ["mof", "edit", "f1@10", "f1@25", "f1@50", "map@50", "recall@50", "clip_accuracy", "mean_class_accuracy"]
    task = {"kind": "dense", "classes": names, "labels_per_second": 2.0, "metrics": metrics}
    for name in ("mean-linear", "gru"):
        train(recipe_for(data, out=str(data / f"dense-{name}"), decoder={"name": name}, task=task))
        evaluate(data / f"dense-{name}")
    return data


def test_every_text_of_a_page_is_meant_for_a_reader(two_runs, dense_runs, tmp_path):
    for runs in (["vis4mer", "mean-linear"], ["dense-gru", "dense-mean-linear"]):
        page = report([two_runs / name for name in runs], tmp_path / "report.html")
        texts = texts_of(page)
        assert not [text for text in texts if NOISE.search(text)]
    assert "clips" in texts  # the heading that showed a method of Python's
    assert any("The upper band is the truth" in text for text in texts)


@needs_chromium
@pytest.mark.parametrize("width", [1280, 500])
def test_no_table_runs_off_the_page_and_truth_lies_above_the_answer(dense_runs, tmp_path, width):
    page = report([dense_runs / "dense-mean-linear", dense_runs / "dense-gru"], tmp_path / "report.html")
    seen = rendered(page, tmp_path, width=width, probe=DENSE_PROBE)
    assert not seen["wide"]
    if width == 1280:
        assert seen["cut"] == []
    assert len(seen["bands"]) == 8
    for truth, answer, line in seen["bands"]:
        assert truth < answer < line  # pixels from the top


def figure_of(chart: str) -> dict:
    """What a chart carries for plotly.js."""
    found = re.search(r'<script type="application/json">(.*)</script></div>$', chart, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_a_chart_carries_its_numbers_and_says_them_to_a_screen_reader():
    chart = line_chart([Series("a", 0, [0, 10], [0.0, 1.0])], Axis(0, 10), Axis(0, 1, "percent"), title='a "chart"')
    (line,) = figure_of(chart)["data"]
    assert (line["x"], line["y"]) == ([0, 10], [0, 100])
    assert 'role="img" aria-label="a &quot;chart&quot;. a ends at 100.0 %"' in chart


def test_moments_of_a_video_read_as_on_a_clock():
    chart = line_chart([Series("a", 0, [0.5, 9, 7200], [0, 1, 0])], Axis(0, 7200, "seconds"), Axis(0, 1), title="t")
    figure = figure_of(chart)
    assert figure["data"][0]["x"] == ["1970-01-01 00:00:00.500000", "1970-01-01 00:00:09", "1970-01-01 02:00:00"]
    assert figure["layout"]["xaxis"]["type"] == "date"
    assert figure["layout"]["xaxis"]["hoverformat"] == "%-H:%M:%S"


def test_gaps_and_single_points_are_drawn_as_far_as_they_are_known():
    chart = line_chart([Series("a", 0, [1, 2, 3], [None, 0.5, float("nan")])], Axis(1, 3), Axis(0, 1), title="t")
    (line,) = figure_of(chart)["data"]
    assert (line["x"], line["y"], line["mode"]) == ([2], [0.5], "markers")


def test_a_hostile_name_of_a_line_ends_no_script_and_is_no_markup():
    name = "</script><b>x</b>&"
    chart = line_chart([Series(name, 0, [1, 2], [0, 1])], Axis(1, 3), Axis(0, 1), title=name)
    assert chart.count("</script>") == 1
    assert figure_of(chart)["data"][0]["name"] == "&lt;/script&gt;&lt;b&gt;x&lt;/b&gt;&amp;"


def test_an_axis_holds_what_is_drawn_on_it():
    axis = around([3.0, None, 5.0, float("inf")])
    assert axis.low < 3
    assert axis.high > 5
    assert around([2.0], zero=True).low == 0


@pytest.mark.parametrize(("seconds", "shown"), [(7, "0:07"), (750, "12:30"), (3723, "1:02:03")])
def test_times_read_as_on_a_clock(seconds, shown):
    assert clock(float(seconds)) == shown
