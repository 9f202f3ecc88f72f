"""Videos that were re-encoded, cropped and shifted are found again by their features, and no others.

The whole size, 20 copies among 400 videos that nothing was tuned on, takes five minutes:
pytest -m slow tests/pipelines/auditing/test_copies.py
"""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from longvid.pipelines.auditing.duplicates import calibrated, find_copies, stretch_clips
from longvid.pipelines.auditing.features import ClipFeatures, Reducer
from longvid.pipelines.demo.run import ENCODER
from longvid.pipelines.demo.videos import CLASSES, FRAMES_PER_SECOND, encode, encode_all, write_scripts
from longvid.pipelines.extraction import VideoRequest, extract
from longvid.stores import FeatureStore
from longvid.tasks import ManifestRow


def copy_of(path: Path, out: Path, *, crop: bool, shift: bool) -> Path:
    """The video decoded, cropped by 5 % on each side, without its first three seconds, and encoded again, coarsely."""
    with av.open(str(path)) as source, av.open(str(out), "w") as target:
        stream = target.add_stream("libx264", rate=FRAMES_PER_SECOND, options={"crf": "34", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.time_base = Fraction(1, FRAMES_PER_SECOND)
        for number, frame in enumerate(source.decode(video=0)):
            if shift and number < 3 * FRAMES_PER_SECOND:
                continue
            pixels = frame.to_ndarray(format="rgb24")
            shown = np.ascontiguousarray(pixels[5:91, 6:122]) if crop else pixels
            drawn = av.VideoFrame.from_ndarray(shown, format="rgb24").reformat(128, 96, "yuv420p")
            target.mux(stream.encode(drawn))
        target.mux(stream.encode())
    return out


@pytest.mark.parametrize(
    ("videos", "copies", "most_seconds", "seed"),
    [
        (24, 4, 30.0, 0),
        pytest.param(400, 20, None, 20_261, marks=[pytest.mark.slow, pytest.mark.timeout(3600)]),
    ],
    ids=["few", "20 of 400"],
)
def test_planted_copies_are_found_and_nothing_else_is(tmp_path, videos, copies, most_seconds, seed):
    scripts = write_scripts(videos, seed=seed)
    if most_seconds is not None:  # shorter videos: the same events, earlier
        scripts = [
            replace(s, length_seconds=most_seconds, red_seconds=s.red_seconds % 24, blue_seconds=s.blue_seconds % 24)
            for s in scripts
        ]
    folder = tmp_path / "videos"
    folder.mkdir()
    paths = encode_all(scripts, folder, processes=2) if videos > 100 else [encode(one, folder) for one in scripts]
    chosen = [(number * (videos // copies // 2), number % 2 == 0, number % 3 != 1) for number in range(copies)]
    planted = [
        copy_of(paths[at], folder / f"copy-of-{at:03d}.mp4", crop=crop, shift=shift) for at, crop, shift in chosen
    ]
    requests = [VideoRequest(path.stem, str(path)) for path in [*paths, *planted]]
    extract(requests, ENCODER, tmp_path / "features.zarr", scheduler="serial", report_path=tmp_path / "report.jsonl")
    store = FeatureStore.open(tmp_path / "features.zarr")
    label = {script.name: CLASSES[script.class_index] for script in scripts}
    half = videos // 2
    train_rows = [ManifestRow(one.name, "train", label[one.name]) for one in scripts[:half]]
    test_rows = [ManifestRow(one.name, "test", label[one.name]) for one in scripts[half:]]
    test_rows += [ManifestRow(path.stem, "test", label[f"video-{path.stem[-3:]}"]) for path in planted]
    reducer = Reducer(store, train_rows)
    train, test = reducer.read(store, train_rows), reducer.read(store, test_rows)
    clips = stretch_clips([train, test])
    threshold = calibrated(test, train, clips=clips, column="label")
    assert threshold is not None
    assert threshold.known_by == "label"
    found = find_copies(test, train, threshold, clips=clips, splits=("test", "train"), column="label")
    pairs = {(match.key, match.other) for match in found.matches}
    wanted = {(path.stem, f"video-{path.stem[-3:]}") for path in planted}
    assert len(pairs & wanted) >= 0.95 * len(wanted)
    assert len(pairs & wanted) >= 0.95 * len(pairs)
    for match in found.matches:
        shifted = next((shift for at, _, shift in chosen if match.key == f"copy-of-{at:03d}"), None)
        if (match.key, match.other) in wanted:
            assert match.other_start_seconds - match.start_seconds == pytest.approx(3.0 if shifted else 0.0, abs=0.51)
            assert match.same_label


def features(rng: np.random.Generator, count: int, labels: int, split: str) -> ClipFeatures:
    """Videos of smooth random features, two seconds a clip."""
    rows = tuple(ManifestRow(f"{split}-{n}", split, f"class-{n % labels}") for n in range(count))
    clips = tuple(rng.standard_normal((40, 8)).cumsum(axis=0).astype(np.float32) / 4 for _ in rows)
    starts = 2.0 * np.arange(40)
    return ClipFeatures(rows, clips, tuple(np.stack([starts, starts + 2], axis=1) for _ in rows))


def test_half_a_minute_of_another_video_is_found_with_its_seconds_on_both_sides():
    rng = np.random.default_rng(0)
    train, test = features(rng, 30, 3, "train"), features(rng, 20, 3, "test")
    test.clips[4][20:35] = train.clips[11][5:20] + 0.02 * rng.standard_normal((15, 8))
    clips = stretch_clips([train, test])
    threshold = calibrated(test, train, clips=clips, column="label")
    (match,) = find_copies(test, train, threshold, clips=clips, splits=("test", "train"), column="label").matches
    assert (match.key, match.other, match.found_by) == ("test-4", "train-11", "run")
    assert (match.start_seconds, match.end_seconds) == pytest.approx((40.0, 70.0), abs=4)
    assert match.other_start_seconds - match.start_seconds == -30.0
    assert match.same_label is False


def test_two_copies_within_a_split_are_one_pair_and_a_video_is_no_copy_of_itself():
    rng = np.random.default_rng(1)
    train = features(rng, 30, 3, "train")
    train.clips[7][:] = train.clips[1] + 0.02 * rng.standard_normal((40, 8))
    threshold = calibrated(train, train, clips=4, column="label")
    (match,) = find_copies(train, train, threshold, clips=4, splits=("train", "train"), column="label").matches
    assert {match.key, match.other} == {"train-1", "train-7"}


def test_without_videos_that_are_known_to_differ_there_is_no_threshold():
    alike = features(np.random.default_rng(2), 6, 1, "train")
    assert calibrated(alike, alike, clips=4, column="label") is None
