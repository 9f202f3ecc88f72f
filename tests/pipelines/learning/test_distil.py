"""Distillation learns a store's features without the teacher, and refuses videos that are not where the store says."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from longvid.encoders import build_encoder
from longvid.encoders.student import at_steps, in_teachers_space, match_loss, similarity_loss
from longvid.errors import ConfigError
from longvid.pipelines.extraction import ExtractionJob, VideoRequest, extract
from longvid.pipelines.learning.config import load_distillation
from longvid.pipelines.learning.distil import distil, prepare_distillation
from longvid.pipelines.training.ranks import ALONE
from longvid.stores import FeatureStore
from longvid.tasks import Manifest, ManifestRow

STUDENT = "dualformer-nano"


@pytest.fixture
def settings(tmp_path, teacher_store):
    """The smallest distillation: `settings(store, "epochs=3")`."""

    def make(*words: str):
        given = ["epochs=2", "device=cpu", "batch_size=4", f"out={tmp_path / 'student'}", "validation.fraction=0.3"]
        return load_distillation(STUDENT, [*given, "optimiser.average=0.5", *words, *videos(words)])

    def videos(words):
        return [] if any(word.startswith("videos=") for word in words) else [f"videos={teacher_store.videos}"]

    return make


def test_a_student_comes_closer_to_its_teacher_and_is_read_by_name(settings, teacher_store):
    result = distil(settings(f"store={teacher_store()}", "epochs=8", "optimiser.learning_rate=3e-3"))
    with Path(result.out, "history.csv").open() as file:
        losses = [float(row["train_loss"]) for row in csv.DictReader(file)]
    assert losses[-1] < 0.8 * losses[0]
    encoder = build_encoder(STUDENT, weights=result.weights)
    assert encoder.spec.weights_sha256 == result.weights_sha256
    assert encoder.spec.default_pooling == "spatial"
    # its frames are spread over the seconds of a stored clip, in extraction as in training
    seconds = FeatureStore.open(teacher_store()).video("video-0").seconds
    sampling = encoder.spec.sampling
    assert sampling.frames / sampling.fps == pytest.approx(float(seconds[0, 1] - seconds[0, 0]), rel=1e-3)
    assert sampling.fps != build_encoder(STUDENT, weights="random").spec.sampling.fps


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_with_its_projector_a_student_gives_vectors_of_the_teachers_width_and_says_so(settings, teacher_store):
    store = teacher_store()
    result = distil(settings(f"store={store}", "projector=kept"))
    encoder = build_encoder(STUDENT, weights=result.weights)
    recipe = FeatureStore.open(store).recipe
    assert encoder.spec.weights_sha256 == result.weights_sha256
    assert encoder.spec.config["projector"] == {"teacher": "patch-statistics", "pooling": "spatial", "dim": recipe.dim}
    job = ExtractionJob(STUDENT, weights=result.weights, pooling="mean", torch_threads=1)
    extract([VideoRequest("v", str(teacher_store.videos / "video-0.mp4"))], job, "student.zarr")
    assert FeatureStore.open("student.zarr").recipe.dim == recipe.dim


def test_a_distillation_that_was_cut_off_ends_with_the_weights_of_one_that_was_not(settings, teacher_store, cut_off):
    store = f"store={teacher_store()}"
    whole = distil(settings(store, "out=whole"))
    with pytest.raises(KeyboardInterrupt):
        distil(settings(store), progress=cut_off(0))
    ours, theirs = load_file(distil(settings(store)).weights), load_file(whole.weights)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_two_teachers_are_learned_at_once_by_a_projector_each(settings, teacher_store):
    stores = f"store=[{teacher_store()},{teacher_store('b', pooling='mean')}]"
    words = ["match.loss=smooth-l1", "match.similarity=0.5", "epochs=1", "frames_kept=disk"]
    config = settings(stores, *words)
    module = prepare_distillation(config).make(1, ALONE)
    assert [projector.out_features for projector in module.model.projectors] == [16, 16]
    assert module.teachers.steps == [2, 0]
    result = distil(config)
    assert result.train + result.val == 6
    assert len(list(Path(config.out, "frames").iterdir())) == 6


def test_the_student_sees_the_seconds_of_the_stored_clip_whatever_its_number_of_frames():
    from longvid.pipelines.learning.teachers import clip_plan

    plan = clip_plan(np.array([[1.0, 3.0], [2.0, 4.0]]), 4)
    assert plan.frame_seconds.tolist() == [[1.0, 1.5, 2.0, 2.5], [2.0, 2.5, 3.0, 3.5]]


def test_a_store_whose_videos_moved_is_one_line_before_anything_is_decoded(settings, tmp_path, make_video):
    path = make_video(tmp_path / "a.mp4")
    other = make_video(tmp_path / "b.mp4", colours=[(9, 9, 200)])
    job = ExtractionJob("patch-statistics", encoder_options={"dim": 16, "frames": 2, "size": 32}, torch_threads=1)
    extract([VideoRequest("a", str(path)), VideoRequest("b", str(other))], job, tmp_path / "s.zarr")
    Manifest((ManifestRow("a", "train", path=str(path)), ManifestRow("b", "train", path=str(other)))).write("m.jsonl")
    config = settings(f"store={tmp_path / 's.zarr'}").model_copy(update={"videos": [], "manifest": "m.jsonl"})
    path.rename(tmp_path / "moved.mp4")
    with pytest.raises(ConfigError, match=r"its video 'a' is not at .*a\.mp4; move it back, or give its") as raised:
        distil(config)
    assert "\n" not in str(raised.value)
    path.write_bytes(other.read_bytes())
    with pytest.raises(ConfigError, match=r"a\.mp4 is not the file that video 'a' was made from; give the file"):
        distil(config)
    with pytest.raises(ConfigError, match=r"videos=gone: no such file or folder; give the place of the videos that"):
        distil(settings(f"store={tmp_path / 's.zarr'}", "videos=gone"))
    assert not (tmp_path / "student").exists()


def test_a_distillation_without_a_store_or_without_videos_says_what_to_give():
    with pytest.raises(ConfigError, match=r"no store of a teacher is given; add `store=teacher\.zarr`"):
        load_distillation(STUDENT, [])
    with pytest.raises(ConfigError, match=r"does not say where its videos are; give videos=FOLDER or manifest="):
        load_distillation(STUDENT, ["store=x.zarr"])


def test_a_projector_in_the_teachers_space_undoes_the_standardisation():
    linear = torch.nn.Linear(3, 2)
    mean, deviation = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 4.0])
    vectors = torch.randn(5, 3)
    wanted = 2.0 * linear(vectors) * deviation + mean
    torch.testing.assert_close(in_teachers_space(linear, mean, deviation, 2.0)(vectors), wanted)


def test_the_losses_of_a_distillation_are_lowest_for_the_teachers_own_vectors():
    targets = torch.randn(6, 8)
    other = torch.randn(6, 8)
    for loss in ("cosine", "smooth-l1"):
        assert float(match_loss(targets, targets, loss).max()) < 1e-6
        assert float(match_loss(other, targets, loss).min()) > 0
    own = similarity_loss(targets, targets, temperature=0.1)
    assert own < similarity_loss(other, targets, temperature=0.1)


def test_time_steps_are_averaged_or_interpolated_over_the_same_seconds():
    frames = torch.arange(4.0).view(1, 4, 1)
    assert at_steps(frames, 2).flatten().tolist() == [0.5, 2.5]
    assert at_steps(frames, 4) is frames
    assert at_steps(frames, 8).flatten().tolist()[3:5] == [1.25, 1.75]
