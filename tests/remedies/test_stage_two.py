"""What messages of training, evaluation, prediction, pretraining, search and audit say to do is done, and helps."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from walks import Walk

from longvid.stores import FeatureStore

TRAIN = (
    "train store=features.zarr manifest=manifest.jsonl decoder.name=mean-linear epochs=1 seeds=[0] tensorboard=false "
    "device=cpu"
)
PRETRAIN = "pretrain features.zarr decoder.name=gru decoder.options.width=8 epochs=1 device=cpu"


def changed(name: str, change: Callable[[dict], object]) -> Callable[[Path], object]:
    """Changes each line of a file of JSON lines, or a JSON document."""

    def act(folder: Path) -> None:
        path = folder / name
        whole = [path.read_text()] if path.suffix == ".json" else path.read_text().splitlines()
        values = [json.loads(text) for text in whole]
        for value in values:
            change(value)
        path.write_text("".join(f"{json.dumps(value)}\n" for value in values))

    return act


def recipe(**changes: object) -> Callable[[Path], object]:
    """Writes `mine.yaml`."""

    def act(folder: Path) -> None:
        values = {"store": "features.zarr", "manifest": "manifest.jsonl", "out": "new", "epochs": 1, "device": "cpu"}
        values |= {"decoder": {"name": "mean-linear"}, "tensorboard": False, "seeds": [0]} | changes
        (folder / "mine.yaml").write_text(json.dumps(values))

    return act


def without(name: str) -> Callable[[Path], object]:
    return lambda folder: shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()


def other_weights(folder: Path) -> None:
    """Changes the numbers of a run's weights."""
    path = folder / "run/seed-0/best.safetensors"
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    save_file({name: value + 1 for name, value in load_file(path).items()}, path, metadata)


