"""A video file goes through both stages to the answer that evaluation gave for its stored features."""

import csv
import json
import re
import shutil
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from rounding import rounding
from short_videos import extract_short_videos, train_on_short_videos

from longvid.errors import ConfigError, UnreadableVideo, VideoError
from longvid.files import read_json, write_json
from longvid.pipelines.cli.answers import print_prediction
from longvid.pipelines.cli.main import main
from longvid.pipelines.evaluation.evaluate import evaluate
from longvid.pipelines.evaluation.predict import Prediction, predict
from longvid.tasks import Manifest

ROUNDING = rounding(np.float32, terms=64, layers=4)
"""Rounding of probabilities, which the decoder computes in float32."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with four short videos, their features, and a run trained on them."""
    folder = tmp_path_factory.mktemp("both-stages")
    extract_short_videos(folder)
    train_on_short_videos(folder, "whole")
    train_on_short_videos(folder, "windows", window={"clips": 4, "stride": 2})
    train_on_short_videos(folder, "segmented", manifest=str(segments_of(folder)), epochs=20, task=SEGMENTED)
    return folder


def test_a_video_at_a_url_gets_the_scores_of_the_local_file_and_no_answer_tells_its_signature(
    trained, file_server, capsys
):
    shutil.copy(trained / "v3.mp4", file_server.folder)
    file_server.signature = "X-Amz-Signature=0123456789"
    url = f"{file_server.url}/v3.mp4"
    signed = f"{url}?{file_server.signature}"
    local, there = (predict(trained / "whole", video, device="cpu") for video in (trained / "v3.mp4", signed))
    assert (there.video, there.answer) == (url, local.answer)
    assert there.total == pytest.approx(local.total, abs=ROUNDING)
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(trained / "whole"), signed, "--json"])
    assert ended.value.code == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["video"] == url
    assert "0123456789" not in told.out + told.err


SEGMENTED = {"kind": "dense", "classes": ["red", "other"], "labels_per_second": 10.0}


def segments_of(folder):
    """A manifest whose labels are the first three seconds and the rest of each video."""
    rows = Manifest.read(folder / "manifest.jsonl")
    ends = {row.key: 5.0 + index for index, row in enumerate(rows)}
    segmented = [replace(row, label=[[0, 3, "red"], [3, ends[row.key], "other"]]) for row in rows]
    Manifest(tuple(segmented)).write(folder / "segments.jsonl")
    return folder / "segments.jsonl"


@pytest.mark.parametrize("name", ["whole", "windows"])
def test_a_file_gets_the_scores_that_evaluation_gave_its_features(trained, name):
    evaluate(trained / name, predictions="jsonl")
    lines = (trained / name / "evaluation" / "test-predictions.jsonl").read_text().splitlines()
    expected = np.mean([json.loads(line)["score a"] for line in lines])
    prediction = predict(trained / name, trained / "v3.mp4", device="cpu")
    assert prediction.total["a"] == pytest.approx(expected, abs=ROUNDING)
    assert prediction.answer == max(prediction.total, key=lambda name: prediction.total[name])
    assert prediction.seeds == (0, 1)


def test_scores_lie_along_the_seconds_of_the_video(trained):
    windows: Prediction = predict(trained / "windows", trained / "v3.mp4", device="cpu")
    assert windows.kind == "windows"
    assert windows.seconds[0].tolist() == [0, 2]
    assert windows.seconds[-1][1] == pytest.approx(8.0, abs=0.2)
    np.testing.assert_allclose(windows.scores.sum(axis=1), 1)
    whole = predict(trained / "whole", trained / "v3.mp4", device="cpu")
    assert whole.kind == "so far"
    assert (np.diff(whole.seconds[:, 1]) > 0).all()
    written = json.loads(json.dumps(whole.to_dict()))
    assert written["timeline"][-1]["scores"] == pytest.approx(written["scores"], abs=ROUNDING)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("weights_sha256", "f" * 64, r"weights_sha256.*give the weights that the features were made with"),
        ("pooling", "spatial", r"num_tokens.*give the encoder and its options"),
    ],
)
def test_another_encoder_than_that_of_the_features_is_refused(trained, tmp_path, field, value, message):
    record = read_json(trained / "whole" / "run.json")
    record["store_recipe"][field] = value
    for name in ("recipe.yaml", "manifest.jsonl"):
        (tmp_path / name).write_bytes((trained / "whole" / name).read_bytes())
    write_json(tmp_path / "run.json", record)
    shutil.copytree(trained / "whole" / "seed-0", tmp_path / "seed-0")
    with pytest.raises(ConfigError, match=message) as caught:
        predict(tmp_path, trained / "v3.mp4", device="cpu")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_video_is_named(trained, tmp_path):
    (tmp_path / "noise.mp4").write_bytes(b"not a video" * 100)
    with pytest.raises(VideoError, match=r"noise\.mp4"):
        predict(trained / "whole", tmp_path / "noise.mp4", device="cpu")
    with pytest.raises(UnreadableVideo, match=r"nowhere\.mp4"):
        predict(trained / "whole", tmp_path / "nowhere.mp4", device="cpu")


def test_a_run_without_a_trained_seed_predicts_nothing(trained, tmp_path):
    for name in ("recipe.yaml", "manifest.jsonl", "run.json"):
        (tmp_path / name).write_bytes((trained / "whole" / name).read_bytes())
    with pytest.raises(ConfigError, match="no seed is trained to the end"):
        predict(tmp_path, trained / "v3.mp4")


