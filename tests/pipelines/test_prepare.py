"""Each listed video is found under its own name or named as missing; nothing is mistaken for another."""

import csv
import json
from pathlib import Path

import pytest

from longvid.benchmarks.benchmark import Benchmark
from longvid.benchmarks.breakfast.benchmark import breakfast_benchmark
from longvid.benchmarks.coin.benchmark import coin_benchmark
from longvid.benchmarks.lvu.benchmark import lvu_benchmark
from longvid.errors import AnnotationError, ConfigError, VideoNotFound
from longvid.pipelines.cli import main
from longvid.pipelines.prepare import prepare
from longvid.pipelines.prepare.absent import absent_videos, write_absent
from longvid.pipelines.prepare.benchmarks import load_benchmark
from longvid.pipelines.prepare.own import own_benchmark
from longvid.tasks import Manifest

IDS = [f"-vid_{number:06d}" for number in range(6)]
LIST = "class_id class_name youtube_id imdb_id\n"


@pytest.fixture
def lvu(tmp_path) -> Path:
    """Lists of one task: three training videos, one validates, two are tested."""
    folder = tmp_path / "lvu_1.0" / "scene"
    folder.mkdir(parents=True)
    for split, numbers in {"train": (0, 1, 2), "val": (3,), "test": (4, 5)}.items():
        lines = (f"{(0, 2)[n % 2]} {('office', 'school')[n % 2]} {IDS[n]} tt{n}\n" for n in numbers)
        (folder / f"{split}.csv").write_text(LIST + "".join(lines))
    (folder.parent / "lvu_durations.csv").write_text("videoid,duration\n" + "".join(f"{key},2\n" for key in IDS))
    return folder.parent


@pytest.fixture
def listed(lvu) -> Benchmark:
    return lvu_benchmark(lvu)


def paths(prepared) -> dict[str, str]:
    return {video.key: video.path for video in prepared.videos if video.state == "found"}


def test_a_clip_is_found_in_every_usual_layout(listed, tmp_path, make_video):
    places = [f"{IDS[0]}.mp4", f"2011/{IDS[1]}.mkv", f"a/b/c/d/{IDS[2]}.avi", f"A scene (2011) [{IDS[3]}].mp4"]
    for place in places:
        make_video(tmp_path / "clips" / place)
    (tmp_path / "clips" / f"{IDS[4]}.mp4.part").write_bytes(b"half")
    (tmp_path / "clips" / f"{IDS[5]}.txt").write_text("not a video")
    prepared = prepare(listed, tmp_path / "clips")
    assert paths(prepared) == {key: str(tmp_path / "clips" / place) for key, place in zip(IDS, places, strict=False)}
    assert prepared.counts == {"found": 4, "unreadable": 0, "missing": 2}
    assert [row.path for row in prepared.manifest] == [video.path for video in prepared.videos]
    assert prepared.manifest.row(IDS[5]).path == str(tmp_path / "clips" / f"{IDS[5]}.mp4")


def test_linked_folders_are_searched_and_a_link_to_above_ends(listed, tmp_path, make_video):
    make_video(tmp_path / "disk" / f"{IDS[0]}.mp4")
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "disk").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "again").symlink_to(tmp_path / "clips")
    prepared = prepare(listed, tmp_path / "clips")
    assert paths(prepared) == {IDS[0]: str(tmp_path / "clips" / "disk" / f"{IDS[0]}.mp4")}
    assert not prepared.videos[0].others


def test_breakfast_files_of_one_name_are_told_apart_by_their_camera(tmp_path, make_video):
    keys = ["P03-cam01-P03_tea", "P03-webcam01-P03_tea", "P03-stereo-P03_tea_ch0"]
    (tmp_path / "train.csv").write_text(
        "file_name,duration,action,class_id\n" + "".join(f"{key},2,tea,2\n" for key in keys)
    )
    (tmp_path / "test.csv").write_text("file_name,duration,action,class_id\nP47-cam01-P47_tea,2,tea,2\n")
    root = tmp_path / "BreakfastII_15fps_qvga_sync"
    for place in ("P03/cam01/P03_tea.avi", "P03/webcam01/P03_tea.avi", "P03/stereo/P03_tea_ch0.avi"):
        make_video(root / place)
    make_video(root / "P03/stereo/P03_tea_ch1.avi")
    found = paths(prepare(breakfast_benchmark(tmp_path), tmp_path))
    assert found == {key: str(root / (key.replace("-", "/") + ".avi")) for key in keys}


def test_coin_files_are_found_in_the_official_downloaders_folders(tmp_path, make_video):
    record = {"duration": 2, "class": "MakeTea", "subset": "training", "recipe_type": 78, "annotation": []}
    (tmp_path / "COIN.json").write_text(json.dumps({"database": {IDS[0]: record, IDS[1]: record}}))
    make_video(tmp_path / "videos" / "78" / f"{IDS[0]}.mp4")
    prepared = prepare(coin_benchmark(tmp_path), tmp_path / "videos")
    assert [video.path for video in prepared.videos] == [
        str(tmp_path / "videos" / "78" / f"{key}.mp4") for key in IDS[:2]
    ]
    assert [video.state for video in prepared.videos] == ["found", "missing"]


