"""The report holds everything it shows, shows it in a real browser, and says what it rests on."""

import re
import shutil
import subprocess
from base64 import b64decode
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from longvid.datasets import Manifest
from longvid.errors import ConfigError
from pipelines.demo.videos import Script, encode
from pipelines.evaluate import evaluate
from pipelines.report import write_report
from pipelines.report.charts import Axis, Series, around, clock, line_chart
from pipelines.report.thumbnails import thumbnails, thumbnails_or_reason
from pipelines.train import train
from pipelines.training.run_folder import read_json, write_json

CHROMIUM = next(
    (p for name in ("chromium", "chromium-browser", "google-chrome", "chrome") if (p := shutil.which(name))), None
)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (apt install chromium)")

PROBE = """<script>
  window.addEventListener("load", () => {
    const chart = document.querySelector(".chart"), box = chart.getBoundingClientRect();
    chart.dispatchEvent(new PointerEvent("pointermove", {clientX: box.left + box.width / 2, clientY: box.top + 5}));
    document.getElementById("theme").click();
    const far = performance.getEntriesByType("resource").map((r) => r.name).filter((n) => !n.startsWith("data:"));
    const wide = document.documentElement.scrollWidth > window.innerWidth;
    const broken = [...document.images].filter((i) => !i.naturalWidth).length;
    document.body.dataset.probe = JSON.stringify({far, wide, broken, images: document.images.length});
  });
  window.addEventListener("error", (e) => { document.body.dataset.error = e.message; });
</script>"""