WALKS = {
    "no settings": Walk("train", "longvid train store=x.zarr manifest=videos.csv", f"{TRAIN} out=new"),
    "no manifest given": Walk(
        f"{TRAIN} out=new".replace("manifest=manifest.jsonl ", ""), "add `manifest=...`", f"{TRAIN} out=new"
    ),
    "no manifest there": Walk(f"{TRAIN} out=new manifest=no.jsonl", "or give manifest=...", f"{TRAIN} out=new"),
    "no such decoder": Walk(
        f"{TRAIN} out=new decoder.name=nope", "choose one of ", f"{TRAIN} out=new decoder.name=lstm"
    ),
    "a folder with another run": Walk(
        f"{TRAIN} out=run decoder.name=lstm", "choose another folder by out=...", f"{TRAIN} out=new decoder.name=lstm"
    ),
    "a folder with another run, overwritten": Walk(
        f"{TRAIN} out=run decoder.name=lstm", "or give --overwrite", f"{TRAIN} out=run decoder.name=lstm --overwrite"
    ),
    "videos that are not there": Walk(
        f"{TRAIN} out=new",
        "train without them (allow_missing=true)",
        f"{TRAIN} out=new allow_missing=true",
        first=without("features.zarr/videos/v0"),
    ),
    "no split": Walk(
        f"{TRAIN} out=new",
        "put train, val or test in a column `split`",
        do=changed(
            "manifest.jsonl", lambda row: row.update(split={"v2": "val", "v3": "test"}.get(row["key"], "train"))
        ),
        first=changed("manifest.jsonl", lambda row: row.pop("split")),
    ),
    "a label that is no number of a class": Walk(
        f"{TRAIN} out=new",
        "state the task's `kind` and `classes`",
        f"{TRAIN} out=new task.kind=regression",
        first=changed("manifest.jsonl", lambda row: row.update(label=int(row["key"][1]) * 7 + 3)),
    ),
    "devices that are not there": Walk(f"{TRAIN} out=new devices=4000", " or fewer", f"{TRAIN} out=new devices=1"),
    "a metric that there is not": Walk(
        f"{TRAIN} out=new validation.metric=mae", "it has ", f"{TRAIN} out=new validation.metric=accuracy"
    ),
    "a setting of dense tasks": Walk(f"{TRAIN} out=new smoothing.weight=0.1", "leave it out", f"{TRAIN} out=new"),
    "a recipe file that names code": Walk(
        "train mine.yaml",
        "give decoder.name=mine:build",
        "train mine.yaml decoder.name=lstm",
        first=recipe(decoder={"name": "mine:build"}),
    ),
    "a recipe file that names a store elsewhere": Walk(
        "train mine.yaml",
        "give store=s3://bucket/x.zarr",
        "train mine.yaml store=features.zarr",
        first=recipe(store="s3://bucket/x.zarr"),
    ),
    "a recipe file that writes elsewhere": Walk(
        "train mine.yaml", "give out=/tmp/far-away", "train mine.yaml out=new", first=recipe(out="/tmp/far-away")
    ),
    "a recipe file that logs elsewhere": Walk(
        "train mine.yaml", "give loggers=[wandb]", "train mine.yaml loggers=[csv]", first=recipe(loggers=["wandb"])
    ),
    "no run": Walk("evaluate new", "train one with `longvid train`", do=f"{TRAIN} out=new"),
    "no scores": Walk(
        "compare run new --split train",
        "run `longvid evaluate new --split train` again",
        do="evaluate new --split train",
        first=lambda folder: (
            shutil.copytree(folder / "run", folder / "new") and shutil.rmtree(folder / "new/evaluation")
        ),
    ),
    "one run": Walk(
        "compare run --split train",
        "give at least two run folders",
        "compare run new --split train",
        do=lambda folder: shutil.copytree(folder / "run", folder / "new"),
    ),
    "weights that were replaced": Walk(
        "evaluate run",
        "or train the seed again",
        "evaluate new",
        do=f"{TRAIN} out=new",
        first=other_weights,
    ),
    "weights that are cut short": Walk(
        "evaluate new",
        "copy or fetch it again",
        do=lambda folder: shutil.copytree(folder / "run", folder / "new", dirs_exist_ok=True),
        first=lambda folder: (
            shutil.copytree(folder / "run", folder / "new"),
            (folder / "new/seed-0/best.safetensors").write_bytes(b"\x08" + bytes(40)),
        ),
    ),
    "a store that a run names elsewhere": Walk(
        "evaluate run",
        "give --store s3://bucket/x.zarr",
        "evaluate run --store features.zarr",
        first=changed("run/run.json", lambda run: run.update(store="s3://bucket/x.zarr")),
    ),
    "a store of other features": Walk(
        "evaluate run --store other.zarr",
        "give a store that was made with the same settings",
        "evaluate run --store features.zarr",
        first=lambda folder: FeatureStore.create(
            folder / "other.zarr",
            FeatureStore.open(folder / "features.zarr").recipe.model_copy(update={"pooling": "class"}),
        ),
    ),
    "videos that are not complete": Walk(
        "evaluate run",
        "evaluate without them (allow_missing=true)",
        "evaluate run --split val --allow-missing",
        first=without("features.zarr/videos/v3"),
    ),
    "a prediction of an unknown form": Walk(
        "predict run v3.mp4 -o p.doc", "the name of a prediction's file ends in", "predict run v3.mp4 -o p.csv"
    ),
    "labels of frames": Walk("predict run v3.mp4 -o p.txt", "choose .json", "predict run v3.mp4 -o p.json"),
    "predictions of a dense task": Walk(
        "evaluate run --predictions mstcn", "choose csv or jsonl", "evaluate run --predictions jsonl"
    ),
    "a class that there is not": Walk(
        "explain run v3 --output no", "is not an output of task", "explain run v3 --output a"
    ),
    "a video that is neither": Walk(
        "explain run v7", "`longvid info --videos` lists its videos", "explain run v3", do="info --videos features.zarr"
    ),
    "features without words": Walk(
        "search features.zarr 'a red square'", "or search by example: --like", "search features.zarr --like v0@1-2"
    ),
    "a pretraining that is not there": Walk(
        f"{TRAIN} out=new decoder.init=pre",
        "make one with `longvid pretrain",
        f"{TRAIN.replace('decoder.name=mean-linear ', '')} out=new decoder.init=pre",
        do=f"{PRETRAIN} out=pre",
        first=lambda folder: (folder / "pre").mkdir(),
    ),
    "no store to pretrain on": Walk("pretrain epochs=1", "write longvid pretrain STORE", f"{PRETRAIN} out=pre"),
    "surprise of masked clips": Walk(
        "surprise pre v3 --store features.zarr",
        "surprise needs objective.name=next-clip",
        "surprise next v3 --store features.zarr",
        do=f"{PRETRAIN} out=next objective.name=next-clip",
        first=f"{PRETRAIN} out=pre",
    ),
    "settings of training in a pretraining": Walk(
        f"{PRETRAIN} out=pre optimiser.final_weight_decay=0.1", "leave it out", f"{PRETRAIN} out=pre"
    ),
    "masks of nothing": Walk(
        f"{PRETRAIN} out=pre objective.ratio=0", "give a share such as 0.5", f"{PRETRAIN} out=pre objective.ratio=0.5"
    ),
    "a sweep of one value": Walk(
        f"sweep {TRAIN[6:]} out=new --trials 1 --vary epochs=[1]",
        "list two or more",
        f"sweep {TRAIN[6:]} out=new --trials 1 --vary epochs=[1,2]",
    ),
    "a sweep of a word": Walk(
        f"sweep {TRAIN[6:]} out=new --trials 1 --vary epochs",
        "such as epochs=[20,50]",
        f"sweep {TRAIN[6:]} out=new --trials 1 --vary epochs=[1,2]",
    ),
    "a sweep of one thing twice": Walk(
        f"sweep {TRAIN[6:]} out=new --trials 1 --vary epochs=[1,2] --vary epochs=[3,4]",
        "list all its values in one",
        f"sweep {TRAIN[6:]} out=new --trials 1 --vary epochs=[1,2,3,4]",
    ),
    "a sweep in a run's folder": Walk(
        f"sweep {TRAIN[6:]} out=run --trials 1 --vary epochs=[1,2]",
        "choose another folder for the sweep by out=...",
        f"sweep {TRAIN[6:]} out=new --trials 1 --vary epochs=[1,2]",
    ),
    "results of no folder": Walk(
        "results lvu/scene --runs mine",
        "`longvid train ... out=mine/NAME` makes one",
        do=f"{TRAIN} out=mine/first",
    ),
    "no such recipe": Walk("recipe coins", "similar", "recipe coin"),
    "no such task": Walk("results lvu/scenes", "there are ", "results lvu/scene"),
    "no such data set": Walk(
        "prepare mine --videos .",
        "and `folder` for your own videos",
        "prepare folder --videos videos -o m.jsonl",
        do=lambda folder: [
            (folder / "videos" / name).mkdir(parents=True)
            or shutil.copy(folder / file, folder / "videos" / name / file)
            for name, file in (("a", "v0.mp4"), ("b", "v1.mp4"))
        ],
    ),
    "annotations that are not given": Walk(
        "prepare coin --videos .",
        "give --annotations",
        "prepare folder --videos videos -o m.jsonl --test-fraction 0.4",
        do=lambda folder: [
            (folder / "videos" / name).mkdir(parents=True)
            or shutil.copy(folder / "v0.mp4", folder / "videos" / name / f"{index}.mp4")
            for name, index in (("a", 0), ("a2", 1), ("b", 2), ("b2", 3))
        ],
    ),
    "a group in no key": Walk(
        "prepare folder --videos videos -o m.jsonl --test-fraction 0.4 --group '[0-9]{9}'",
        "is found in no key",
        "prepare folder --videos videos -o m.jsonl --test-fraction 0.4 --group '[0-9]'",
        first=lambda folder: [
            (folder / "videos" / name).mkdir(parents=True, exist_ok=True)
            or shutil.copy(folder / "v0.mp4", folder / "videos" / name / f"{index}.mp4")
            for name, index in (("a", 0), ("a", 1), ("b", 2), ("b", 3))
        ],
    ),
    "a bench without a plot": Walk("bench doctor", "choose from ", "doctor"),
}


@pytest.mark.parametrize("name", WALKS)
def test_what_a_message_of_stage_two_says_helps(name: str, walk: Callable[[Walk], str]) -> None:
    walk(WALKS[name])