def test_a_file_that_cannot_be_read_is_unreadable_and_not_missing(listed, tmp_path, make_video):
    whole = make_video(tmp_path / f"{IDS[0]}.mp4", seconds=4).read_bytes()
    (tmp_path / f"{IDS[1]}.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / f"{IDS[2]}.mp4").write_text("<html>video unavailable</html>")
    heard = []
    prepared = prepare(listed, tmp_path, on_video=heard.append)
    assert [video.state for video in prepared.videos] == ["found", "unreadable", "unreadable", *["missing"] * 3]
    assert all(video.path in video.reason for video in prepared.videos if video.state == "unreadable")
    assert {video.key for video in heard} == set(IDS[:3])
    assert prepared.exit_status == 3
    assert prepare(listed, tmp_path, check=False).counts == {"found": 3, "unreadable": 0, "missing": 3}


def test_counts_say_what_absent_videos_do_to_the_score_of_not_looking(listed, tmp_path, make_video):
    make_video(tmp_path / f"{IDS[4]}.mp4")
    (count,) = prepare(listed, tmp_path).splits
    assert (count.listed, count.found["test"], count.missing["test"]) == ({"train": 3, "val": 1, "test": 2}, 1, 1)
    assert (count.answer, count.baseline_listed, count.baseline_found) == ("always office", 0.5, 1.0)


def test_files_of_another_length_and_files_of_one_name_are_noted(listed, tmp_path, make_video):
    make_video(tmp_path / "b" / f"{IDS[0]}.mp4")
    make_video(tmp_path / "a" / f"{IDS[0]}.mp4", seconds=6)
    prepared = prepare(listed, tmp_path)
    assert prepared.videos[0].path == str(tmp_path / "a" / f"{IDS[0]}.mp4")
    assert any("several files" in note and str(tmp_path / "b") in note for note in prepared.notes)
    assert any(f"{IDS[0]} (6 s, listed 2 s)" in note for note in prepared.notes)


def test_the_list_of_what_is_missing_has_full_urls_and_what_each_is_needed_for(listed, tmp_path):
    prepared = prepare(listed, tmp_path)
    assert write_absent(tmp_path / "missing.csv", absent_videos(prepared)) == 6
    with (tmp_path / "missing.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[4]["url"] == f"https://www.youtube.com/watch?v={IDS[4]}"
    assert rows[4]["splits"] == "scene_split=test"
    assert (rows[4]["state"], rows[4]["expected_path"]) == ("missing", str(tmp_path / f"{IDS[4]}.mp4"))


def test_a_folder_that_does_not_exist_is_an_error(listed, tmp_path):
    with pytest.raises(VideoNotFound, match="no such folder"):
        prepare(listed, tmp_path / "nowhere")


def test_ones_own_table_keeps_its_paths_and_looks_for_the_others(tmp_path, make_video):
    make_video(tmp_path / "elsewhere" / "a.mp4")
    make_video(tmp_path / "videos" / "deep" / "er" / "st" / "b.mp4")
    make_video(tmp_path / "videos" / "other" / "c.mp4")
    (tmp_path / "table.csv").write_text(
        "key,path,split,label\na,elsewhere/a.mp4,train,cat\ndeep/er/st/b,,train,dog\nx/c,,test,dog\n"
    )
    prepared = prepare(own_benchmark(tmp_path / "videos", tmp_path / "table.csv"), tmp_path / "videos")
    assert [video.state for video in prepared.videos] == ["found", "found", "missing"]
    assert prepared.splits[0].answer == "always cat"


def test_a_table_may_give_urls_which_are_opened_where_they_lie(tmp_path, make_video, file_server):
    make_video(file_server.folder / "a.mp4")
    (tmp_path / "videos").mkdir()
    (tmp_path / "table.csv").write_text(
        f"key,path,label\na,{file_server.url}/a.mp4,cat\nb,{file_server.url}/b.mp4,dog\n"
    )
    prepared = prepare(own_benchmark(tmp_path / "videos", tmp_path / "table.csv"), tmp_path / "videos")
    assert [video.state for video in prepared.videos] == ["found", "unreadable"]
    assert prepared.manifest.rows[0].path == f"{file_server.url}/a.mp4"
    assert "no such file (HTTP 404" in prepared.videos[1].reason


def test_a_url_in_the_place_of_the_folder_is_refused_in_one_line_that_says_what_takes_it(tmp_path, capsys):
    command = ["prepare", "folder", "--videos", "s3://lab/films?signature=secret", "-o", str(tmp_path / "own.jsonl")]
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "s3://lab/films: only a folder of this machine is searched" in line
    assert "longvid extract" in line
    assert "secret" not in line


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_class_folders_become_a_manifest_with_a_test_split_on_demand(tmp_path, make_video, ending):
    for number in range(6):
        make_video(tmp_path / "videos" / ("cat", "dog")[number % 2] / f"{number}.mp4", seconds=0.5)
    benchmark = load_benchmark("folder", None, tmp_path / "videos", test_fraction=0.34)
    prepared = prepare(benchmark, tmp_path / "videos")
    prepared.manifest.write(tmp_path / f"own.{ending}")
    manifest = Manifest.read(tmp_path / f"own.{ending}")
    assert manifest.counts() == {"train": 4, "test": 2}
    assert {row.label for row in manifest.split("test")} == {"cat", "dog"}
    assert all(Path(str(row.path)).is_file() for row in manifest)


def test_a_table_without_splits_is_cut_into_test_validation_and_training(tmp_path):
    rows = [f"p{person}_{take},{('wave', 'jump')[person % 2]}" for person in range(10) for take in range(3)]
    (tmp_path / "table.csv").write_text("\n".join(["key,label", *rows]))

    def made(**given):
        return own_benchmark(tmp_path, tmp_path / "table.csv", **given).manifest

    manifest = made(test_fraction=0.2, val_fraction=0.2, group="^p[0-9]+")
    assert manifest.counts() == {"train": 18, "val": 6, "test": 6}
    people = [{row.key.partition("_")[0] for row in manifest.split(split)} for split in ("train", "val", "test")]
    assert sum(map(len, people)) == len(set().union(*people))
    assert all({row.label for row in manifest.split(split)} == {"wave", "jump"} for split in ("val", "test"))
    with pytest.raises(ConfigError, match=r"--val-fraction 0\.6: must be more than 0 and leave videos to train on"):
        made(test_fraction=0.5, val_fraction=0.6)
    with pytest.raises(AnnotationError, match=r"'x\+' is found in no key, such as 'p0_0'"):
        made(test_fraction=0.2, group="x+")
    with pytest.raises(ConfigError, match="is not a regular expression"):
        made(group="(")
    with pytest.raises(AnnotationError, match="--val-fraction is for your own videos; coin has its own splits"):
        load_benchmark("coin", "COIN.json", tmp_path, val_fraction=0.2)


def test_a_data_set_nobody_knows_is_refused_with_those_there_are(tmp_path):
    with pytest.raises(AnnotationError, match=r"no data set 'lvy'; there are lvu, .*diving48, and `folder`"):
        load_benchmark("lvy", None, tmp_path)
    with pytest.raises(AnnotationError, match="give --annotations"):
        load_benchmark("lvu", None, tmp_path)


def test_the_command_writes_a_manifest_and_says_what_is_missing(command, lvu, make_video, tmp_path):
    make_video(tmp_path / "clips" / f"{IDS[4]}.mp4")
    status, out, _ = command("prepare", "lvu", "--annotations", lvu, "--videos", "clips", "--missing", "missing.csv")
    assert status == 0
    assert "6 videos listed, 1 found, 0 unreadable, 5 missing" in out
    assert "office" in out
    assert len(Manifest.read(tmp_path / "lvu.jsonl")) == 6
    assert len((tmp_path / "missing.csv").read_text().splitlines()) == 6
    status, out, _ = command("prepare", "lvu", "--annotations", lvu, "--videos", "clips", "--json")
    assert json.loads(out)["counts"] == {"found": 1, "unreadable": 0, "missing": 5}


def test_the_command_names_rows_it_cannot_use_and_its_status_says_so(command, lvu, tmp_path):
    path = lvu / "scene" / "train.csv"
    path.write_text(path.read_text() + "9 nowhere x tt1\n")
    (tmp_path / "clips").mkdir()
    status, _, err = command("prepare", "lvu", "--annotations", lvu, "--videos", "clips")
    assert status == 3
    assert f"not usable: {path}:5: 'x' is not a YouTube id" in err
    status, _, err = command("prepare", "lvu", "--annotations", lvu, "--videos", "nowhere")
    assert (status, err) == (2, "error: nowhere: no such folder; create it, or give the folder that holds the videos\n")


def test_leaks_between_tasks_are_shown(command, lvu, tmp_path):
    other = lvu / "year"
    other.mkdir()
    for split, line in {"train": f"0 1930 {IDS[4]} tt4\n", "val": "", "test": f"0 1930 {IDS[0]} tt0\n"}.items():
        (other / f"{split}.csv").write_text(LIST + line)
    (tmp_path / "clips").mkdir()
    _, out, _ = command("prepare", "lvu", "--annotations", lvu, "--videos", "clips")
    assert "2 test videos in all are used for training or validation in another task" in out
