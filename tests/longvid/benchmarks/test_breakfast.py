"""Breakfast's three names of a video are one-to-one, and its lists and labels are read without a guess."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from longvid.benchmarks.breakfast.annotations import (
    CAMERAS,
    DISHES,
    FOLDS,
    PEOPLE,
    UNITS,
    BreakfastName,
    read_breakfast_list,
    read_bundle,
    read_coarse_labels,
    read_frame_labels,
    read_mapping,
)
from longvid.benchmarks.listing import Unusable
from longvid.errors import AnnotationError

LIST_HEADER = "file_name,duration,action,class_id"


def test_the_official_lists_have_the_published_sizes_and_no_fault(official):
    folder = official("breakfast")
    train, test = read_breakfast_list(folder / "train.csv"), read_breakfast_list(folder / "test.csv")
    assert (len(train.checked()), len(test.checked())) == (1357, 355)
    assert len({video.name.file.rpartition("/")[2] for video in test.records}) == 136  # basenames collide
    folds = {fold: read_bundle(folder / "splits" / f"test.split{fold}.bundle").checked() for fold in FOLDS}
    assert [len(videos) for videos in folds.values()] == [252, 451, 433, 576]
    trained = [len(read_bundle(folder / "splits" / f"train.split{fold}.bundle").checked()) for fold in FOLDS]
    assert trained == [1460, 1261, 1279, 1136]
    for fold, videos in folds.items():
        assert {video.name.person for video in videos} == set(FOLDS[fold])
    listed = {video.name.key for listing in (train, test) for video in listing.records}
    assert listed == {video.name.key for videos in folds.values() for video in videos}
    assert all(BreakfastName.of_label_name(BreakfastName.of_key(key).label_name).key == key for key in listed)


def test_the_official_labels_are_the_48_units(official):
    folder = official("breakfast")
    assert read_mapping(folder / "mapping.txt") == UNITS
    paths = sorted((folder / "groundTruth").glob("*.txt"))
    labels = [read_frame_labels(path) for path in paths]
    assert {label for video in labels for label in video} == set(UNITS)
    assert all(video[0] == "SIL" for video in labels)
    assert len(read_frame_labels(folder / "groundTruth" / "P03_cam01_P03_cereals.txt")) == 832


@given(
    person=st.sampled_from(PEOPLE), camera=st.sampled_from(CAMERAS), dish=st.sampled_from(DISHES), first=st.booleans()
)
def test_a_name_survives_each_of_its_forms(person, camera, dish, first):
    channel = None if camera != "stereo" else "ch0" if first else "ch1"
    name = BreakfastName(person, camera, dish, channel)
    assert BreakfastName.of_key(name.key) == name
    assert name.file == name.key.replace("-", "/")
    if channel != "ch1":
        assert BreakfastName.of_label_name(name.label_name) == name


@pytest.mark.parametrize(
    "text",
    [
        "P47_cereals",
        "P02-cam01-P02_cereals",
        "P03-cam03-P03_cereals",
        "P03-cam01-P04_cereals",
        "P03-cam01-P03_toast",
        "P03-stereo-P03_milk",
        "P03-cam01-P03_milk_ch0",
        "../../P03-cam01-P03_milk",
        "P03-cam01-P03_milk\n",
    ],
)
def test_what_is_no_video_has_no_name(text):
    with pytest.raises(Unusable):
        BreakfastName.of_key(text)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("P03-cam01-P03_tea,46,coffee,1", "shows 'tea', class 2"),
        ("P03-cam01-P03_tea,46,tea,1", "shows 'tea', class 2"),
        ("P03-cam01-P03_tea,0,tea,2", "not a whole number of seconds"),
        ("P03-cam01-P03_tea,46,tea", "has 3 values"),
        ("P03_tea,46,tea,2", "not a name like"),
    ],
)
def test_a_line_of_the_list_that_contradicts_itself_is_a_fault(tmp_path, line, message):
    path = tmp_path / "train.csv"
    path.write_text(f"{LIST_HEADER}\nP03-cam01-P03_milk,46,milk,8\n{line}\n")
    listing = read_breakfast_list(path)
    assert [video.name.dish for video in listing.records] == ["milk"]
    assert listing.faults[0].where == f"{path}:3"
    assert message in listing.faults[0].reason


def test_a_bundle_may_begin_with_its_name_and_hold_folders(tmp_path):
    path = tmp_path / "test.split1.bundle"
    path.write_text(
        "#bundle\n./data/groundTruth/P03_stereo01_P03_milk.txt\r\nP03_cam01_P03_tea.txt\nP03_cam01_P03_tea\n"
    )
    listing = read_bundle(path)
    assert [video.name.key for video in listing.records] == ["P03-stereo-P03_milk_ch0", "P03-cam01-P03_tea"]
    assert "end in .txt" in listing.faults[0].reason


def test_coarse_labels_count_frames_from_one_and_include_both_ends(tmp_path):
    path = tmp_path / "P03_cam01_P03_cereals.txt"
    path.write_text("1-30 SIL  \n31-150 take_bowl  \n")
    spans = read_coarse_labels(path)
    assert [span.seconds for span in spans] == [(0.0, 2.0), (2.0, 10.0)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1-30 SIL\n30-40 take_bowl\n", r"txt:2: starts at frame 30, before .*txt:1 ends"),
        ("0-30 SIL\n", r"txt:1: frames 0-30: the first must be 1 or later"),
        ("30-1 SIL\n", r"txt:1: frames 30-1"),
        ("1-30 sleep\n", r"txt:1: '1-30 sleep' is not"),
        ("SIL\n", r"txt:1: 'SIL' is not"),
    ],
)
def test_coarse_labels_that_make_no_sense_are_refused_by_line(tmp_path, content, message):
    path = tmp_path / "labels.txt"
    path.write_text(content)
    with pytest.raises(AnnotationError, match=message):
        read_coarse_labels(path)


def test_a_frame_label_that_does_not_exist_is_named_by_its_line(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("SIL\nSIL\nslep\n")
    with pytest.raises(AnnotationError, match=r"labels\.txt:3: 'slep' is not one of the 48 labels"):
        read_frame_labels(path)


@pytest.mark.parametrize("content", ["0 SIL\n2 a\n", "0 SIL\n1 SIL\n", "0 SIL\n0 a\n", "SIL 0\n", ""])
def test_a_mapping_that_is_no_numbering_is_refused(tmp_path, content):
    (tmp_path / "mapping.txt").write_text(content)
    with pytest.raises(AnnotationError):
        read_mapping(tmp_path / "mapping.txt")


LINES = [
    f"P{person:02d}-cam01-P{person:02d}_{dish},40,{dish},{DISHES.index(dish)}" for person in (3, 47) for dish in DISHES
]


@given(
    position=st.integers(0, len(LINES)),
    inserted=st.one_of(
        st.text(max_size=60), st.sampled_from(LINES), st.from_regex(r"\AP0[0-9]-cam0[1-3]-P03_[a-z]{3},4,tea,2\Z")
    ),
    ending=st.sampled_from(["\n", "\r\n"]),
    mark=st.sampled_from(["", "\ufeff"]),
)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_stands_in_a_list_every_line_is_a_video_or_a_fault_and_no_label_changes(
    tmp_path, position, inserted, ending, mark
):
    path = tmp_path / "train.csv"
    text = mark + ending.join([LIST_HEADER, *LINES[:position], inserted, *LINES[position:]]) + ending
    path.write_bytes(text.encode(errors="replace"))
    listing = read_breakfast_list(path)
    written = path.read_bytes().decode("utf-8-sig").split("\n")
    assert len(listing.records) + len(listing.faults) == sum(bool(line.strip()) for line in written) - 1
    for video in listing.records:
        assert written[int(video.where.rsplit(":", 1)[1]) - 1].split(",")[0].strip() == video.name.key
    assert {video.name.key for video in listing.records} >= {line.split(",")[0] for line in LINES if line != inserted}


@given(content=st.binary(max_size=200))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bytes_that_are_no_list_never_crash_a_reader(tmp_path, attempt, content):
    path = tmp_path / "file.txt"
    for start in (b"", LIST_HEADER.encode() + b"\n", b"#bundle\n", b"1-2 SIL\n", b"0 SIL\n"):
        path.write_bytes(start + content)
        for read in (read_breakfast_list, read_bundle, read_coarse_labels, read_mapping, read_frame_labels):
            listing, error = attempt(lambda read=read: read(path))
            assert listing is not None or str(path) in error
