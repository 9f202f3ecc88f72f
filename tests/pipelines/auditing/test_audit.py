"""An audit tells the truth about data whose truth is known: how long it is, and whether order is needed."""

import json

import numpy as np
import pytest

from longvid.pipelines.auditing.context import Part, ProbeSettings, context_of
from longvid.pipelines.auditing.features import ClipFeatures
from longvid.pipelines.auditing.noise import noise_of
from longvid.tasks import ManifestRow, Task

CLIPS, SECONDS = 16, 2.0
TASK = Task("order", "classification", ("a-then-b", "b-then-a"))


def two_events(count: int, split: str, seed: int) -> Part:
    """Two events, six clips apart, somewhere in every video; the class is their order."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    clips = []
    for label in labels:
        own = 0.1 * rng.standard_normal((CLIPS, 4)).astype(np.float32)
        first = rng.integers(0, CLIPS - 6)
        own[first, label] += 3
        own[first + 6, 1 - label] += 3
        clips.append(own)
    starts = SECONDS * np.arange(CLIPS)
    rows = tuple(ManifestRow(f"{split}-{n}", split, TASK.classes[label]) for n, label in enumerate(labels))
    seconds = tuple(np.stack([starts, starts + SECONDS], axis=1) for _ in rows)
    return Part(ClipFeatures(rows, tuple(clips), seconds), labels)


@pytest.fixture(scope="module")
def context():
    parts = [
        two_events(count, split, seed)
        for seed, (split, count) in enumerate((("train", 200), ("val", 40), ("test", 60)))
    ]
    return context_of(*parts, TASK, probe=ProbeSettings(steps=250, check_every=50))


def test_pooled_features_are_at_chance_and_order_is_needed(context):
    whole = context.points[-1]
    assert whole.probe.value > 0.9
    assert whole.linear.interval.holds(0.5)
    assert whole.shuffled.value < 0.75
    assert whole.reversed.value < 0.2
    assert context.order.low > 0
    assert not context.pooled_beyond_constant.low > 0
    assert any("cannot tell that from chance" in line for line in context.verdicts)


def test_the_seconds_that_are_needed_are_the_distance_of_the_two_events(context):
    along = next(reach for reach in context.reaches if reach.reading == "whole video")
    assert along.model == "probe"
    assert along.above_seconds < 7 * SECONDS <= along.at_most_seconds  # both events: seven clips
    assert along.above_seconds <= along.seconds <= along.at_most_seconds


def test_the_noise_of_a_test_is_that_of_its_size():
    found = noise_of(TASK, 42, 0.5)
    assert found.points_per_video == pytest.approx(100 / 42)
    assert found.independent_points == pytest.approx(196 * np.sqrt(0.5 / 42))
    assert found.published is None
    known = noise_of(Task("lvu/relationship", "classification", ("a", "b")), 42, None)
    assert known.published_interval is None or known.published_interval.low < known.at < known.published_interval.high


def test_the_command_prints_a_page_a_table_and_json(make_data, command):
    data = make_data({"train": 12, "val": 6, "test": 8})
    words = ["audit", str(data / "features.zarr"), str(data / "manifest.jsonl"), "--steps", "4"]
    status, out, _ = command(*words, "--page", str(data / "audit.html"))
    assert status in (0, 1)
    assert "accuracy against seconds" in out
    assert "8 test videos: one video moves an accuracy by 12.5 points." in out
    html = (data / "audit.html").read_text("utf-8")
    assert html.count('class="chart normal"') == 2
    assert "How clean is it?" in html
    _, out, _ = command(*words, "--json")
    values = json.loads(out)
    assert [point["clips"] for point in values["context"]["points"]] == [1, 2, 4, 8, None]
    assert values["videos"] == {"train": 12, "val": 6, "test": 8}
