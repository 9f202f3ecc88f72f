"""What messages of encoders, their weights, fine-tuning, distilling, views and schedulers say to do helps."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from walks import Walk

from longvid.pipelines.learning.config import load_finetuning
from longvid.pipelines.learning.finetune import finetune

NANO = "video-mobile-former-nano"
EXTRACT = "extract v0.mp4 --scheduler inline -o new.zarr"
STATISTICS = f"{EXTRACT} --encoder patch-statistics"
FINETUNE = f"finetune manifest=manifest.jsonl encoder.name={NANO} epochs=1 batch_size=2 device=cpu tensorboard=false"
DISTIL = f"distil {NANO} store=features.zarr device=cpu tensorboard=false epochs=1 batch_size=2 out=dis"


def moved(name: str, target: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).rename(folder / target)


def foreign(folder: Path) -> None:
    """Weights of no encoder."""
    save_file({"a": torch.zeros(3)}, folder / "foreign.safetensors")


def others(folder: Path) -> None:
    """A folder with a video that the store does not hold."""
    (folder / "others").mkdir()
    shutil.copyfile(folder / "v0.mp4", folder / "others/w0.mp4")


def module(folder: Path) -> None:
    """An encoder of the user's own."""
    (folder / "mine.py").write_text(
        "from longvid.encoders import build_encoder\n\ndef build():\n    return build_encoder('patch-statistics')\n"
    )


