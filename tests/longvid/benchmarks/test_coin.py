"""COIN.json and its copies are read alike, and a record that cannot be used is named by its line."""

import csv
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from longvid.benchmarks.coin.annotations import NUM_STEPS, NUM_TASKS, read_coin
from longvid.errors import AnnotationError


def test_the_official_sample_has_every_step_of_the_index(official):
    videos = {video.key: video for video in read_coin(official("coin/COIN.sample.json")).checked()}
    assert len(videos) == 14
    with official("coin/coin_index.csv").open() as file:
        index = {row["video_id"]: row for row in csv.DictReader(file)}
    for key, video in videos.items():
        row = index[key]
        assert (video.task, video.task_name) == (int(row["recipe_type"]), row["class"])
        assert row["subset"].startswith(video.split)
        assert [step.number for step in video.steps] == [int(step) for step in row["step_ids"].split()]


def test_tasks_and_steps_are_as_many_as_the_official_taxonomy_names(official):
    for name, count in (("tasks", NUM_TASKS), ("steps", NUM_STEPS)):
        assert len(official(f"coin/taxonomy_{name}.csv").read_text().splitlines()) - 1 == count


def test_a_record_is_read_with_its_part_and_steps_in_seconds(coin_file):
    (video,) = read_coin(coin_file({1: {}})).checked()
    assert (video.key, video.task, video.task_name, video.split) == ("-vid_000001", 78, "MakePaperDice", "train")
    assert (video.start_seconds, video.end_seconds) == (2.0, 28.0)
    assert [(s.number, s.start_seconds, s.end_seconds) for s in video.steps] == [(352, 3.0, 8.0), (350, 8.5, 20.0)]


@pytest.mark.parametrize(
    ("subset", "split"), [("testing", "test"), ("val", "test"), ("validation", "test"), ("train", "train")]
)
def test_every_name_of_the_two_subsets_is_understood(coin_file, subset, split):
    assert read_coin(coin_file({1: {"subset": subset}}, variant=True)).checked()[0].split == split


def test_a_class_that_was_renamed_has_its_new_name(coin_file):
    path = coin_file(
        {1: {"class": "MakeFrenchFried", "recipe_type": 83}, 2: {"class": "MakeFrenchFries", "recipe_type": 83}}
    )
    assert [video.task_name for video in read_coin(path).checked()] == ["MakeFrenchFries"] * 2


FAULTY = [
    ({"recipe_type": 180}, "recipe_type 180 is not a whole number from 0 to 179"),
    ({"recipe_type": "78"}, "recipe_type '78' is not"),
    ({"recipe_type": True}, "recipe_type True is not"),
    ({"class": ""}, "class '' is not a name"),
    ({"class": None}, "class None is not a name"),
    ({"subset": "other"}, "subset 'other' is neither training nor testing"),
    ({"duration": -1}, "duration -1 is not a number of seconds"),
    ({"duration": 10**400}, "is not a number of seconds"),
    ({"start": 28.0}, "start 28 is not before end 28"),
    ({"annotation": {}}, "annotation is not a list"),
    ({"class": "MakeTea"}, "recipe_type 78 is 'MakeTea' here, 78 is 'MakePaperDice'"),
    ({"recipe_type": 79}, "recipe_type 79 is 'MakePaperDice' here, 78 is 'MakePaperDice'"),
]


@pytest.mark.parametrize(("change", "message"), FAULTY, ids=range(len(FAULTY)))
def test_a_record_that_cannot_be_used_is_a_fault_at_its_line_and_the_others_stay(coin_file, change, message):
    path = coin_file({1: {}, 2: change, 3: {}})
    listing = read_coin(path)
    assert [video.key for video in listing.records] == ["-vid_000001", "-vid_000003"]
    (fault,) = listing.faults
    assert message in fault.reason
    line = int(fault.where.removeprefix(f"{path}:"))
    assert '"-vid_000002"' in path.read_text().splitlines()[line - 1]


STEP_FAULTS = [
    ({"id": 212}, "is not a number in quotes"),
    ({"id": "779"}, "is not among the steps 1 to 778"),
    ({"id": "0"}, "is not among the steps"),
    ({"segment": [5, 5]}, "does not start before it ends"),
    ({"segment": [5]}, "is not [start, end]"),
    ({"segment": ["5", "6"]}, "is not a number of seconds"),
    ({"label": " "}, "is not text"),
]


@pytest.mark.parametrize(("change", "message"), STEP_FAULTS, ids=range(len(STEP_FAULTS)))
def test_a_step_that_cannot_be_used_is_a_fault_and_its_video_is_kept_without_it(coin_file, change, message):
    good = {"id": "352", "segment": [3.0, 8.0], "label": "fold"}
    listing = read_coin(coin_file({1: {"annotation": [good, good | change, good]}}))
    assert [step.number for step in listing.records[0].steps] == [352, 352]
    assert message in listing.faults[0].reason
    assert "step 2" in listing.faults[0].reason


def test_a_name_that_is_given_twice_is_not_read_as_either(tmp_path, coin_file):
    path = coin_file({1: {}, 2: {}, 3: {}})
    text = path.read_text().replace("-vid_000003", "-vid_000002").replace('"subset"', '"class": "Other",\n"subset"', 1)
    path.write_text(text)
    listing = read_coin(path)
    assert not listing.records
    assert ["given more than once" in f.reason or "listed more than once" in f.reason for f in listing.faults] == [
        True
    ] * 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "COIN.json:1: cannot be read as JSON"),
        ('{"database": {"a": ', "COIN.json:1: cannot be read as JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"database": []}', "is not a COIN.json"),
        ('{"database": {}}', "is not a COIN.json"),
        ('{"a": 1}', "is not a COIN.json"),
        ("[]", "is not a COIN.json"),
        ("7", "is not a COIN.json"),
    ],
    ids=range(8),
)
def test_a_file_that_is_no_coin_json_is_refused_by_name(tmp_path, content, message):
    (tmp_path / "COIN.json").write_text(content)
    with pytest.raises(AnnotationError, match=message):
        read_coin(tmp_path / "COIN.json")


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=15)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=12), inner, max_size=3)),
    max_leaves=8,
)


@given(
    key=st.one_of(st.text(max_size=20), st.sampled_from(["../../../x", "-vid_000001", "x" * 3000])),
    field=st.sampled_from(["class", "recipe_type", "subset", "duration", "start", "end", "annotation", "more"]),
    value=JSON,
    mark=st.sampled_from(["", "\ufeff"]),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_stands_in_a_record_it_is_a_video_or_a_fault_and_the_others_are_what_they_were(
    coin_file, key, field, value, mark
):
    path = coin_file({1: {}, 2: {}, 3: {}})
    whole = read_coin(path).checked()
    content = json.loads(path.read_text())
    content["database"][key] = content["database"]["-vid_000003"] | {field: value}
    path.write_text(mark + json.dumps(content), encoding="utf-8")
    listing = read_coin(path)
    assert [video for video in listing.records if video.key != key] == [video for video in whole if video.key != key]
    assert any(video.key == key for video in listing.records) or listing.faults
    assert all(fault.where.startswith(f"{path}:") for fault in listing.faults)


@given(content=st.one_of(st.binary(max_size=200), JSON.map(lambda value: json.dumps(value).encode())))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bytes_that_are_no_coin_json_never_crash_the_reader(tmp_path, attempt, content):
    path = tmp_path / "COIN.json"
    path.write_bytes(content)
    listing, error = attempt(lambda: read_coin(path))
    assert listing is not None or str(path) in error
