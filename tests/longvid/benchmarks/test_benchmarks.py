"""One manifest a data set: published splits as published, validation never from test."""

import json
from collections import Counter

import pytest

from longvid.benchmarks.benchmark import Benchmark, rows_of, select_splits
from longvid.benchmarks.breakfast.annotations import FOLDS
from longvid.benchmarks.breakfast.benchmark import breakfast_benchmark, fold_validation_people
from longvid.benchmarks.coin.benchmark import coin_benchmark
from longvid.benchmarks.leaks import find_leaks
from longvid.benchmarks.lvu.benchmark import lvu_benchmark
from longvid.errors import AnnotationError
from longvid.tasks.manifest import Manifest


def counts(benchmark: Benchmark, column: str) -> tuple[int, ...]:
    return tuple(len(rows_of(benchmark.manifest, column, split)) for split in ("train", "val", "test"))


@pytest.fixture(scope="module")
def official_lvu(official) -> Benchmark:
    return lvu_benchmark(official("lvu_1.0"))


@pytest.fixture(scope="module")
def official_breakfast(official) -> Benchmark:
    return breakfast_benchmark(official("breakfast"))


def test_the_official_lvu_leaks_are_the_known_ones(official_lvu):
    benchmark = official_lvu
    leaks = find_leaks(benchmark.manifest, benchmark.splits)
    films = {leak.column: (len(leak.keys), leak.num_test) for leak in leaks if leak.kind == "group"}
    assert films == {
        "relationship_split": (12, 42),
        "way_speaking_split": (59, 201),
        "scene_split": (28, 86),
        "like_ratio_split": (80, 140),
        "view_count_split": (60, 126),
    }
    assert len({key for leak in leaks if leak.kind == "video" for key in leak.keys}) == 390
    assert len({row.key for s in benchmark.splits for row in rows_of(benchmark.manifest, s.column, "test")}) == 1632


def test_joint_lvu_training_sees_no_video_that_any_task_tests_and_each_task_keeps_its_test(official_lvu):
    benchmark = official_lvu
    tasks = [split.task.column for split in benchmark.splits]
    for row in benchmark.manifest:
        own = {task: row.value(f"{task}_split") for task in tasks if row.value(f"{task}_split")}
        if row.value("joint_split") != "test":
            assert "test" not in own.values()
        assert set(row.value("joint_labels")) == {t for t, split in own.items() if split == row.value("joint_split")}
    tested = Counter(
        task for row in rows_of(benchmark.manifest, "joint_split", "test") for task in row.value("joint_labels")
    )
    assert tested == {task: len(rows_of(benchmark.manifest, f"{task}_split", "test")) for task in tasks}


def test_disjoint_splits_share_no_film_with_test_and_test_what_is_published(official_lvu):
    benchmark = official_lvu
    for column in ("relationship_split", "like_ratio_split", "joint_split"):
        films = {
            split: {row.group for row in rows_of(benchmark.manifest, f"{column}_disjoint", split)}
            for split in ("train", "val", "test")
        }
        assert not (films["train"] | films["val"]) & films["test"]
        published, kept = rows_of(benchmark.manifest, column, "test"), f"{column}_disjoint"
        assert published == rows_of(benchmark.manifest, kept, "test")
    assert counts(benchmark, "genre_split_disjoint") == counts(benchmark, "genre_split")


def test_official_breakfast_has_vis4mers_and_the_folds_denominators(official_breakfast):
    benchmark = official_breakfast
    assert len(benchmark.manifest) == 1712
    assert not benchmark.faults
    assert counts(benchmark, "vis4mer_split") == (1354, 0, 355)
    assert counts(benchmark, "split") == (1136, 221, 355)
    assert [counts(benchmark, f"s{fold}")[2] for fold in FOLDS] == [252, 451, 433, 576]
    assert all(sum(counts(benchmark, f"s{fold}")) == 1712 for fold in FOLDS)
    short = next(note for note in benchmark.notes if "labels end before the video" in note)
    assert all(name in short for name in ("P52-stereo-P52_sandwich_ch0", "P51-webcam01-P51_coffee"))


def test_breakfast_people_are_never_in_two_splits(official_breakfast):
    benchmark = official_breakfast
    for column in ("split", *(f"s{fold}" for fold in FOLDS)):
        people = [{row.group for row in rows_of(benchmark.manifest, column, s)} for s in ("train", "val", "test")]
        assert all(people)
        assert not people[0] & people[1]
        assert not (people[0] | people[1]) & people[2]
    assert [fold_validation_people(fold)[0] for fold in FOLDS] == ["P16", "P29", "P42", "P03"]


def test_coin_validation_is_carved_from_training_videos_of_every_class(coin_file):
    records = {n: {"recipe_type": n % 3, "class": f"Class{n % 3}"} for n in range(60)}
    records |= {n: records[n] | {"subset": "testing"} for n in range(45, 60)}
    benchmark = coin_benchmark(coin_file(records))
    assert benchmark.manifest.counts() == {"train": 39, "val": 6, "test": 15}
    assert {row.label for row in benchmark.manifest.split("val")} == {0, 1, 2}
    assert counts(benchmark, "vis4mer_split") == (45, 0, 15)


