"""Results show themselves as tables and strips of time in a notebook, with names as text."""

import re
from pathlib import Path

import numpy as np
import pytest
from short_videos import extract_short_videos, train_on_short_videos

from longvid import probe
from longvid.clips import Sampling
from longvid.clips.sampling import ClipPlan
from longvid.notebook import html_strip
from longvid.pipelines.evaluation.baseline import BaselineResult
from longvid.pipelines.evaluation.evaluate import evaluate
from longvid.pipelines.evaluation.predict import predict
from longvid.pipelines.extraction.report import RunReport, VideoRow
from longvid.pipelines.training.config import TrainConfig
from longvid.pipelines.training.train import train
from longvid.stores import FeatureStore


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shown")
    extract_short_videos(folder)
    train_on_short_videos(folder, "whole")
    return folder


def cells(html: str) -> list[str]:
    return re.findall(r"<t[dh][^>]*>([^<]*)</t[dh]>", html)


def test_a_probe_and_a_plan_show_measured_times(made: Path) -> None:
    found = probe(made / "v1.mp4")
    assert "0:00 to 0:06" in cells(found._repr_html_())
    plan = Sampling(frames=2, fps=4.0, stride_seconds=0.5).plan_video(found)
    shown = plan._repr_html_()
    assert str(len(plan)) in cells(shown)
    assert shown.count("<rect") == len(plan)
    long = ClipPlan(np.zeros((600, 1)), np.tile([0.0, 1.0], (600, 1)))
    assert "<rect" not in long._repr_html_()
    assert "and 595 more" in long._repr_html_()


def test_a_recipe_and_the_counts_of_a_store_are_tables(made: Path) -> None:
    store = FeatureStore.open(made / "features.zarr")
    assert "encoder_config.dim" in cells(store.recipe._repr_html_())
    shown = cells(store.info()._repr_html_())
    assert shown[shown.index("complete videos") + 1] == "4"


def test_a_run_its_scores_and_a_prediction_say_what_files_say(made: Path) -> None:
    config = TrainConfig(
        store=str(made / "features.zarr"),
        manifest=str(made / "manifest.jsonl"),
        out=str(made / "again"),
        decoder={"name": "mean-linear"},
        epochs=1,
        tensorboard=False,
        device="cpu",
    )
    assert "1 of 1" in cells(train(config)._repr_html_())
    scores = evaluate(made / "whole", split="val")
    assert "accuracy" in cells(scores._repr_html_())
    prediction = predict(made / "whole", made / "v3.mp4")
    shown = prediction._repr_html_()
    assert prediction.answer in cells(shown)
    assert shown.count("<rect") == len(prediction.scores)


def test_a_baseline_stands_beside_the_answer_without_video() -> None:
    scores = {"accuracy": 0.5}
    shown = BaselineResult("run", "test", "mean", 0.1, scores, {"accuracy": 0.75}, {"accuracy": 0.25}, 3, 2, 2)
    assert cells(shown._repr_html_())[-4:] == ["accuracy", "50.0 %", "75.0 %", "25.0 %"]


def test_a_report_names_failed_videos_and_their_markup_is_text() -> None:
    report = RunReport()
    report.add(VideoRow("<script>", "x.mp4", "failed", "ends <b>early</b>"))
    shown = report._repr_html_()
    assert "&lt;script&gt;" in shown
    assert "<script>" not in shown
    assert "<b>early" not in shown
    assert repr(report) == "RunReport(failed=1, 0 clips)"


def test_a_strip_covers_its_time_and_keeps_names_as_text() -> None:
    strip = html_strip([(2.0, 4.0, "a"), (4.0, 10.0, "<b>")], ("a", "<b>"))
    spans = re.findall(r"x='([0-9.]+)' width='([0-9.]+)'", strip)
    assert spans == [("0.00", "250.00"), ("250.00", "750.00")]
    assert "<b>" not in strip
    assert html_strip([], ("a",)) == ""
