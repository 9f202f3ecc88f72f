"""Fine-tuning writes weights that extraction reads, goes on where it was cut off, refuses what cannot be learned."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from cores import needs_two_cores
from safetensors.torch import load_file

from longvid.clips.preprocessing import Preprocessing
from longvid.encoders import build_encoder
from longvid.errors import AnnotationError, ConfigError, EncoderError
from longvid.pipelines.learning.config import load_finetuning
from longvid.pipelines.learning.data import ClipsInMemory, LearningData
from longvid.pipelines.learning.finetune import finetune, prepare_finetuning
from longvid.pipelines.learning.motions import CLASSES, DIRECTIONS, motion_clips
from longvid.pipelines.recipes import encoder_recipe_names
from longvid.pipelines.training.ranks import ALONE
from longvid.tasks import Manifest, ManifestRow, Task
from longvid.weights.saved import save_weights


def equal_weights(first, second) -> bool:
    ours, theirs = load_file(first), load_file(second)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_finetuned_weights_are_read_by_name_with_their_digest_and_the_input_they_were_learned_on(recipe):
    result = finetune(recipe("optimiser.average=0.9"))
    encoder = build_encoder("dualformer-nano", weights=result.weights)
    assert encoder.spec.weights_sha256 == result.weights_sha256
    assert (encoder.spec.sampling.frames, encoder.spec.preprocessing.height) == (8, 32)
    assert encoder.config.num_classes == len(CLASSES)
    assert result.clips_per_second > 0
    assert result.peak_memory_bytes > 0


def test_a_finetuning_that_was_cut_off_ends_with_the_weights_of_one_that_was_not(recipe, tmp_path, cut_off):
    # dropout, drop path, mixing and an average: everything that is drawn or carried from step to step
    drawn = ["encoder.drop_path=0.2", "encoder.head_dropout=0.2", "clips.mixing={mixup: 0.4}", "optimiser.average=0.9"]
    whole = finetune(recipe(*drawn, f"out={tmp_path / 'whole'}"))
    with pytest.raises(KeyboardInterrupt):
        finetune(recipe(*drawn), progress=cut_off(0))
    assert equal_weights(finetune(recipe(*drawn)).weights, whole.weights)


@pytest.mark.slow  # a second interpreter that imports torch and Lightning
def test_a_finetuning_goes_on_after_a_kill_to_the_same_bits(recipe, tmp_path):
    whole = finetune(recipe(f"out={tmp_path / 'whole'}", "epochs=4"))
    config = recipe("epochs=4")
    (tmp_path / "recipe.yaml").write_text(config.to_yaml())
    code = "import sys; from longvid.pipelines import finetune, load_finetuning; finetune(load_finetuning(sys.argv[1]))"
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "recipe.yaml")], start_new_session=True)
    resume = tmp_path / "run" / "resume.ckpt"
    while not resume.is_file() and process.poll() is None:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert resume.is_file()
    assert equal_weights(finetune(config).weights, whole.weights)


@needs_two_cores
@pytest.mark.slow  # two processes that import torch and Lightning
def test_two_devices_finetune_what_one_does(recipe, tmp_path):
    one = finetune(recipe(f"out={tmp_path / 'one'}"))
    two = finetune(recipe("devices=2"))
    ours, theirs = load_file(two.weights), load_file(one.weights)
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in ours) < 6 * 2e-3


def test_moving_averages_bfloat16_recomputed_blocks_and_gathered_gradients_go_together(recipe):
    together = [
        "precision=bfloat16",
        "checkpointing=true",
        "optimiser.accumulate=2",
        "optimiser.average=0.9",
        "optimiser.layer_decay=0.75",
        "epochs=1",
    ]
    assert np.isfinite(finetune(recipe(*together)).metrics["accuracy"])


def test_sgd_as_xvits_authors_use_it_trains(recipe):
    sgd = ["optimiser.name=sgd", "optimiser.decay_all=true", "optimiser.clip_norm=null", "epochs=1"]
    assert finetune(recipe(*sgd, name="motion-xvit")).epochs == 1


def test_the_nets_of_a_recipe_learn_in_their_own_input(recipe):
    spec = prepare_finetuning(recipe(name="motion")).make(1, ALONE).encoder.spec
    assert (spec.sampling.frames, spec.preprocessing.height, spec.name) == (8, 32, "video-mobile-former-500m")


@pytest.mark.slow  # two minutes of one core
def test_a_net_with_its_temporal_parts_learns_motions_that_its_image_twin_cannot(tmp_path):
    from longvid.pipelines.bench.finetune import GOAL, NEAR_CHANCE, QUICK, WITH, WITHOUT, outcome_of

    size = replace(QUICK, epochs={"Video Mobile-Former": 6})
    assert 100 * outcome_of("Video Mobile-Former", WITH, 0, size, tmp_path).accuracy >= GOAL
    assert 100 * outcome_of("Video Mobile-Former", WITHOUT, 0, size, tmp_path).accuracy <= NEAR_CHANCE


def test_single_frames_of_made_up_motions_are_drawn_alike_in_every_class():
    frames, labels = motion_clips(len(CLASSES) * 30, seed=0)
    brightest = frames[:, 3].max(axis=-1).reshape(len(frames), -1).argmax(axis=1)
    rows = brightest // frames.shape[2]
    means = [rows[labels == label].mean() for label in range(len(CLASSES))]
    spread = rows.std() / np.sqrt(30)
    assert max(abs(mean - rows.mean()) for mean in means) < 4 * spread
    assert len(DIRECTIONS) == 8


def test_every_recipe_of_an_encoder_is_read_and_names_an_encoder_that_exists():
    from longvid.encoders import ENCODERS

    recipes = {name: load_finetuning(name) for name in encoder_recipe_names()}
    assert {"xvit-k400", "xvit-ssv2", "dualformer-base-k400", "video-mobile-former-1g-32f-k400"} <= recipes.keys()
    assert all(config.encoder.name in ENCODERS for config in recipes.values())
    assert all("ours" in config.note for name, config in recipes.items() if "mobile" in name)
    assert recipes["xvit-k400"].optimiser.name == "sgd"


def test_token_labels_of_a_larger_dualformer_are_learned(recipe, tmp_path):
    from longvid.encoders.learning import classifying, save_encoder

    teacher = classifying("dualformer-nano", classes=len(CLASSES), weights="random")
    save_encoder(teacher.encoder, tmp_path / "teacher.safetensors")
    words = [f"loss.token_labels={tmp_path / 'teacher.safetensors'}", "loss.token_label_encoder=dualformer-nano"]
    result = finetune(recipe(*words, "epochs=1"))
    assert build_encoder("dualformer-nano", weights=result.weights).token_classifier is not None
    with pytest.raises(EncoderError, match=r"xvit-nano: has no token label; leave token_label out"):
        finetune(recipe(*words, f"out={tmp_path / 'other'}", name="motion-xvit"))


# what cannot be learned is one line, before any video is opened


def test_a_checkpoint_of_another_width_is_refused_before_training(recipe, tmp_path):
    wide = build_encoder("dualformer-tiny", weights="random")
    path = save_weights(wide, tmp_path / "wide.safetensors", architecture="dualformer", config=wide.config)
    with pytest.raises(
        EncoderError, match=r"wide\.safetensors: these weights are for a model other than dualformer-nan"
    ):
        finetune(recipe(f"encoder.weights={path}"))
    assert not (tmp_path / "run").exists()


def test_labels_that_do_not_fit_the_head_that_is_kept_are_refused(recipe, tmp_path, motions):
    first = finetune(recipe("epochs=1"))
    fewer = [row for row in Manifest.read(motions) if row.label != CLASSES[0]]
    Manifest(tuple(fewer)).write(tmp_path / "fewer.jsonl")
    words = [f"encoder.weights={first.weights}", f"manifest={tmp_path / 'fewer.jsonl'}", f"out={tmp_path / 'next'}"]
    with pytest.raises(AnnotationError, match=r"head has 16 classes, the labels have 15.*keep_head=false"):
        finetune(recipe(*words))
    assert finetune(recipe(*words, "encoder.keep_head=false", "epochs=1")).epochs == 1


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        (["clips.augmentation={flip: 0.5}"], ConfigError, "flip=0.5: a mirrored clip"),
        (["clips.augmentation={flop: 0.5}"], ConfigError, r"clips\.augmentation: .*flop"),
        (["manifest=nowhere.jsonl", "made_up=0"], AnnotationError, r"nowhere\.jsonl: no such manifest; make one with"),
        (["encoder.name=patch-statistics", "encoder.options={}"], EncoderError, "nothing reads its weights back"),
        (["classes=[up, down]"], AnnotationError, "is not one of|is no|not a class|classes"),
        (["precision=float16"], ConfigError, "precision=float16 needs a CUDA device"),
        (["epoch=3"], ConfigError, "epoch is not a setting; did you mean epochs"),
        (["schedule.name=plateau"], ConfigError, "encoders learn by cosine or constant rates"),
    ],
)
def test_settings_that_cannot_be_trained_are_one_line(recipe, tmp_path, words, error, said):
    with pytest.raises(error, match=said) as raised:
        finetune(recipe(*words))
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


def test_a_folder_with_another_finetuning_is_not_overwritten_unasked(recipe):
    finetune(recipe("epochs=1"))
    with pytest.raises(ConfigError, match=r"holds another run \(optimiser\.learning_rate: 0\.002 != 0\.01\)"):
        finetune(recipe("epochs=1", "optimiser.learning_rate=0.01"))
    assert finetune(recipe("epochs=1", "optimiser.learning_rate=0.01"), overwrite=True).epochs == 1


def test_a_video_that_cannot_be_read_is_named_and_the_others_are_learned(recipe, tmp_path, motions):
    rows = list(Manifest.read(motions))
    (tmp_path / "broken.mkv").write_bytes(b"nothing")
    rows.append(ManifestRow("broken", split="train", label=CLASSES[0], path=str(tmp_path / "broken.mkv")))
    Manifest(tuple(rows)).write(tmp_path / "with-broken.jsonl")
    result = finetune(recipe(f"manifest={tmp_path / 'with-broken.jsonl'}", "epochs=1"))
    assert any("1 videos could not be read and were left out: broken" in note for note in result.notes)


def test_the_command_line_prints_accuracy_speed_memory_and_where_the_weights_are(command, motions):
    words = [f"manifest={motions}", "epochs=1", "workers=0", "out=run", "device=cpu"]
    status, out, _ = command("finetune", "motion-dualformer", *words)
    assert status == 0
    assert "clips per second, peak memory" in out
    assert "weights: run/best.safetensors" in out
    status, out, _ = command("finetune", "--settings", "motion")
    assert "epochs=20, default 30" in out
    status, _, err = command("finetune", "motoin")
    assert status == 2
    assert "there are: motion" in err


def test_clips_in_memory_are_learned_as_files_are():
    data = ClipsInMemory(*motion_clips(16, seed=0))
    found = LearningData(Task("motion", classes=CLASSES), data, data, tuple(map(str, range(16))), Preprocessing(32, 32))
    assert found.train[3]["clip"].shape == (3, 8, 32, 32)