def rendered(page: Path, folder: Path, *, width: int = 1280) -> str:
    """The DOM that Chromium makes of the page, after a pointer moved over its first chart."""
    probed = folder / "probed.html"
    probed.write_text(page.read_text("utf-8").replace("</head>", PROBE + "</head>"), "utf-8")
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        f"--disable-component-update --disable-sync --virtual-time-budget=3000 --window-size={width},2000 --dump-dom"
    )
    profile = f"--user-data-dir={folder / 'chromium'}"
    done = subprocess.run(
        [str(CHROMIUM), *flags.split(), profile, probed.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


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
    page = write_report([two_runs / "vis4mer", two_runs / "mean-linear"], tmp_path / "report.html")
    dom = rendered(page, tmp_path)
    assert "data-error" not in dom
    assert '"far":[]' in dom.replace("&quot;", '"')
    assert '"broken":0,"images":8' in dom.replace("&quot;", '"')
    assert 'data-theme="dark"' in dom
    tip = re.search(r'<div class="chart normal on".*?<div class="tip"[^>]*>(.*?)</div></div></div>', dom, re.DOTALL)
    assert tip is not None
    assert "epoch" in tip[1]
    assert "vis4mer" in tip[1]
    assert dom.count('class="chart low') == 8
    assert dom.count('<table class="matrix">') == 2


@needs_chromium
@pytest.mark.parametrize("width", [1280, 500])
def test_nothing_is_wider_than_the_window(two_runs, tmp_path, width):
    page = write_report([two_runs / "vis4mer", two_runs / "mean-linear"], tmp_path / "report.html")
    assert '"wide":false' in rendered(page, tmp_path, width=width).replace("&quot;", '"')


def test_the_page_refers_to_nothing_outside_itself(two_runs, tmp_path):
    page = write_report([two_runs / "vis4mer"], tmp_path / "report.html")
    html = page.read_text("utf-8")
    assert not re.findall(r'(?:src|href)="(?!data:)[^"]*"', html)
    assert not re.findall(r"https?://|@import|url\(", html)
    assert page.stat().st_size < 1_000_000


def test_results_stand_with_their_deviation_baseline_and_coverage(two_runs, tmp_path):
    result = evaluate(two_runs / "vis4mer")
    html = write_report([two_runs / "vis4mer"], tmp_path / "report.html", title="A <b>title</b>").read_text("utf-8")
    summary = result.metrics["accuracy"]
    assert f"{summary.mean * 100:.1f} ± {(summary.std or 0) * 100:.1f} %" in html
    assert "always &#39;a-then-b&#39;" in html
    assert "all 4 videos" in html
    assert "A &lt;b&gt;title&lt;/b&gt;" in html


def test_random_encoder_weights_are_called_that(two_runs, tmp_path):
    html = write_report([two_runs / "vis4mer"], tmp_path / "report.html").read_text("utf-8")
    assert "never trained" not in html
    record = read_json(two_runs / "vis4mer" / "run.json")
    record["store_recipe"]["encoder_config"]["weights"] = "random (seed 0)"
    write_json(two_runs / "vis4mer" / "run.json", record)
    html = write_report([two_runs / "vis4mer"], tmp_path / "report.html").read_text("utf-8")
    assert "<strong>random</strong>, never trained" in html


def test_a_run_that_was_selected_on_test_says_so_beside_its_score(two_runs, tmp_path):
    html = write_report([two_runs / "vis4mer"], tmp_path / "report.html").read_text("utf-8")
    assert "epoch chosen on test" not in html
    recipe = two_runs / "vis4mer" / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("on_test: false", "on_test: true"))
    html = write_report([two_runs / "vis4mer", two_runs / "mean-linear"], tmp_path / "report.html").read_text("utf-8")
    assert html.count("epoch chosen on test") == 1


def test_hostile_names_are_only_text(make_data, recipe_for, tmp_path):
    hostile = "<script>alert(1)</script>"
    data = make_data({"train": 8, "val": 4, "test": 4}, label=lambda order: (hostile, "\"&'")[order])
    train(recipe_for(data))
    evaluate(data / "run")
    html = write_report([data / "run"], tmp_path / "report.html").read_text("utf-8")
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
    html = write_report([two_runs / "vis4mer"], tmp_path / "report.html").read_text("utf-8")
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
    html = write_report([data / "run"], tmp_path / "report.html").read_text("utf-8")
    assert html.count('class="chart low"') == 4


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
    assert "gone.mp4" in reason


def test_what_has_not_been_evaluated_is_not_reported(make_data, recipe_for, tmp_path):
    data = make_data({"train": 8, "val": 4, "test": 4})
    train(recipe_for(data))
    with pytest.raises(ConfigError, match=r"not evaluated on 'test'; run `longvid evaluate"):
        write_report([data / "run"], tmp_path / "report.html")
    (data / "run" / "result.json").unlink()
    with pytest.raises(ConfigError, match="training is not finished"):
        write_report([data / "run"], tmp_path / "report.html")
    with pytest.raises(ConfigError, match="at least one run"):
        write_report([], tmp_path / "report.html")


def test_runs_of_different_tasks_are_not_compared(two_runs, tmp_path):
    record = read_json(two_runs / "vis4mer" / "run.json")
    record["task"]["name"] = "another"
    write_json(two_runs / "vis4mer" / "run.json", record)
    with pytest.raises(ConfigError, match="different tasks"):
        write_report([two_runs / "vis4mer", two_runs / "mean-linear"], tmp_path / "report.html")


def test_a_chart_places_its_points_and_labels():
    chart = line_chart([Series("a", 0, [0, 10], [0.0, 1.0])], Axis(0, 10), Axis(0, 1, "percent"), title='a "chart"')
    assert 'points="0.0,1000 1000.0,0"' in chart
    assert '<span class="y" style="top:0.00%">100 %</span>' in chart
    assert "a &quot;chart&quot;" in chart


def test_gaps_and_single_points_are_drawn_as_far_as_they_are_known():
    chart = line_chart([Series("a", 0, [1, 2, 3], [None, 0.5, float("nan")])], Axis(1, 3), Axis(0, 1), title="t")
    assert 'points="496,500 504,500"' in chart


@pytest.mark.parametrize(
    ("low", "high", "unit"), [(0, 1, "percent"), (0.2, 0.21, "number"), (1, 60, "epoch"), (0, 7200, "seconds")]
)
def test_ticks_are_few_and_lie_on_the_axis(low, high, unit):
    ticks = Axis(low, high, unit).ticks()
    assert 2 <= len(ticks) <= 9
    assert all(low <= tick <= high + 1e-9 for tick in ticks)


def test_an_axis_holds_what_is_drawn_on_it():
    axis = around([3.0, None, 5.0, float("inf")])
    assert axis.low < 3
    assert axis.high > 5
    assert around([2.0], zero=True).low == 0


@pytest.mark.parametrize(("seconds", "shown"), [(7, "0:07"), (750, "12:30"), (3723, "1:02:03")])
def test_times_read_as_on_a_clock(seconds, shown):
    assert clock(float(seconds)) == shown
