"""Training clips: the frames are the file's own at the seconds that they say, the same for any number of workers."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from longvid.clips.preprocessing import Preprocessing
from longvid.clips.sampling import Sampling
from longvid.errors import AnnotationError, ConfigError, VideoNotFound
from longvid.recognition import Augmentation, TrainingClips, TrainingSampling, collate_clips, normalised
from longvid.recognition.labels import refuse_flips, refuse_misfit
from longvid.tasks import ManifestRow, Task
from longvid.video import probe
from longvid.video.numbered import numbered_picture, read_number
from longvid.video.writing import write_video

FRAMES = 60
PREPROCESSING = Preprocessing(height=32, width=40)
TASK = Task("kind", "classification", ("a", "b"))


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Three videos whose pictures carry their number: 30, 10 and an uneven number of frames per second."""
    folder = tmp_path_factory.mktemp("videos")
    uneven = np.cumsum(np.random.default_rng(5).choice([20, 33, 40, 120], FRAMES)) / 1000
    rates = {"fast": {"fps": 30}, "slow": {"fps": 10}, "uneven": {"seconds": uneven}}
    for name, options in rates.items():
        write_video(folder / f"{name}.mp4", (numbered_picture(i, 64, 80) for i in range(FRAMES)), **options)
    labels = dict(zip(rates, "aba", strict=True))
    return tuple(ManifestRow(name, "train", labels[name], str(folder / f"{name}.mp4")) for name in rates)


def numbers(clip):
    return [read_number(frame) for frame in clip.permute(1, 2, 3, 0).numpy()]


def test_training_clips_show_the_frames_that_are_on_screen_at_their_seconds(rows):
    clips = TrainingClips(rows, TrainingSampling(frames=6, fps=8), PREPROCESSING, labels=TASK, seed=3)
    for index, row in enumerate(rows):
        seconds = probe(str(row.path)).measured.frame_seconds
        item = clips[index]
        start, end = item["seconds"]
        assert end - start == pytest.approx(6 / 8)
        instants = start + np.arange(6) / 8
        assert numbers(item["clip"]) == (np.searchsorted(seconds, instants + 1e-6, side="right") - 1).tolist()
        assert item["clip"].shape == (3, 6, 32, 40)
        assert item["label"] == (0, 1, 0)[index]


def test_training_clips_of_two_workers_are_those_of_none_and_change_with_the_epoch(rows):
    augment = Augmentation(policy="rand-augment", colour=0.4, erase=0.5, erase_with="noise")
    made = {}
    for workers in (0, 2):
        clips = TrainingClips(rows, TrainingSampling(frames=4, fps=8), PREPROCESSING, augment, TASK, seed=1)
        loader = DataLoader(clips, 2, num_workers=workers, collate_fn=collate_clips, persistent_workers=workers > 0)
        made[workers] = []
        for epoch in (0, 1):
            clips.set_epoch(epoch)
            made[workers].append(torch.cat([batch["clip"] for batch in loader]))
    for alone, together in zip(made[0], made[2], strict=True):
        assert torch.equal(alone, together)
    assert not torch.equal(made[0][0], made[0][1])


def test_a_damaged_or_missing_file_is_named_and_no_other_clip_takes_its_place(rows, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"this is not a video" * 50)
    listed = (
        rows[0],
        ManifestRow("broken", "train", "b", str(broken)),
        ManifestRow("gone", "train", "b", "/no/file.mp4"),
    )
    clips = TrainingClips(listed, TrainingSampling(frames=4, fps=8), PREPROCESSING, labels=TASK)
    batch = collate_clips([clips[index] for index in range(3)])
    assert batch["key"] == ["fast"]
    assert len(batch["clip"]) == 1
    assert [key for key, _ in batch["lost"]] == ["broken", "gone"]
    assert all("\n" not in reason for _, reason in batch["lost"])
    assert "broken.mp4" in batch["lost"][0][1]
    with pytest.raises(VideoNotFound):
        clips.read(2)
    nothing = collate_clips([clips[1]])
    assert len(nothing["clip"]) == len(nothing["label"]) == 0


def test_clips_at_given_seconds_are_those_of_a_plan_whatever_their_number_of_frames(rows):
    sampling = Sampling(frames=4, fps=8)
    clips = TrainingClips(rows, sampling, PREPROCESSING)
    for row in rows:
        plan = sampling.plan_video(probe(str(row.path)))
        for instants, (start, end) in zip(plan.frame_seconds, plan.seconds, strict=True):
            clip, seconds = clips.clip_at(row, start)
            assert seconds == pytest.approx((start, end))
            shown = np.searchsorted(probe(str(row.path)).measured.frame_seconds, instants + 1e-6, side="right") - 1
            assert numbers(clip) == np.maximum(shown, 0).tolist()
    twice = TrainingClips(rows, Sampling(frames=8, fps=99), PREPROCESSING)
    clip, seconds = twice.clip_at(rows[0], 0.5, 1.0)
    assert seconds == pytest.approx((0.5, 1.0))
    assert numbers(clip)[::2] == numbers(clips.clip_at(rows[0], 0.5)[0])