ENCODERS = {
    "no such encoder": Walk(
        f"{EXTRACT} --encoder patch-statistic",
        "did you mean patch-statistics?",
        f"{EXTRACT} --encoder patch-statistics",
    ),
    "a pooling that the encoder does not have": Walk(
        f"{STATISTICS} --pooling class",
        "pooling='class' is not one of its tokens, spatial, temporal, mean",
        f"{STATISTICS} --pooling spatial",
    ),
    "an option that the encoder does not have": Walk(
        f"{STATISTICS} --option nope=1", "its options: dim, frames, patch, size", f"{STATISTICS} --option frames=2"
    ),
    "a size that is not whole patches": Walk(
        f"{STATISTICS} --option size=30", "must be a multiple of patch=16", f"{STATISTICS} --option size=32"
    ),
    "a size that windows do not divide": Walk(
        f"{EXTRACT} --encoder dualformer-nano --option size=20",
        "nearest height that works: 32",
        f"{EXTRACT} --encoder dualformer-nano --option size=32",
    ),
    "frames that are not whole segments": Walk(
        f"{EXTRACT} --encoder xvit-nano --option frames=7",
        "takes multiples of segment_frames=8, such as 8",
        f"{EXTRACT} --encoder xvit-nano --option frames=8",
    ),
    "weights for an encoder that has none": Walk(
        f"{STATISTICS} --weights foreign.safetensors", "leave --weights out", STATISTICS, first=foreign
    ),
    "weights that are of no encoder": Walk(
        f"{EXTRACT} --encoder {NANO} --weights foreign.safetensors",
        "give the file of such an encoder",
        f"{EXTRACT} --encoder {NANO} --weights fine/best.safetensors",
        first=foreign,
    ),
    "weights of another encoder": Walk(
        f"{EXTRACT} --encoder xvit-nano --weights fine/best.safetensors",
        "or name the encoder that they are for",
        f"{EXTRACT} --encoder {NANO} --weights fine/best.safetensors",
    ),
    "a folder that holds no weights": Walk(
        f"{EXTRACT} --encoder {NANO} --weights features.zarr",
        "no such file of weights",
        f"{EXTRACT} --encoder {NANO} --weights fine/best.safetensors",
    ),
    "a module that is not there": Walk(
        f"{EXTRACT} --encoder mine:build", "put its folder on PYTHONPATH", first=moved("v1.mp4", "v9.mp4"), do=module
    ),
}
LEARNING = {
    "no settings": Walk("finetune", "longvid finetune manifest=clips.jsonl encoder.name=", f"{FINETUNE} out=fine"),
    "a setting that is not one": Walk(
        f"{FINETUNE} out=fine batch_clips=2", "did you mean batch_size?", f"{FINETUNE} out=fine"
    ),
    "no manifest": Walk(
        f"{FINETUNE} out=fine manifest=no.jsonl", "or give manifest=...", f"{FINETUNE} out=fine manifest=manifest.jsonl"
    ),
    "a rate that falls on plateaus": Walk(
        f"{FINETUNE} out=fine schedule.name=plateau",
        "learn by cosine or constant rates",
        f"{FINETUNE} out=fine schedule.name=cosine",
    ),
    "float16 without a GPU": Walk(
        f"{FINETUNE} out=new precision=float16",
        "use precision=bfloat16 or float32",
        f"{FINETUNE} out=fine precision=float32",
    ),
    "several devices that accumulate": Walk(
        f"{FINETUNE} out=new devices=2 optimiser.accumulate=2", "use devices=1", f"{FINETUNE} out=fine devices=1"
    ),
    "an encoder that has nothing to train": Walk(
        f"{FINETUNE} out=fine encoder.name=patch-statistics", "*mobile-former-*", f"{FINETUNE} out=fine"
    ),
    "a folder with another run": Walk(
        f"{FINETUNE} out=fine seed=5", "choose another folder by out=...", f"{FINETUNE} out=new seed=5"
    ),
    "a folder with a run of another kind": Walk(
        f"{FINETUNE} out=run", "choose another folder by out=...", f"{FINETUNE} out=fine"
    ),
    "weights that are gone": Walk(
        f"{FINETUNE} out=fine",
        "give --overwrite to train",
        f"{FINETUNE} out=fine --overwrite",
        first=moved("fine/best.safetensors", "aside.safetensors"),
    ),
    "no store of a teacher": Walk(f"distil {NANO} videos=.", "add `store=teacher.zarr`", f"{DISTIL} videos=."),
    "no videos of the store": Walk(DISTIL, "give videos=FOLDER or manifest=...", f"{DISTIL} manifest=manifest.jsonl"),
    "a place without videos": Walk(
        f"{DISTIL} videos=nowhere", "give the place of the videos that were extracted into", f"{DISTIL} videos=."
    ),
    "videos that are not the store's": Walk(
        f"{DISTIL} videos=others",
        "give the videos that were extracted into it",
        f"{DISTIL} videos=.",
        first=others,
    ),
    "a video that is not where it was": Walk(
        f"{DISTIL} manifest=manifest.jsonl",
        "move it back, or give its place by videos=... or manifest=...",
        do=moved("v9.mp4", "v0.mp4"),
        first=moved("v0.mp4", "v9.mp4"),
    ),
}
VIEWS = {
    "not a run": Walk("test-views features.zarr", "name a run or a file", "test-views fine"),
    "another encoder": Walk("test-views fine --encoder dualformer-nano", "leave --encoder out", "test-views fine"),
    "a file without its encoder": Walk(
        "test-views fine/best.safetensors --manifest manifest.jsonl",
        "say which encoder the weights are for: --encoder ",
        f"test-views fine/best.safetensors --encoder {NANO} --manifest manifest.jsonl",
    ),
    "a file without its videos": Walk(
        f"test-views fine/best.safetensors --encoder {NANO}",
        "give --manifest",
        f"test-views fine/best.safetensors --encoder {NANO} --manifest manifest.jsonl",
    ),
    "weights that were distilled and classify nothing": Walk(
        f"test-views dis/best.safetensors --encoder {NANO} --manifest manifest.jsonl",
        "fine-tune it first (`longvid finetune`)",
        "test-views new",
        first=f"{DISTIL} videos=.",
        do=f"{FINETUNE} encoder.weights=dis/best.safetensors out=new",
    ),
    "a manifest that is gone": Walk(
        "test-views fine",
        "give --manifest",
        "test-views fine --manifest moved.jsonl",
        first=moved("manifest.jsonl", "moved.jsonl"),
    ),
}
SCHEDULERS = {
    "hosts that are not named": Walk(
        f"{STATISTICS} --scheduler ssh", "name the hosts, such as --scheduler 'ssh gpu1,gpu2'", STATISTICS
    ),
    "a host named twice": Walk(
        f"{STATISTICS} --scheduler 'ssh a,a'", "--workers says how many processes it has", STATISTICS
    ),
    "no GPU": Walk(f"{STATISTICS} --scheduler cuda", "use --scheduler local", f"{STATISTICS} --plan --scheduler local"),
    "a setting of jobs without a value": Walk(
        f"{STATISTICS} --scheduler slurm --slurm partition",
        "give NAME=VALUE, where NAME is one of account, partition",
        f"{STATISTICS} --scheduler slurm --slurm partition=gpu --plan",
    ),
    "a setting of jobs given twice": Walk(
        f"{STATISTICS} --scheduler slurm --slurm cores=1 --slurm cores=2",
        "give it once",
        f"{STATISTICS} --scheduler slurm --slurm cores=2 --plan",
    ),
    "a number of cores that none can have": Walk(
        f"{STATISTICS} --scheduler slurm --slurm cores=0",
        "must be a whole number, at least 1",
        f"{STATISTICS} --scheduler slurm --slurm cores=1 --plan",
    ),
    "a cluster without its keys": Walk(
        f"{STATISTICS} --scheduler tls://127.0.0.1:9 --keys keys",
        "make the keys with `longvid cluster-keys",
        "cluster-keys keys",
    ),
    "an interface that is not there": Walk(
        f"{STATISTICS} --scheduler local --interface nope0", "lo", f"{STATISTICS} --interface lo --plan"
    ),
}


@pytest.fixture(scope="module")
def learned(sound: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `fine`, fine-tuned for an epoch on the short videos."""
    folder = tmp_path_factory.mktemp("learned")
    for file in (sound / "manifest.jsonl", *sound.glob("*.mp4")):
        shutil.copyfile(file, folder / file.name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        finetune(load_finetuning(None, [*FINETUNE.split()[1:], "out=fine"]))
    return folder / "fine"


@pytest.mark.parametrize("name", ENCODERS)
def test_what_a_message_of_an_encoder_says_helps(name, walk, learned, monkeypatch):
    shutil.copytree(learned, "fine")
    monkeypatch.syspath_prepend(str(Path.cwd()))
    walk(ENCODERS[name])


@pytest.mark.parametrize("name", LEARNING)
def test_what_a_message_of_fine_tuning_or_distilling_says_helps(name, walk, learned):
    shutil.copytree(learned, "fine")
    walk(LEARNING[name])


@pytest.mark.parametrize("name", VIEWS)
def test_what_a_message_of_the_test_over_views_says_helps(name, walk, learned):
    shutil.copytree(learned, "fine")
    walk(VIEWS[name])


@pytest.mark.parametrize("name", SCHEDULERS)
def test_what_a_message_of_a_scheduler_says_helps(name, walk):
    walk(SCHEDULERS[name])