def test_a_prediction_says_which_seeds_have_no_part_in_it(trained, tmp_path, capsys):
    run = shutil.copytree(trained / "whole", tmp_path / "run")
    (run / "seed-1" / "result.json").unlink()
    prediction = predict(run, trained / "v3.mp4", device="cpu")
    assert (prediction.seeds, prediction.untrained_seeds) == ((0,), (1,))
    assert prediction.to_dict()["untrained_seeds"] == [1]
    with pytest.raises(SystemExit):
        main(["predict", str(run), str(trained / "v3.mp4")])
    assert "note: 1 of 2 seeds not trained to the end, and not counted: 1;" in capsys.readouterr().out


def test_moments_closer_than_a_second_are_told_apart_in_the_terminal(trained, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["predict", str(trained / "windows"), str(trained / "v1.mp4")])
    assert stopped.value.code == 0
    times = re.findall(r"^([0-9.]+ - [0-9.]+) s", capsys.readouterr().out, flags=re.MULTILINE)
    assert len(times) > 1
    assert len(set(times)) == len(times)


def test_a_segmentation_is_answered_by_segments_that_cover_the_video(trained):
    prediction = predict(trained / "segmented", trained / "v3.mp4", device="cpu")
    segments = prediction.segments
    assert prediction.answer == [segment.label for segment in segments]
    assert segments[0].start_seconds == 0
    assert segments[-1].end_seconds == prediction.seconds[-1][1]
    for one, other in pairwise(segments):
        assert one.end_seconds == other.start_seconds
        assert one.label != other.label
    for one in segments:
        inside = (prediction.seconds.mean(axis=1) > one.start_seconds) & (
            prediction.seconds.mean(axis=1) < one.end_seconds
        )
        column = prediction.outputs.index(one.label)
        assert one.confidence == pytest.approx(prediction.scores[inside, column].mean())
    written = prediction.to_dict()
    assert written["answer"] == [segment["label"] for segment in written["segments"]]
    assert set(written["segments"][0]) == {"label", "start_seconds", "end_seconds", "confidence"}


def test_the_terminal_shows_the_segments_of_a_segmentation_in_percent(trained, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["predict", str(trained / "segmented"), str(trained / "v3.mp4")])
    assert stopped.value.code == 0
    out = capsys.readouterr().out
    rows = re.findall(r"^([0-9.]+) - ([0-9.]+) s +(red|other) +([0-9.]+) %$", out, flags=re.MULTILINE)
    segments = predict(trained / "segmented", trained / "v3.mp4", device="cpu").segments
    assert [(label, f"{float(confidence):.1f}") for *_, label, confidence in rows] == [
        (one.label, f"{100 * one.confidence:.1f}") for one in segments
    ]
    assert f"v3.mp4: {len(segments)} segment" in out


def test_a_prediction_is_written_as_its_file_is_named(trained, tmp_path):
    for suffix in (".txt", ".csv", ".json"):
        prediction = predict(trained / "segmented", trained / "v3.mp4", device="cpu", out=tmp_path / f"p{suffix}")
    header, labels = (tmp_path / "p.txt").read_text().split("\n")
    assert header.startswith("###")
    assert len(labels.split()) == round(prediction.seconds[-1][1] * 10)
    for one in prediction.segments:
        middle = int((one.start_seconds + one.end_seconds) / 2 * 10)
        assert labels.split()[middle] == one.label
    rows = list(csv.DictReader((tmp_path / "p.csv").read_text().splitlines()))
    assert [float(row["end_seconds"]) for row in rows] == pytest.approx(prediction.seconds[:, 1], abs=1e-6)
    assert read_json(tmp_path / "p.json") == json.loads(json.dumps(prediction.to_dict()))
    with pytest.raises(ConfigError, match=r"p\.txt: frame labels are for dense tasks"):
        predict(trained / "whole", trained / "v3.mp4", out=tmp_path / "p.txt")
    with pytest.raises(ConfigError, match=r"p\.html: the name of a prediction's file ends in \.csv"):
        predict(trained / "whole", trained / "v3.mp4", out=tmp_path / "p.html")


def test_what_does_not_fit_the_terminal_is_left_out_and_said(trained, capsys):
    few = predict(trained / "whole", trained / "v3.mp4", device="cpu")
    names = tuple(f"action {number}" for number in range(48))
    scores = np.random.default_rng(0).dirichlet(np.ones(48), 100)
    seconds = np.stack([np.arange(100.0), np.arange(1, 101.0)], axis=1)
    total = dict(zip(names, scores[-1].tolist(), strict=True))
    task = replace(few.task, classes=names, outputs=48)
    print_prediction(replace(few, task=task, scores=scores, seconds=seconds, total=total, answer=names[0]))
    out = capsys.readouterr().out
    rows = out.partition("shown:")[0].splitlines()
    assert len(rows) == 1 + 34
    assert max(map(len, rows)) <= 80
    assert "shown: one row in 3 of 100 and the 6 of 48 classes that score highest in the whole video;" in " ".join(
        out.split()
    )
    best = max(total, key=lambda name: total[name])
    assert f"({best} {100 * total[best]:.1f} %, " in " ".join(out.split())
