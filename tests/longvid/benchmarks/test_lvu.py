"""LVU's lists are read as their authors meant them, and a row that is not theirs is named by file and line."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from longvid.benchmarks.lvu.annotations import LVU_TASKS, SPLITS, read_lvu, read_lvu_durations, read_lvu_list
from longvid.errors import AnnotationError
from longvid.tasks.manifest import ManifestRow

OFFICIAL_COUNTS = {
    "relationship": (149, 53, 42),
    "way_speaking": (939, 205, 201),
    "scene": (557, 120, 86),
    "director": (680, 163, 107),
    "genre": (3063, 597, 647),
    "writer": (769, 174, 168),
    "year": (770, 165, 143),
    "like_ratio": (658, 142, 140),
    "view_count": (577, 124, 126),
}
OFFICIAL_BASELINES = {
    "relationship": 0.5238,
    "way_speaking": 0.2687,
    "scene": 0.2674,
    "director": 0.4112,
    "genre": 0.2117,
    "writer": 0.0536,
    "year": 0.0839,
    "like_ratio": 0.6056,
    "view_count": 4.0895,
}
OUTPUTS = dict(zip(OFFICIAL_COUNTS, (4, 5, 6, 10, 4, 10, 9, 1, 1), strict=True))


def test_the_official_lists_have_the_published_sizes_and_no_fault(official):
    annotations = read_lvu(official("lvu_1.0"))
    counts = {task: tuple(len(annotations.split(task, split)) for split in SPLITS) for task in LVU_TASKS}
    assert counts == OFFICIAL_COUNTS
    assert not annotations.faults
    assert len({video.key for video in annotations.videos}) == 9996
    assert len(annotations.duration_seconds) == 34587
    assert {video.key for video in annotations.videos} <= annotations.duration_seconds.keys()
    assert sum(key.startswith("-") for key in {video.key for video in annotations.videos}) == 161


def test_the_constant_answer_on_the_official_test_lists_scores_what_the_tables_say(official):
    annotations = read_lvu(official("lvu_1.0"))
    found = {}
    for name, task in LVU_TASKS.items():
        rows = {
            split: [ManifestRow(v.key, extra={name: v.label}) for v in annotations.split(name, split)]
            for split in ("train", "test")
        }
        train, test = (np.array([task.target(row) for row in rows[split]]) for split in ("train", "test"))
        answer = np.bincount(train).argmax() if task.kind == "classification" else 0.0
        found[name] = np.mean(test == answer) if task.kind == "classification" else np.mean(test.astype(float) ** 2)
    assert found == pytest.approx(OFFICIAL_BASELINES, abs=5e-5)


def test_every_task_has_as_many_outputs_as_its_peers_give_it():
    assert {name: task.outputs for name, task in LVU_TASKS.items()} == OUTPUTS


def test_a_null_writer_is_a_class_like_the_others(lvu_folder):
    folder = lvu_folder(writer={"train": [("0", "\\N", 1, "tt1"), ("1", "nm0001220", 2, "tt2")]})
    assert [video.label for video in read_lvu(folder).split("writer", "train")] == [0, 1]
    assert LVU_TASKS["writer"].classes[0] == "\\N"


def test_the_two_regressions_have_the_authors_scale_and_centre(lvu_folder):
    folder = lvu_folder(view_count={"train": [("1000", 1, "tt1")]}, like_ratio={"train": [("90", "10", 1, "tt1")]})
    videos = read_lvu(folder).videos
    targets = {v.task: LVU_TASKS[v.task].target(ManifestRow(v.key, extra={v.task: v.label}))[0] for v in videos}
    assert targets["view_count"] == pytest.approx(math.log(1000) - 11.76425435683139, rel=1e-6)
    assert targets["like_ratio"] == pytest.approx(9.0 - 9.138220535629456, rel=1e-5)


FAULTY = {
    "0 office -vid_000001": "has 3 values, but the header names 4",
    "0 the office -vid_000001 tt1": "has 5 values",
    "1 office -vid_000001 tt1": "class 1 of scene is 'airport', not 'office'",
    "6 bank -vid_000001 tt1": "class_id 6 is not among the 6 classes of scene",
    "office office -vid_000001 tt1": "class_id='office' is not a whole number",
    "-1 office -vid_000001 tt1": "class_id='-1' is not a whole number",
    "0 office ../../../x tt1": "'../../../x' is not a YouTube id",
    "0 office " + "x" * 5000 + " tt1": "is not a YouTube id",
    "0 office -vid_000001 nm1": "'nm1' is not an IMDb id",
    "0,office,-vid_000001,tt1": "has 1 values",
}


@pytest.mark.parametrize("line", FAULTY, ids=range(len(FAULTY)))
def test_a_line_that_cannot_be_used_is_a_fault_with_its_place_and_the_others_stay(lvu_folder, line):
    folder = lvu_folder(scene={"train": [("0", "office", 7, "tt1")]})
    path = folder / "scene" / "train.csv"
    path.write_text(path.read_text() + line + "\n2 school -vid_000008 tt2\n")
    listing = read_lvu_list(path, "scene", "train")
    assert [video.label for video in listing.records] == [0, 2]
    (fault,) = listing.faults
    assert fault.where == f"{path}:3"
    assert FAULTY[line] in fault.reason
    with pytest.raises(AnnotationError, match=r"train\.csv:3: "):
        listing.checked()


@pytest.mark.parametrize("line", ["0 -vid_000001 tt1", "x -vid_000001 tt1"])
def test_views_that_have_no_logarithm_are_a_fault(lvu_folder, line):
    path = lvu_folder(view_count={}) / "view_count" / "train.csv"
    path.write_text(path.read_text() + line + "\n")
    assert len(read_lvu_list(path, "view_count", "train").faults) == 1


def test_a_clip_nobody_voted_on_has_no_ratio(lvu_folder):
    path = lvu_folder(like_ratio={"train": [("0", "0", 1, "tt1")]}) / "like_ratio" / "train.csv"
    assert "neither likes nor dislikes" in read_lvu_list(path, "like_ratio", "train").faults[0].reason


def test_a_repeated_row_counts_once_and_rows_that_contradict_each_other_count_never(lvu_folder):
    twice, unclear = ("0", "office", 1, "tt1"), ("1", "airport", 2, "tt1")
    folder = lvu_folder(scene={"train": [twice, twice, unclear, ("2", "school", 2, "tt1")]})
    listing = read_lvu_list(folder / "scene" / "train.csv", "scene", "train")
    assert [(video.key, video.label) for video in listing.records] == [("-vid_000001", 0)]
    assert [fault.where.rsplit(":")[-1] for fault in listing.faults] == ["3", "4", "5"]
    assert "different values" in listing.faults[1].reason


def test_a_video_in_two_splits_of_a_task_is_tested_and_not_trained_on(lvu_folder):
    row = ("0", "office", 1, "tt1")
    annotations = read_lvu(lvu_folder(scene={"train": [row], "val": [row], "test": [row]}))
    assert [video.split for video in annotations.videos] == ["test"]
    assert all("is also in test" in fault.reason for fault in annotations.faults)
    assert len(annotations.faults) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"class_id,class_name,youtube_id,imdb_id\n", r"train\.csv:1: the header is"),
        (b"0 office -vid_000001 tt1\n", r"train\.csv:1: the header is"),
        (b"\xff\xfec\x00", "UTF-16"),
        (b"class_id class_name youtube_id imdb_id\n0 \xe9 a b\n", r"train\.csv:2: is not UTF-8"),
    ],
)
def test_a_file_that_is_no_list_is_refused_by_name(lvu_folder, content, message):
    path = lvu_folder(scene={}) / "scene" / "train.csv"
    path.write_bytes(content)
    with pytest.raises(AnnotationError, match=message):
        read_lvu_list(path, "scene", "train")


def test_a_folder_without_tasks_or_with_a_list_missing_is_refused(tmp_path, lvu_folder):
    with pytest.raises(AnnotationError, match="holds none of the LVU tasks' folders"):
        read_lvu(tmp_path)
    with pytest.raises(AnnotationError, match="no such folder"):
        read_lvu(tmp_path / "nowhere")
    folder = lvu_folder(scene={})
    (folder / "scene" / "val.csv").unlink()
    with pytest.raises(AnnotationError, match=r"val\.csv: no such file"):
        read_lvu(folder)


def test_durations_name_the_line_that_is_none(lvu_folder):
    path = lvu_folder({1: 60}, scene={}) / "lvu_durations.csv"
    path.write_text(path.read_text() + "-vid_000002,1.5\n-vid_000003,0\nx,3\n-vid_000004,90\n")
    listing = read_lvu_durations(path)
    assert {record.key: record.duration_seconds for record in listing.records} == {"-vid_000001": 60, "-vid_000004": 90}
    assert [fault.where.rsplit(":")[-1] for fault in listing.faults] == ["3", "4", "5"]


GOOD = [
    f"{number % 6} {LVU_TASKS['scene'].classes[number % 6]} -vid_{number:06d} tt{number // 2}" for number in range(8)
]
HEADER = "class_id class_name youtube_id imdb_id"


@given(
    position=st.integers(0, len(GOOD) - 1),
    inserted=st.one_of(
        st.text(max_size=60), st.sampled_from(GOOD), st.from_regex(r"\A[0-9] [a-z]+ \S{1,13} tt[0-9]\Z")
    ),
    ending=st.sampled_from(["\n", "\r\n"]),
    mark=st.sampled_from(["", "\ufeff"]),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_stands_in_a_list_every_line_is_a_video_or_a_fault_and_no_label_changes(
    tmp_path, attempt, position, inserted, ending, mark
):
    lines = [*GOOD[:position], inserted, *GOOD[position:]]
    path = tmp_path / "train.csv"
    path.write_text(mark + ending.join([HEADER, *lines]) + ending, encoding="utf-8", errors="surrogatepass", newline="")
    listing, error = attempt(lambda: read_lvu_list(path, "scene", "train"))
    if listing is None:
        assert error.startswith(f"{path}:")
        return
    written = path.read_bytes().decode("utf-8-sig").split("\n")
    assert len(listing.records) + len(listing.faults) == sum(bool(line.strip()) for line in written) - 1
    for video in listing.records:
        line = written[int(video.where.rsplit(":", 1)[1]) - 1].split()
        assert [str(video.label), LVU_TASKS["scene"].classes[int(video.label)], video.key, video.film] == line
    expected = {line.split()[2]: int(line.split()[0]) for line in GOOD}
    labels = {video.key: video.label for video in listing.records}
    assert all(labels[key] == label for key, label in expected.items() if key in labels)


@given(content=st.binary(max_size=300))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bytes_that_are_no_list_never_crash_the_reader(tmp_path, attempt, content):
    path = tmp_path / "train.csv"
    for start in (b"", HEADER.encode() + b"\n", b"videoid,duration\n"):
        path.write_bytes(start + content)
        for read in (lambda: read_lvu_list(path, "scene", "train"), lambda: read_lvu_durations(path)):
            listing, error = attempt(read)
            assert str(path) in error if listing is None else all(str(path) in str(f) for f in listing.faults)
