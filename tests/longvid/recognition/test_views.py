"""Views: the frames, crops and joins are the authors', written here a second time from their code's description."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from rounding import assert_same_numbers

from longvid.clips.preprocessing import Preprocessing
from longvid.clips.sampling import Sampling
from longvid.errors import ConfigError
from longvid.metrics.proportions import wilson_interval
from longvid.recognition.frame_rules import (
    dense_positions,
    rounded_segment_positions,
    segment_positions,
    span_positions,
)
from longvid.recognition.protocols import PUBLISHED_VIEWS, TEST_PROTOCOLS, find_protocol
from longvid.recognition.scoring import class_accuracies, top_accuracy
from longvid.recognition.views import JOINS, Views, clip_positions, crop_offsets, resized_size, video_views, view_clips
from longvid.video import probe
from longvid.video.numbered import numbered_picture, read_number
from longvid.video.writing import write_video

GOLDEN = Path(__file__).parents[2] / "golden" / "dualformer" / "frame_sampling.json"
LENGTHS = (1, 2, 7, 31, 64, 100, 255, 256, 257, 300, 1000)


def test_views_of_dualformer_hold_the_frames_that_its_own_code_gave():
    cases = json.loads(GOLDEN.read_text())
    assert len(cases) > 5
    for case in cases:
        views = Views(
            rule="centred",
            frames=case["clip_len"],
            step=case["frame_interval"],
            clips=case["num_clips"],
            join="sum-logits",
        )
        assert clip_positions(views, case["total_frames"]).tolist() == case["frame_indices"]


@pytest.mark.parametrize("total", LENGTHS)
def test_views_of_xvit_on_kinetics_hold_the_frames_of_its_formula(total):
    for frames, step, clips in ((16, 16, 1), (8, 32, 1), (16, 16, 2), (16, 16, 3)):
        found = clip_positions(Views(rule="starts", frames=frames, step=step, clips=clips), total)
        for number, clip in enumerate(found.tolist()):
            start = max(total - frames * step, 0) * number / clips
            end = start + frames * step - 1
            expected = [int(min(start + (end - start) * i / (frames - 1), total - 1)) for i in range(frames)]
            assert np.abs(np.subtract(clip, expected)).max() <= 1  # a float may lie a hair below a whole number
            assert (np.subtract(clip, expected) != 0).mean() < 0.2
    assert clip_positions(Views(rule="starts", frames=16, step=16), 300)[0].tolist() == [17 * i for i in range(16)]


@pytest.mark.parametrize("total", LENGTHS)
def test_views_of_xvit_on_something_something_take_middle_start_and_end_of_each_segment(total):
    frames = 16
    found = clip_positions(Views(rule="segments", frames=frames, clips=3), total).tolist()
    size = float(total - 1) / frames
    for i in range(frames):
        start, end = int(np.round(size * i)), int(np.round(size * (i + 1)))
        assert [clip[i] for clip in found] == [(start + end) // 2, start, end]


def test_spread_views_move_through_each_part_by_equal_shares():
    found = clip_positions(Views(rule="spread", frames=8, clips=4), 81)
    assert found.tolist() == [[10 * i + 2 * k for i in range(8)] for k in (1, 2, 3, 4)]
    for total in LENGTHS:
        assert clip_positions(Views(rule="spread", frames=8, clips=4), total).max() < total


@pytest.mark.parametrize("total", LENGTHS)
def test_training_clips_counted_in_frames_lie_where_the_papers_rules_allow(total):
    starts = set()
    for seed in range(60):
        random = np.random.default_rng(seed)
        dense = dense_positions(total, 32, 2, "loop", random)
        start = int(dense[0])
        assert start in range(max(total - 64, 0) + 1)
        starts.add(start)
        assert dense.tolist() == [(start + 2 * i) % total for i in range(32)]
        span = span_positions(total, 16, 16, "repeat", random)
        assert span[0] <= max(total - 256, 0)
        assert span[-1] == min(total - 1, span[-1])
        assert (np.diff(span) >= 0).all()
        if total >= 256:
            assert span[-1] - span[0] in (254, 255, 256)
        rounded = rounded_segment_positions(total, 8, random)
        borders = [round((total - 1) * i / 8) for i in range(9)]
        assert all(borders[i] <= rounded[i] <= borders[i + 1] for i in range(8))
        parts = segment_positions(total, 8, "repeat", random)
        if total >= 8:
            assert (parts // (total // 8)).tolist() == list(range(8))
        assert parts.max() < total
    assert len(starts) > 20 or total < 100


def test_views_of_mmaction_are_cropped_as_its_three_crops_and_centre_crop():
    views = Views(rule="centred", crops=3, clips=1)
    assert resized_size(views, 224, 240, 320) == (224, int(320 * (224 / 240) + 0.5))
    step = (299 - 224) // 2
    assert crop_offsets(views, (224, 299), (224, 224)) == [(0, 0), (0, step), (0, 2 * step)]
    assert crop_offsets(views, (299, 224), (224, 224)) == [(0, 0), (step, 0), (2 * step, 0)]
    centre = Views(rule="centred")
    assert crop_offsets(centre, (224, 299), (224, 224)) == [(0, (299 - 224) // 2)]


def test_views_of_xvit_are_cropped_with_its_own_rounding():
    views = find_protocol("xvit-kinetics-16f")
    assert resized_size(views, 224, 240, 320) == (224, math.floor(320 / 240 * 224))
    assert resized_size(views, 224, 400, 300) == (math.floor(400 / 300 * 224), 224)
    assert crop_offsets(views, (224, 299), (224, 224)) == [(0, 0), (0, math.ceil(75 / 2)), (0, 75)]
    assert crop_offsets(views, (299, 224), (224, 224)) == [(0, 0), (math.ceil(75 / 2), 0), (75, 0)]


def test_scores_of_views_are_joined_by_three_rules_that_can_disagree():
    logits = torch.tensor([[9.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 3.0, 0.0]])
    assert_same_numbers(JOINS["sum-logits"](logits), [9.0, 6.0, 0.0], terms=3)
    assert_same_numbers(JOINS["mean-logits"](logits), [3.0, 2.0, 0.0], terms=3)
    soft = np.exp(logits.numpy()) / np.exp(logits.numpy()).sum(axis=1, keepdims=True)
    assert_same_numbers(JOINS["mean-softmax"](logits), soft.mean(axis=0), terms=9)
    assert int(JOINS["sum-logits"](logits).argmax()) == 0
    assert int(JOINS["mean-softmax"](logits).argmax()) == 1


def test_views_in_seconds_are_centred_in_equal_parts_whatever_the_frame_rate(tmp_path):
    for fps in (10, 24, 30):
        path = write_video(tmp_path / f"{fps}.mp4", (numbered_picture(i, 64, 96) for i in range(4 * fps)), fps=fps)
        views = Views.of(Sampling(frames=4, fps=4), clips=2, crops=3)
        assert [clip.seconds for clip in view_clips(views, probe(path))] == [
            pytest.approx((0.75, 1.75), abs=0.02),
            pytest.approx((2.25, 3.25), abs=0.02),
        ]
        preprocessing = Preprocessing(height=32, width=32, mean=(0, 0, 0), std=(1, 1, 1))
        made, _ = video_views(views, preprocessing, probe(path))
        assert made.shape == (6, 3, 4, 32, 32)
        whole, _ = video_views(
            Views.of(Sampling(frames=4, fps=4), clips=2),
            Preprocessing(32, 48, mean=(0, 0, 0), std=(1, 1, 1)),
            probe(path),
        )
        shown = [
            read_number((frame.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))
            for frame in whole[1].movedim(1, 0)
        ]
        assert shown == [int((2.25 + i / 4) * fps + 1e-6) for i in range(4)]
        left, centre, right = made[:3]
        assert_same_numbers(left, whole[0][..., :32], size=1, terms=4)
        assert_same_numbers(centre, whole[0][..., 8:40], size=1, terms=4)
        assert_same_numbers(right, whole[0][..., 16:], size=1, terms=4)


def test_published_views_name_protocols_encoders_and_sources_that_exist():
    from longvid.encoders.registry import ENCODERS

    for one in PUBLISHED_VIEWS:
        assert one.protocol in TEST_PROTOCOLS
        assert one.encoder in ENCODERS
        assert one.source
        assert 0 < one.top1 < (one.top5 or 100) <= 100


def test_views_that_contradict_themselves_are_refused_in_one_line():
    with pytest.raises(ConfigError, match="fps belongs to rule='seconds'"):
        Views(rule="centred", fps=8)
    with pytest.raises(ConfigError, match=r"Views\.crops=2"):
        Views(rule="centred", crops=2)
    with pytest.raises(ConfigError, match="use up to 3"):
        Views(rule="segments", clips=4)
    with pytest.raises(ConfigError, match="no test protocol 'kinetics'; there are dualformer-kinetics"):
        find_protocol("kinetics")


def test_the_intervals_of_views_are_wilsons():
    # E. B. Wilson's interval for 15 of 20, as R's binom package prints it
    low, high = wilson_interval(15, 20)
    assert low == pytest.approx(0.5313, abs=1e-4)
    assert high == pytest.approx(0.8881, abs=1e-4)
    assert wilson_interval(0, 10)[0] == 0
    assert wilson_interval(10, 10)[1] == pytest.approx(1)
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_the_best_five_classes_of_views_and_each_class_are_counted():
    scores = np.eye(8)[[0, 1, 2, 3]] * 5 + np.arange(8) * 0.1
    labels = np.array([0, 7, 1, 3])
    assert top_accuracy(scores, labels, 1).right == 2
    assert top_accuracy(scores, labels, 5).right == 3
    each = class_accuracies(scores, labels)
    assert [(one.right, one.total) for one in each] == [(1, 1), (0, 1), (0, 0), (1, 1), (0, 0), (0, 0), (0, 0), (0, 1)]
