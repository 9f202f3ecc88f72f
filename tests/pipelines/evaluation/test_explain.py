"""An explanation finds the clips that decide, by both measures, and says so in a page and in JSON."""

import json

import numpy as np
import pytest
import torch
from short_videos import extract_short_videos, train_on_short_videos

from longvid.errors import ConfigError
from longvid.pipelines.evaluation.explain import evidence, explain, top_decile
from longvid.pipelines.evaluation.predict import predict
from longvid.pipelines.training.train import train
from longvid.stores import FeatureStore
from longvid.tasks import Task
from longvid.trained import load_decoder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explained")
    extract_short_videos(folder)
    train_on_short_videos(folder, "whole")
    train_on_short_videos(folder, "windows", window={"clips": 4, "stride": 2})
    train_on_short_videos(folder, "picked", window={"segments": 4})
    return folder


def test_for_a_linear_model_of_the_mean_both_measures_are_known(trained):
    """Its evidence is linear in the mean clip: a clip carries its own product with the weights, over the clips."""
    found = explain(trained / "whole", "v3", width=1, device="cpu")
    products = []
    for seed in found.seeds:
        decoder, _, _ = load_decoder(trained / "whole", seed=seed)
        tokens = torch.from_numpy(np.array(FeatureStore.open(trained / "features.zarr").video("v3"))).float()[:, 0]
        at = found.task.output_names.index(found.output)
        own = []
        for clip in range(len(tokens)):
            other = tokens.clone()
            other[clip] = tokens.mean(dim=0)
            with torch.no_grad():
                logits = decoder(torch.stack([tokens, other]))
            kept, fallen = evidence(logits, found.task, at).tolist()
            own.append(kept - fallen)
        products.append(own)
    np.testing.assert_allclose(found.occlusion, np.mean(products, axis=0), atol=1e-4)
    # the clips' parts sum to what all of the video adds to its mean clip: nothing, for a model of the mean
    assert found.gradient.sum() == pytest.approx(0, abs=1e-3)


def test_the_toy_events_are_where_the_evidence_is(make_data, recipe_for):
    folder = make_data()
    train(recipe_for(folder, epochs=25))
    events = np.isin(np.arange(16), [3, 4, 5, 11, 12, 13])
    shares: dict[str, list[float]] = {"occlusion": [], "gradient": []}
    for index in range(8):
        found = explain(folder / "run", f"test/{index}", width=1, device="cpu")
        for name, share in shares.items():
            size = np.abs(getattr(found, name))
            share.append(size[events].sum() / size.sum())
    # a few noisy videos teach a little about noise too; the slow test on the demo asks for four fifths
    assert np.mean(shares["occlusion"]) >= 0.5
    assert np.mean(shares["gradient"]) > np.mean(events), "more than clips chosen by chance hold"


@pytest.mark.parametrize("name", ["whole", "windows", "picked"])
def test_a_file_and_its_stored_features_have_one_explanation(trained, name):
    stored, own = (explain(trained / name, video, device="cpu") for video in ("v3", trained / "v3.mp4"))
    np.testing.assert_allclose(stored.occlusion, own.occlusion, atol=1e-4)
    np.testing.assert_allclose(stored.seconds, own.seconds)
    assert len(stored.occlusion) == len(stored.gradient) == len(stored.seconds)
    assert stored.path == own.path == str(trained / "v3.mp4")
    prediction = predict(trained / name, trained / "v3.mp4", device="cpu")
    assert (own.output, own.score) == (prediction.answer, pytest.approx(max(prediction.total.values()), abs=1e-4))


def test_another_output_than_the_answer_can_be_asked_for(trained):
    answer = explain(trained / "whole", "v3", device="cpu")
    (other,) = {"a", "b"} - {answer.output}
    found = explain(trained / "whole", "v3", output=other, device="cpu")
    np.testing.assert_allclose(
        found.occlusion, -answer.occlusion, atol=1e-5
    )  # of two classes, one's loss is the other's


def test_the_evidence_for_a_class_is_its_log_odds():
    task = Task("t", "classification", classes=("a", "b", "c"))
    logits = torch.tensor([[1.0, 2.0, 3.0]])
    share = logits.softmax(dim=1)[0, 2]
    assert evidence(logits, task, 2).item() == pytest.approx(float(torch.log(share / (1 - share))), abs=1e-6)


def test_a_decile_has_at_least_one_clip_and_the_highest_values():
    assert top_decile(np.array([0.1, 0.5, 0.2])).tolist() == [1]
    assert top_decile(np.arange(40.0)).tolist() == [36, 37, 38, 39]


@pytest.mark.parametrize(
    ("video", "options", "message"),
    [
        ("nowhere", {}, r"nowhere: neither a file nor a video of .*info --videos"),
        ("v3", {"output": "c"}, "'c' is not an output of task"),
        ("v3", {"width": 0}, "at least one clip"),
    ],
)
def test_what_cannot_be_explained_is_refused(trained, video, options, message):
    with pytest.raises(ConfigError, match=message):
        explain(trained / "whole", video, device="cpu", **options)


def test_the_command_prints_stretches_json_and_a_page(trained, command, tmp_path):
    status, out, err = command("explain", trained / "whole", "v3", "--page", "why.html")
    assert status == 0, err
    assert "the seconds that carried it" in out
    page = (tmp_path / "why.html").read_text()
    assert page.count("data:image/jpeg;base64") == 8
    assert "gradient × input" in page
    status, out, _ = command("explain", trained / "whole", "v3", "--json")
    assert status == 0
    found = json.loads(out)
    assert found["clips"][0].keys() == {"start_seconds", "end_seconds", "occlusion", "gradient"}