def test_eleven_thousand_official_coin_rows_have_the_published_sizes(official, tmp_path):
    rows = [line.split(",") for line in official("coin/coin_index.csv").read_text().splitlines()[1:]]
    database = {
        key: {"duration": 9.0, "class": name, "subset": subset, "recipe_type": int(number), "annotation": []}
        for key, name, number, subset, *_ in rows
    }
    (tmp_path / "COIN.json").write_text(json.dumps({"database": database}))
    benchmark = coin_benchmark(tmp_path)
    assert counts(benchmark, "vis4mer_split") == (9028, 0, 2797)
    assert len({row.label for row in benchmark.manifest.split("val")}) == 180


def test_a_breakfast_folder_without_lists_of_one_kind_follows_from_the_people(tmp_path):
    (tmp_path / "train.csv").write_text(
        "file_name,duration,action,class_id\nP03-cam01-P03_tea,9,tea,2\nP42-cam01-P42_tea,9,tea,2\n"
    )
    (tmp_path / "test.csv").write_text("file_name,duration,action,class_id\nP47-cam01-P47_tea,9,tea,2\n")
    benchmark = breakfast_benchmark(tmp_path)
    assert [row.split for row in benchmark.manifest] == ["train", "val", "test"]
    assert [row.value("s1") for row in benchmark.manifest] == ["test", "train", "train"]
    assert any("folds are derived from the people" in note for note in benchmark.notes)
    with pytest.raises(AnnotationError, match="holds neither"):
        breakfast_benchmark(tmp_path.parent)


def test_breakfast_labels_are_found_by_their_own_name_and_a_wrong_one_leaves_its_video_unlabelled(tmp_path):
    names = ("P27_stereo01_P27_milk", "P03_cam01_P03_tea", "P04_cam01_P04_tea")
    (tmp_path / "splits").mkdir()
    for split in ("train", "test"):
        for fold in FOLDS:
            listed = names if (split == "test") == (fold == 1) else ()
            (tmp_path / "splits" / f"{split}.split{fold}.bundle").write_text(
                "".join(f"{n}.txt\n" for n in listed) or "#\n"
            )
    (tmp_path / "groundTruth").mkdir()
    (tmp_path / "groundTruth" / "P27_stereo01_P27_milk.txt").write_text("SIL\ntake_cup\n")
    (tmp_path / "groundTruth" / "P03_cam01_P03_tea.txt").write_text("SIL\nsleep\n")
    (tmp_path / "segmentation_coarse" / "tea").mkdir(parents=True)
    (tmp_path / "segmentation_coarse" / "tea" / "P04_cam01_P04_tea.txt").write_text("1-30 SIL\n31-60 stir_tea\n")
    benchmark = breakfast_benchmark(tmp_path)
    milk, wrong, tea = benchmark.manifest
    assert (milk.key, milk.label, milk.value("s1_labelled")) == ("P27-stereo-P27_milk_ch0", "milk", "test")
    assert milk.label_path == str(tmp_path / "groundTruth" / "P27_stereo01_P27_milk.txt")
    assert (wrong.label_path, wrong.value("s1"), wrong.value("s1_labelled")) == (None, "test", None)
    assert tea.value("segments") == [[0.0, 2.0, "SIL"], [2.0, 4.0, "stir_tea"]]
    (fault,) = benchmark.faults
    assert str(fault).startswith(f"{tmp_path / 'groundTruth' / 'P03_cam01_P03_tea.txt'}:2: 'sleep' is not one of")


def test_a_split_column_becomes_the_split_and_others_are_left_out(lvu_folder):
    folder = lvu_folder(
        scene={"train": [("0", "office", 1, "tt1")], "test": [("1", "airport", 2, "tt2")]},
        view_count={"train": [("77", 2, "tt2")], "val": [("9", 3, "tt3")]},
    )
    manifest = lvu_benchmark(folder).manifest
    assert [(r.key[-1], r.split) for r in select_splits(manifest, "scene_split")] == [("1", "train"), ("2", "test")]
    assert [(r.key[-1], r.split) for r in select_splits(manifest, "view_count_split")] == [("2", "train"), ("3", "val")]
    joint = {row.key[-1]: (row.value("joint_split"), row.value("joint_labels")) for row in manifest}
    assert joint == {"1": ("train", {"scene": 0}), "2": ("test", {"scene": 1}), "3": ("val", {"view_count": 9})}


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_the_manifest_of_each_benchmark_survives_every_format(lvu_folder, coin_file, tmp_path, ending):
    folder = lvu_folder(
        {1: 70}, scene={"train": [("0", "office", 1, "tt1")]}, like_ratio={"test": [("3", "1", 2, "tt2")]}
    )
    for manifest in (lvu_benchmark(folder).manifest, coin_benchmark(coin_file({1: {}, 2: {}})).manifest):
        manifest.write(tmp_path / f"m.{ending}")
        assert Manifest.read(tmp_path / f"m.{ending}").rows == manifest.rows
