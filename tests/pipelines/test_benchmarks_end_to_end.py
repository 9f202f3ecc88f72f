"""Each public data set from its own annotation layout to a report, through the command line, on videos made here.

What a video shows follows from its label, so a model that learns anything beats the baseline that ignores it.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from longvid.benchmarks.lvu.annotations import LVU_TASKS
from longvid.files import read_json

RED, BLUE, GREEN, GREY = (200, 30, 30), (30, 30, 200), (30, 190, 30), (90, 90, 90)
Command = Callable[..., tuple[int, str, str]]

QUICK = ["decoder={name: mean-linear}", "standardise=true", "tensorboard=false", "seeds=[0]", "early_stopping=null"]
QUICK += ["device=cpu", "workers=0", "optimiser.learning_rate=0.05", "batch_size=8"]


@pytest.fixture
def longvid(command, monkeypatch) -> Callable[..., str]:
    """Runs a command that must succeed, and gives what it printed."""
    monkeypatch.setenv("COLUMNS", "400")

    def run(*words: object) -> str:
        status, out, err = command(*words)
        assert status == 0, (words, out, err)
        return out

    return run


def extract(longvid, manifest: str, out: str, *, fps: int = 2) -> None:
    sampling = f"frames={fps},fps={fps},stride_seconds=1"
    words = ["--encoder", "patch-statistics", "--option", "size=32", "--sampling", sampling, "--pooling", "mean"]
    printed = longvid("extract", manifest, "--out", out, "--scheduler", "serial", *words)
    assert "failed" not in printed


def scores(run: str, split: str = "test") -> tuple[dict[str, float], dict[str, float]]:
    """Metrics of a run, and of the baseline that ignores the video."""
    found = read_json(Path(run) / "evaluation" / f"{split}.json")
    return {name: value["mean"] for name, value in found["metrics"].items()}, found["baseline"]


def write_lvu(folder: Path, make_video) -> None:
    """Lists of all nine tasks over 20 clips, red for class 0 and seldom seen, blue for class 1 and often seen."""
    keys = [f"-clip{number:06d}" for number in range(20)]
    splits = {"train": range(10), "val": range(10, 14), "test": range(14, 20)}
    for number, key in enumerate(keys):
        make_video(folder / "clips" / f"{key}.mp4", seconds=3, colours=[(RED, BLUE)[number % 2]])
    for name, task in LVU_TASKS.items():
        (folder / "lvu_1.0" / name).mkdir(parents=True)
        for split, numbers in splits.items():
            lines = [_lvu_line(name, task.classes, number % 2, keys[number], number) for number in numbers]
            header = {"like_ratio": "like_count dislike_count", "view_count": "view_count"}.get(
                name, "class_id class_name"
            )
            (folder / "lvu_1.0" / name / f"{split}.csv").write_text(
                "\n".join([f"{header} youtube_id imdb_id", *lines]) + "\n"
            )
    durations = "".join(f"{key},3\n" for key in keys)
    (folder / "lvu_1.0" / "lvu_durations.csv").write_text("videoid,duration\n" + durations)


def _lvu_line(name: str, classes: tuple[str, ...], blue: int, key: str, number: int) -> str:
    label = f"{blue} {classes[blue] if classes else ''}"
    if name == "like_ratio":
        label = ("95 5", "70 30")[blue]
    if name == "view_count":
        label = ("10000", "3000000")[blue]
    return f"{label} {key} tt{number}"


def test_lvu_from_its_lists_to_a_report_with_both_regressions(longvid, tmp_path, make_video):
    write_lvu(tmp_path, make_video)
    printed = longvid("prepare", "lvu", "--annotations", "lvu_1.0", "--videos", "clips")
    assert "20 videos listed, 20 found" in printed
    extract(longvid, "lvu.jsonl", "lvu.zarr")
    data = ["store=lvu.zarr", "manifest=lvu.jsonl"]

    longvid("train", "lvu/relationship", *data, *QUICK, "epochs=8", "window={seconds: 2, stride_seconds: 1}")
    printed = longvid("evaluate", "runs/lvu/relationship")
    assert "all 6 videos of test, 12 windows" in printed
    found, baseline = scores("runs/lvu/relationship")
    assert found["accuracy"] == 1.0 > baseline["accuracy"] == 0.5

    for task in ("like_ratio", "view_count"):
        longvid("train", f"lvu/{task}", *data, *QUICK, "epochs=25")
        longvid("evaluate", f"runs/lvu/{task}")
        found, baseline = scores(f"runs/lvu/{task}")
        assert found["mse"] < 0.5 * baseline["mse"]

    printed = longvid("results", "lvu/relationship")
    assert "57.14 %" in printed
    assert "100.0 %" in printed
    assert "window changed (seconds: 60.0 -> 2.0)" in " ".join(printed.split())
    longvid("report", "runs/lvu/relationship", "--out", "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "lvu/relationship" in page
    assert "features are not those that the recipe is meant for" in page
    assert all(text in page for text in ("ViS4mer", "57.14 %", "Video Token Merging (NeurIPS 2024), table 2"))


def test_nine_lvu_tasks_are_learned_by_one_decoder_and_scored_one_by_one(longvid, tmp_path, make_video):
    write_lvu(tmp_path, make_video)
    longvid("prepare", "lvu", "--annotations", "lvu_1.0", "--videos", "clips")
    extract(longvid, "lvu.jsonl", "lvu.zarr")
    longvid("train", "lvu/all", "store=lvu.zarr", "manifest=lvu.jsonl", *QUICK, "epochs=25")
    printed = longvid("evaluate", "runs/lvu/all")
    assert printed.count("all 6 videos of test") == 9
    for task in LVU_TASKS:
        found, baseline = scores(f"runs/lvu/all/{task}")
        name = LVU_TASKS[task].metrics[0]
        assert found[name] == 1.0 > baseline[name] if name == "accuracy" else found[name] < baseline[name]
    longvid("report", "runs/lvu/all/scene", "--out", "page.html")
    assert "One decoder answers this and the other tasks" in (tmp_path / "page.html").read_text()
    assert "runs/lvu/all/scene" in longvid("results", "lvu/scene")


def test_lvu_as_published_fills_short_clips_up_and_steps_its_schedule_backwards(longvid, tmp_path, make_video):
    write_lvu(tmp_path, make_video)
    longvid("prepare", "lvu", "--annotations", "lvu_1.0", "--videos", "clips")
    extract(longvid, "lvu.jsonl", "lvu.zarr")
    tiny = ["decoder.options={width: 8, layers: 2, state_size: 4, odd_length: official}", "epochs=4", "workers=0"]
    longvid(
        *("train", "lvu/scene-as-published", "store=lvu.zarr", "manifest=lvu.jsonl", *tiny),
        *("tensorboard=false", "device=cpu", "validation.every_epochs=1", "schedule.patience=0"),
    )
    folder = Path("runs/lvu/scene-as-published")
    assert read_json(folder / "run.json")["decoder"]["max_length"] == 60
    rates = [float(line.split(",")[-2]) for line in (folder / "seed-1112" / "history.csv").read_text().splitlines()[1:]]
    assert rates[-1] < rates[0]
    longvid("evaluate", folder)


BREAKFAST = {"P42": "train", "P47": "test", "P48": "test", "P03": "train", "P04": "train", "P16": "train"}
UNITS = {"tea": ("stir_tea", GREEN), "milk": ("pour_milk", BLUE)}


def write_breakfast(folder: Path, make_video) -> None:
    """Two dishes of six people before two cameras, whose files have one name; half of each video is SIL."""
    lists: dict[str, list[str]] = {"train": [], "test": []}
    names = []
    for person, split in BREAKFAST.items():
        for number, (dish, (unit, colour)) in enumerate(UNITS.items()):
            for camera in ("cam01", "webcam01") if person != "P42" else ("cam01",):
                name = f"{person}/{camera}/{person}_{dish}"
                make_video(folder / "videos" / f"{name}.avi", seconds=4, colours=[GREY, colour])
                lists[split].append(f"{name.replace('/', '-')},4,{dish},{(2, 8)[number]}")
                names.append(name.replace("/", "_"))
                labels = ["SIL"] * 30 + [unit] * 28
                path = folder / "annotations" / "groundTruth" / f"{names[-1]}.txt"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("\n".join(labels) + "\n")
    for split, lines in lists.items():
        text = "\n".join(["file_name,duration,action,class_id", *lines])
        (folder / "annotations" / f"{split}.csv").write_text(text + "\n")
    (folder / "annotations" / "splits").mkdir()
    for fold in range(1, 5):
        tested = [name for name in names if 13 * (fold - 1) <= int(name[1:3]) - 3 < 13 * fold]
        for split, listed in {"test": tested, "train": [n for n in names if n not in tested]}.items():
            path = folder / "annotations" / "splits" / f"{split}.split{fold}.bundle"
            path.write_text("".join(f"{name}.txt\n" for name in listed) or "#bundle\n")


def test_breakfast_dishes_and_frame_labels_from_camera_folders_to_a_report(longvid, tmp_path, make_video):
    write_breakfast(tmp_path, make_video)
    printed = longvid("prepare", "breakfast", "--annotations", "annotations", "--videos", "videos")
    assert "22 videos listed, 22 found" in printed
    extract(longvid, "breakfast.jsonl", "breakfast.zarr")
    data = ["store=breakfast.zarr", "manifest=breakfast.jsonl"]

    longvid("train", "breakfast", *data, *QUICK, "epochs=8", "window.segments=8")
    longvid("evaluate", "runs/breakfast")
    found, baseline = scores("runs/breakfast")
    assert found["accuracy"] == 1.0 > baseline["accuracy"]
    assert found["mean_average_precision"] == 1.0

    published = ["decoder={name: mean-linear}", "tensorboard=false", "device=cpu", "epochs=2", "workers=0"]
    printed = longvid("train", "breakfast-as-published", *data, *published, "window.segments=8")
    assert "AS PUBLISHED: the best epoch is chosen by the 8 test videos" in " ".join(printed.split())
    longvid("evaluate", "runs/breakfast-as-published")

    folds = ["s1_labelled", "s4_labelled"]
    given = [*data, *QUICK, "epochs=20", "refinement=null", f"folds=[{', '.join(folds)}]"]
    printed = " ".join(longvid("train", "breakfast-segmentation", *given).split())
    for fold in folds:
        found, baseline = scores(f"runs/breakfast-segmentation/{fold}")
        assert found["mof"] > 0.9 > baseline["mof"]
        assert found["edit"] > 0.9
        assert found["f1@50"] > 0.9
        assert f"{fold}: all " in printed
    again = longvid("evaluate", "runs/breakfast-segmentation", "--json")
    means = {name: value["mean"] for name, value in json.loads(again)["metrics"].items()}
    each = [scores(f"runs/breakfast-segmentation/{fold}")[0] for fold in folds]
    assert means == pytest.approx({name: (each[0][name] + each[1][name]) / 2 for name in means})
    assert "without-sil: nobody's table" in printed
    printed = " ".join(longvid("results", "breakfast-segmentation").split())
    assert "mean of 2 of 4 folds" in printed
    assert "without s2_labelled, s3_labelled" in printed
    assert "best epoch chosen by test, as published" in " ".join(longvid("results", "breakfast").split())
    longvid("report", *(f"runs/breakfast-segmentation/{fold}" for fold in folds), "--out", "page.html")
    assert "stir_tea" in (tmp_path / "page.html").read_text()


def write_coin(folder: Path, make_video) -> None:
    """Two tasks of one step each, in the middle third of the video; the part that matters starts after one second."""
    database = {}
    for number in range(14):
        blue = number % 2
        key = f"-coin{number:06d}"
        make_video(
            folder / "videos" / str(78 + blue) / f"{key}.mp4", seconds=6, colours=[GREY, (RED, BLUE)[blue], GREY]
        )
        database[key] = {
            "duration": 6.0,
            "class": ("MakePaperDice", "MakeTea")[blue],
            "video_url": f"https://www.youtube.com/embed/{key}",
            "start": 1.0,
            "end": 6.0,
            "subset": "training" if number < 10 else "testing",
            "recipe_type": 78 + blue,
            "annotation": [{"id": str(352 + blue), "segment": [2.0, 4.0], "label": ("fold", "pour water")[blue]}],
        }
    (folder / "COIN.json").write_text(json.dumps({"database": database}))


def test_coin_tasks_and_steps_from_coin_json_to_a_report(longvid, tmp_path, make_video):
    write_coin(tmp_path, make_video)
    printed = longvid("prepare", "coin", "--annotations", "COIN.json", "--videos", "videos")
    assert "14 videos listed, 14 found" in printed
    extract(longvid, "coin.jsonl", "coin.zarr")
    data = ["store=coin.zarr", "manifest=coin.jsonl"]

    longvid("train", "coin", *data, *QUICK, "epochs=12", "window.segments=8")
    longvid("evaluate", "runs/coin")
    found, baseline = scores("runs/coin")
    assert found["accuracy"] == 1.0 > baseline["accuracy"]

    longvid("train", "coin-steps", *data, *QUICK, "epochs=30")
    longvid("evaluate", "runs/coin-steps")
    found, baseline = scores("runs/coin-steps")
    assert found["map@50"] > 0.9
    assert found["boundary_f1@1"] > 0.9 > baseline["boundary_f1@1"]
    assert baseline["map@50"] == 0.0
    evaluated = read_json(Path("runs/coin-steps/evaluation/test.json"))
    steps = {row["name"]: row["average_precision"] for row in evaluated["per_class"]}
    assert steps["352 fold"] == 1.0
    assert steps["1"] is None  # not in these videos
    predicted = Path("runs/coin-steps/evaluation/test-predictions.csv").read_text().splitlines()
    assert predicted[0] == "key,seed,start_seconds,end_seconds,target,predicted,score,score of target"
    assert found["recall@50"] == 1.0
    longvid("report", "runs/coin-steps", "--out", "page.html")
    assert "352 fold" in (tmp_path / "page.html").read_text()
    assert "map" in longvid("results", "coin-steps").lower()


def test_ones_own_class_folders_go_the_same_way(longvid, tmp_path, make_video):
    for number in range(16):
        name = ("red", "blue")[number % 2]
        make_video(tmp_path / "mine" / name / f"{number}.mp4", seconds=2, colours=[(RED, BLUE)[number % 2]])
    longvid("prepare", "folder", "--videos", "mine", "--out", "mine.jsonl", "--test-fraction", "0.25")
    extract(longvid, "mine.jsonl", "mine.zarr")
    settings = ["store=mine.zarr", "manifest=mine.jsonl", *QUICK, "epochs=6", "out=runs/mine"]
    longvid("train", *settings)
    longvid("evaluate", "runs/mine")
    assert scores("runs/mine")[0]["accuracy"] == 1.0
