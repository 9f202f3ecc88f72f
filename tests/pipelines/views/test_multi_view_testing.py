"""Multi-view testing: with authors' checkpoints as their code, and from the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from command import command_in_process
from rounding import assert_same_numbers
from torch.nn.functional import interpolate

from longvid.checkpoints import load_official
from longvid.clips.preprocessing import Preprocessing
from longvid.clips.sampling import Sampling
from longvid.encoders.base import EncoderSpec
from longvid.encoders.dualformer import config_from_official
from longvid.encoders.learning import Classifying, classifying, save_encoder
from longvid.encoders.saved import InputRecord
from longvid.errors import AnnotationError, ConfigError, EncoderError, WeightsError
from longvid.pipelines.learning.config import FinetuneConfig, config_of
from longvid.pipelines.views.model import Scorer, open_scorer, run_manifest
from longvid.pipelines.views.run import chosen_views, evaluate_views
from longvid.recognition.views import Views
from longvid.tasks import Manifest, ManifestRow, carve_split
from longvid.video import iter_frames, probe
from longvid.video.writing import write_video

GOLDEN = Path(__file__).parents[2] / "golden"
FRAMES = 70


def pictures(seed, height=40, width=58):
    """A smooth picture that moves, so that every frame and every crop scores differently."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    speed, tint = random.uniform(0.2, 0.6, 3), random.uniform(60, 180, 3)
    for number in range(FRAMES):
        waves = [np.sin(rows / 5 + number * s) * 40 + np.cos(columns / 7 - number * s) * 30 for s in speed]
        yield np.clip(np.stack(waves, axis=-1) + tint, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Four test videos of two classes and one that is no video."""
    folder = tmp_path_factory.mktemp("views")
    rows = []
    for index in range(4):
        size = (40, 58) if index % 2 else (58, 40)
        path = write_video(folder / f"v{index}.mp4", pictures(index, *size), codec_options={"qp": "12"})
        rows.append(ManifestRow(f"v{index}", "test", index % 2, str(path)))
    (folder / "broken.mp4").write_bytes(b"no video" * 100)
    rows.append(ManifestRow("broken", "test", 1, str(folder / "broken.mp4")))
    Manifest(tuple(rows)).write(folder / "clips.jsonl")
    return Manifest.read(folder / "clips.jsonl")


def state_of(path):
    with np.load(path) as held:
        state = {name[6:]: torch.from_numpy(held[name].copy()) for name in held.files if name.startswith("state/")}
        return {name: t.float() if t.is_floating_point() else t for name, t in state.items()}, json.loads(
            str(held["config"])
        )


def official_scorer(name, encoder, frames, classes, mean, std):
    preprocessing = Preprocessing(height=32, width=32, short_side=32, mean=mean, std=std)
    encoder.spec = EncoderSpec(name, Sampling(frames=frames, fps=15), preprocessing)
    return Scorer(Classifying(encoder, classes=classes).eval(), name, ())


def native_frames(path):
    """Every frame of the file at its own size, uint8 (frames, height, width, 3)."""
    video = probe(path)
    return torch.from_numpy(
        np.stack(
            [
                frame.copy()
                for frame in iter_frames(video, video.measured.frame_seconds, height=video.height, width=video.width)
            ]
        )
    )


def as_dualformers_code_tests(path, model, clips, mean, std):
    """mmaction2's SampleFrames, Resize, ThreeCrop, Normalize and average_clip='prob', step by step."""
    frames = native_frames(path)
    total, length, interval = len(frames), 8, 2
    average = (total - length * interval + 1) / float(clips)
    offsets = (np.arange(clips) * average + average / 2.0).astype(int)
    indices = np.mod(offsets[:, None] + np.arange(length) * interval, total)
    height, width = frames.shape[1:3]
    scale = 32 / min(height, width)
    size = (int(height * scale + 0.5), int(width * scale + 0.5))
    small = interpolate(frames.movedim(-1, 1).float(), size, mode="bilinear", align_corners=False).round()
    step = (max(size) - 32) // 2
    logits = []
    for offset in (0, 2 * step, step):
        crop = small[..., offset : offset + 32] if width > height else small[..., offset : offset + 32, :]
        normal = (crop / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
        logits += [model(normal[clip].movedim(1, 0)[None]) for clip in indices]
    return torch.cat(logits).softmax(dim=1).mean(dim=0)


def as_xvits_code_tests(path, model, clips):
    """SlowFast's get_start_end_idx, temporal_sampling, scaling and uniform_crop; the test meter adds up scores."""
    frames = (native_frames(path).float() / 255 - 0.5) / 0.5
    total, span = len(frames), 16 * 4
    height, width = frames.shape[1:3]
    size = (int(np.floor(height / width * 32)), 32) if width < height else (32, int(np.floor(width / height * 32)))
    scores = torch.zeros(12)
    for clip in range(clips):
        start = max(total - span, 0) * clip / clips
        index = torch.linspace(start, start + span - 1, 16).clamp(0, total - 1).long()
        small = interpolate(frames[index].movedim(-1, 1), size, mode="bilinear", align_corners=False)
        for crop in range(3):
            top, left = int(np.ceil((size[0] - 32) / 2)), int(np.ceil((size[1] - 32) / 2))
            if size[0] > size[1]:
                top = (0, top, size[0] - 32)[crop]
            else:
                left = (0, left, size[1] - 32)[crop]
            scores += model(small[..., top : top + 32, left : left + 32].movedim(1, 0)[None])[0]
    return scores


def test_views_with_dualformers_checkpoint_give_the_probabilities_of_its_own_test(manifest):
    state, config = state_of(GOLDEN / "dualformer" / "two_clips.npz")
    model = load_official("dualformer", {"state_dict": state}, config=config_from_official(config))
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    scorer = official_scorer("dualformer-tiny", model, 8, 9, mean, std)
    views = Views(rule="centred", frames=8, step=2, clips=2, crops=3, resize="linear-rounded")
    result = evaluate_views(scorer, manifest, views=views, workers=0, views_at_once=4)
    for row in manifest.rows[:4]:
        with torch.inference_mode():
            expected = as_dualformers_code_tests(row.path, model.classify, 2, mean, std)
        found = dict(result.predictions[row.key])
        assert len(found) == 5
        for name, score in found.items():
            assert_same_numbers(np.float32([score]), np.float32([expected[int(name)]]), size=1, terms=64)
    assert result.lost[0][0] == "broken"
    assert "broken.mp4" in result.lost[0][1]
    assert (result.listed, result.top1.total, result.exit_status) == (5, 4, 3)
    assert result.gflops == pytest.approx(6 * result.gflops_per_view)


def test_views_with_xvits_checkpoint_give_the_added_scores_of_its_own_test(manifest):
    state, _ = state_of(GOLDEN / "xvit" / "xvit_ta_t16_two_segments.npz")
    model = load_official("xvit", state, num_heads=4, aggregator_heads=4, segment_frames=8, shift_div=8)
    scorer = official_scorer("xvit-b16-16f", model, 16, 12, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    views = Views(rule="starts", frames=16, step=4, clips=2, crops=3, join="sum-logits", rounding="up", resize="linear")
    result = evaluate_views(scorer, manifest, views=views, workers=0)
    for row in manifest.rows[:4]:
        with torch.inference_mode():
            expected = as_xvits_code_tests(row.path, model.classify, 2)
        best = expected.sort(descending=True, stable=True).indices[:5].tolist()
        assert [int(name) for name, _ in result.predictions[row.key]] == best
        for name, score in result.predictions[row.key]:
            assert_same_numbers(
                np.float32([score]), np.float32([expected[int(name)]]), size=float(expected.abs().max()), terms=256
            )
    assert [one.protocol for one in result.published][:1] == ["xvit-kinetics-16f"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder as `longvid finetune` leaves it, its weights random."""
    folder = tmp_path_factory.mktemp("run")
    name, options = "video-mobile-former-500m", {"frames": 4, "size": 32}
    model = classifying(name, classes=2, weights="random", options=options)
    save_encoder(
        model.encoder,
        folder / "best.safetensors",
        input_record=InputRecord(4, 32, 8.0),
        extra={"classes": ["left", "right"]},
    )
    config = config_of(FinetuneConfig, {"encoder": {"name": name, "options": options}})
    (folder / "recipe.yaml").write_text(config.to_yaml())
    return folder


def test_a_run_is_tested_over_its_views_from_the_command_line(run, manifest, tmp_path, capsys):
    longvid = command_in_process(capsys)
    asked = ("test-views", run, "--manifest", manifest.name, "--clips", 2, "--crops", 3, "--workers", 0)
    status, out, err = longvid(*asked, "--device", "cpu", "--out", tmp_path / "views.json")
    assert status == 3, err
    assert "2 x 3" in out
    assert "GFLOPs" in out
    assert "not scored: broken: " in err
    kept = json.loads((tmp_path / "views.json").read_text())
    assert kept["top1"]["total"] == 4
    assert kept["classes"].keys() == {"left", "right"}
    assert kept["views"]["join"] == "mean-softmax"
    assert kept["lost"][0][0] == "broken"
    assert len(kept["predictions"]) == 4


def test_the_joined_scores_of_views_do_not_depend_on_workers_or_on_how_many_go_together(run, manifest):
    scorer = open_scorer(run)
    views = Views.of(scorer.model.encoder.spec.sampling, clips=2, crops=3)
    alone = evaluate_views(scorer, manifest, views=views, workers=0, views_at_once=1)
    together = evaluate_views(scorer, manifest, views=views, workers=0, views_at_once=6)
    for key, best in alone.predictions.items():
        for (_, one), (_, other) in zip(sorted(best), sorted(together.predictions[key]), strict=True):
            assert_same_numbers(np.float32([one]), np.float32([other]), size=1, terms=256)


def test_weights_and_labels_that_do_not_fit_views_are_refused_before_a_video_is_opened(run, manifest, tmp_path):
    scorer = open_scorer(run)
    rows = [ManifestRow(name, "test", name, "/no/such.mp4") for name in ("left", "up")]
    with pytest.raises(AnnotationError, match="'up' is not a class of task 'labels'"):
        evaluate_views(scorer, Manifest(tuple(rows)))
    with pytest.raises(AnnotationError, match="no video with a label has the split 'val'"):
        evaluate_views(scorer, manifest, split="val")
    three = [ManifestRow(name, "test", name, "/no/such.mp4") for name in ("a", "b", "c")]
    with pytest.raises(AnnotationError, match="its head has 2 classes, the labels have 3"):
        evaluate_views(Scorer(scorer.model, scorer.name, ()), Manifest(tuple(three)))
    with pytest.raises(ConfigError, match="say which encoder the weights are for"):
        open_scorer(run / "best.safetensors")
    with pytest.raises(ConfigError, match=r"holds no best\.safetensors"):
        open_scorer(tmp_path)
    with pytest.raises(ConfigError, match="no test protocol 'mine'"):
        chosen_views("mine", Views.of(Sampling()))
    assert chosen_views("dualformer-kinetics", Views.of(Sampling()), crops=3)[1] is None
    assert chosen_views("dualformer-kinetics", Views.of(Sampling()), clips=4)[1] == "dualformer-kinetics"
    headless = save_encoder(_without_head(), tmp_path / "headless.safetensors")
    with pytest.raises(WeightsError, match="holds no classifier"):
        open_scorer(headless, "dualformer-tiny")


def test_views_of_a_run_are_of_its_own_videos_unless_they_are_named(run, manifest, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"its manifest clips\.jsonl is not there; give --manifest"):
        run_manifest(run)
    with pytest.raises(ConfigError, match=r"a weights file does not know its videos; give --manifest"):
        run_manifest(run / "best.safetensors")
    rows = [ManifestRow(f"v{i}", "train", i % 2, str(tmp_path / f"v{i}.mp4")) for i in range(20)]
    Manifest(tuple(rows)).write(tmp_path / "clips.jsonl")
    monkeypatch.chdir(tmp_path)
    found = run_manifest(run)
    assert found.split("val") == set_aside(tmp_path / "clips.jsonl")


def set_aside(path):
    """What `longvid finetune` sets aside for validation by its default settings."""
    kept = FinetuneConfig().validation
    return carve_split(Manifest.read(path), fraction=kept.fraction, seed=kept.seed).split("val")


def test_a_run_whose_recipe_names_code_is_not_imported_to_test_its_views(run, tmp_path):
    (tmp_path / "best.safetensors").write_bytes((run / "best.safetensors").read_bytes())
    recipe = (run / "recipe.yaml").read_text().replace("video-mobile-former-500m", "os:getcwd")
    (tmp_path / "recipe.yaml").write_text(recipe)
    with pytest.raises(EncoderError, match="names the encoder 'os:getcwd', which is code"):
        open_scorer(tmp_path)


def _without_head():
    from longvid.encoders.registry import build_encoder

    return build_encoder("dualformer-tiny", weights="random")