def test_training_clips_are_what_the_encoder_sees_when_nothing_is_augmented(rows):
    from longvid.clips import iter_clips

    sampling = Sampling(frames=4, fps=8)
    video = probe(str(rows[0].path))
    expected = next(iter(iter_clips(video, sampling.plan_video(video), PREPROCESSING)))
    clip, _ = TrainingClips(rows, sampling, PREPROCESSING).clip_at(rows[0], 0.0)
    assert torch.equal(clip, torch.from_numpy(expected).permute(3, 0, 1, 2))
    wanted = PREPROCESSING.normalise(torch.from_numpy(expected)[None])
    assert torch.allclose(normalised(clip[None], PREPROCESSING), wanted, atol=1e-6)


def test_repeated_augmentation_decodes_once_and_gives_two_different_clips(rows, monkeypatch):
    from longvid.recognition import dataset

    decodings = []
    decode = dataset.decoded_frames
    monkeypatch.setattr(dataset, "decoded_frames", lambda *given: decodings.append(given) or decode(*given))
    clips = TrainingClips(rows, TrainingSampling(frames=4, fps=8), PREPROCESSING, Augmentation(repeats=2), labels=TASK)
    batch = collate_clips([clips[0], clips[1]])
    assert len(decodings) == 2
    assert batch["clip"].shape == (4, 3, 4, 32, 40)
    assert batch["label"].tolist() == [0, 0, 1, 1]
    assert batch["key"] == ["fast", "fast", "slow", "slow"]
    assert not torch.equal(batch["clip"][0], batch["clip"][1])


def test_clips_stay_within_the_part_that_the_manifest_lists(rows):
    row = dataclasses.replace(rows[0], start_seconds=0.5, end_seconds=1.2)
    for seed in range(8):
        for sampling in (TrainingSampling(frames=4, fps=8), TrainingSampling(frames=4, step=3)):
            clip, (start, end) = TrainingClips([row], sampling, PREPROCESSING, seed=seed).read(0)
            assert start >= 0.5 - 1e-9
            assert end <= 1.2 + 1e-9
            assert min(numbers(clip)) >= 15
            assert max(numbers(clip)) <= 35


def test_a_flip_is_refused_for_clips_of_a_task_that_tells_left_from_right(rows):
    task = Task("way", "classification", ("Pulling from left to right", "Pulling from right to left"))
    listed = [dataclasses.replace(rows[0], label=1)]
    with pytest.raises(ConfigError, match=r"flip=0\.5: a mirrored clip of class 'Pulling .* and 1 more .*set flip=0"):
        TrainingClips(listed, TrainingSampling(fps=8), PREPROCESSING, Augmentation(), task)
    assert len(TrainingClips(listed, TrainingSampling(fps=8), PREPROCESSING, Augmentation(flip=0), task)) == 1
    refuse_flips(0.5, ["upright bass", "copyrighting", "leftovers", "brightening"])
    for name in ("left", "up-left", "turning_right", "rotating clockwise", "anticlockwise", "moving rightwards"):
        with pytest.raises(ConfigError, match="set flip=0"):
            refuse_flips(0.5, [name])


def test_labels_that_do_not_fit_the_training_clips_are_refused_before_a_video_is_opened(rows):
    listed = [rows[0], ManifestRow("other", "train", "c", "/no/such/file.mp4", source="videos.csv:7")]
    with pytest.raises(AnnotationError, match=r"videos\.csv:7: 'c' is not a class of task 'kind'"):
        TrainingClips(listed, TrainingSampling(fps=8), PREPROCESSING, labels=TASK)
    with pytest.raises(AnnotationError, match="'x': has no path"):
        TrainingClips([ManifestRow("x", "train", "a")], TrainingSampling(fps=8), PREPROCESSING, labels=TASK)
    with pytest.raises(AnnotationError, match=r"k400\.pth: its head has 400 classes, the labels have 2"):
        refuse_misfit(TASK, 400, "k400.pth")
    with pytest.raises(AnnotationError, match="its class 0 is 'b', the labels' is 'a'"):
        refuse_misfit(TASK, 2, "k400.pth", names=("b", "a"))
