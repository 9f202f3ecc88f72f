"""A video file goes through both stages to the answer that evaluation gave for its stored features."""

import json
import re
import shutil

import numpy as np
import pytest
from rounding import rounding
from short_videos import extract_short_videos, train_on_short_videos

from longvid.errors import ConfigError, UnreadableVideo, VideoError
from longvid.files import read_json, write_json
from longvid.pipelines.cli.main import main
from longvid.pipelines.evaluation.evaluate import evaluate
from longvid.pipelines.evaluation.predict import Prediction, predict

ROUNDING = rounding(np.float32, terms=64, layers=4)
"""Rounding of probabilities, which the decoder computes in float32."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with four short videos, their features, and a run trained on them."""
    folder = tmp_path_factory.mktemp("both-stages")
    extract_short_videos(folder)
    train_on_short_videos(folder, "whole")
    train_on_short_videos(folder, "windows", window={"clips": 4, "stride": 2})
    return folder


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
    (tmp_path / "seed-0").symlink_to(trained / "whole" / "seed-0")
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
