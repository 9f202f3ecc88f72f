"""Every sampled frame is the one on screen, for every kind of file and every backend."""

import gc
import re
import weakref

import numpy as np
import pytest

from longvid.clips import iter_clips
from longvid.clips.preprocessing import Preprocessing
from longvid.clips.reading import _gathered
from longvid.clips.sampling import Sampling
from longvid.errors import UnreadableVideo
from longvid.video import iter_frames, probe
from longvid.video.backends import pyav
from longvid.video.numbered import read_number


class CountedFrame(np.ndarray):
    """An array that can be watched by a weak reference set."""

    __hash__ = object.__hash__


def on_screen(truth, seconds):
    """The slow, obvious rule: the last frame that began by then, or the first."""
    numbers = []
    for instant in seconds:
        began = [number for number, begin in zip(truth.numbers, truth.seconds, strict=True) if begin <= instant]
        numbers.append(began[-1] if began else truth.numbers[0])
    return numbers


def numbers_of(video, seconds, **options):
    return [read_number(frame) for frame in iter_frames(video, seconds, height=48, width=60, **options)]


def middles(truth):
    """An instant within each frame's time, far from its ends."""
    return truth.seconds + np.diff(truth.seconds, append=truth.seconds[-1] + 0.02) / 2


def test_all_frames_come_out_in_order(truth, backend):
    try:
        numbers, refusal = numbers_of(truth.path, middles(truth), backend=backend), ""
    except UnreadableVideo as error:
        numbers, refusal = truth.numbers, str(error)
    assert numbers == truth.numbers
    assert not refusal or truth.refused_by.get(backend, "no reason would do") in refusal


def test_frames_at_random_instants_are_those_on_screen(truth, backend):
    if backend in truth.refused_by:
        pytest.skip(f"{backend} may refuse this file, see test_all_frames_come_out_in_order")
    video, rng = probe(truth.path), np.random.default_rng(1)
    for count in (1, 1, 2, 5, 20):
        instants = np.sort(rng.choice(middles(truth), count))
        assert numbers_of(video, instants, backend=backend) == on_screen(truth, instants), instants


def test_a_frame_is_on_screen_from_the_very_instant_it_begins(truth):
    video = probe(truth.path)
    begins = video.measured.frame_seconds
    assert numbers_of(video, begins) == truth.numbers
    just_before = begins[1:] - 1e-4
    assert numbers_of(video, just_before) == truth.numbers[:-1]


def test_before_the_first_frame_begins_it_is_the_first(make_video):
    assert numbers_of(make_video("late.mp4").path, np.array([0.0, 4.9, 5.0])) == [0, 0, 0]


def test_an_instant_beyond_the_end_is_refused(make_video):
    path = make_video("steady.mp4").path
    with pytest.raises(ValueError, match=re.escape("2.5 s lies beyond the end of the video (2.0 s)")):
        numbers_of(path, np.array([1.0, 2.5]))


def test_instants_out_of_order_are_refused(make_video):
    with pytest.raises(ValueError, match="never decrease"):
        numbers_of(make_video("steady.mp4").path, np.array([1.0, 0.5]))


def test_repeated_instants_repeat_the_frame_and_no_instants_give_none(make_video):
    path = make_video("steady.mp4").path
    assert numbers_of(path, np.array([0.5, 0.5, 0.51, 1.0])) == [15, 15, 15, 30]
    assert numbers_of(path, np.zeros(0)) == []


def test_frames_have_the_asked_size_and_type(make_video, backend):
    for interpolation in ("bilinear", "bicubic", "area", "nearest"):
        frames = list(
            iter_frames(
                make_video("rotated90.mp4").path,
                np.array([0.0, 0.2]),
                height=41,
                width=73,
                interpolation=interpolation,
                backend=backend,
            )
        )
        assert [frame.shape for frame in frames] == [(41, 73, 3)] * 2
        assert {frame.dtype for frame in frames} == {np.dtype(np.uint8)}
        assert [read_number(frame) for frame in frames] == [0, 6]


def test_more_threads_give_the_same_frames(make_video):
    for name in ("steady.mp4", "hevc.mp4", "vp9.webm"):
        truth = make_video(name)
        for instants in (truth.seconds + 0.01, truth.seconds[::7] + 0.01):
            one, three = (
                list(iter_frames(truth.path, instants, height=48, width=60, num_threads=count)) for count in (1, 3)
            )
            assert np.array_equal(one, three), name


@pytest.mark.parametrize(
    "sampling", [Sampling(4, 5, 0.3), Sampling(8, 10, 0.25), Sampling(3, 2, 0.5), Sampling(5, None, 0.2)]
)
def test_clips_hold_the_frames_of_their_plan_where_they_overlap_too(make_video, backend, sampling):
    truth = make_video("variable.mkv")
    video = probe(truth.path)
    plan = sampling.plan_video(video)
    clips = list(iter_clips(video, plan, Preprocessing(height=32, width=40), backend=backend))
    assert len(clips) == len(plan) > 5
    for clip, instants in zip(clips, plan.frame_seconds, strict=True):
        assert clip.shape == (sampling.frames, 32, 40, 3)
        assert [read_number(frame) for frame in clip] == on_screen(truth, instants + 1e-6)


def test_segments_of_a_plan_give_the_very_clips_of_the_whole(make_video):
    for name in ("steady.mp4", "variable.mp4", "mpeg4_b_frames.avi", "transport.ts", "hevc.mp4"):
        video = probe(make_video(name).path)
        plan = Sampling(4, 10, 0.2).plan_video(video)
        preprocessing = Preprocessing(height=32, width=40)
        whole = np.stack(list(iter_clips(video, plan, preprocessing)))
        parts = [
            clip
            for begin in range(0, len(plan), 3)
            for clip in iter_clips(video, plan[begin : begin + 3], preprocessing)
        ]
        assert np.array_equal(whole, parts), name


def test_the_centre_is_cropped_after_the_short_side_is_resized(make_video):
    video = probe(make_video("steady.mp4").path)
    plan = Sampling().plan_video(video)
    cropped = next(iter_clips(video, plan, Preprocessing(height=48, width=48)))
    whole = next(iter_frames(video, plan.frame_seconds[0], height=48, width=60))
    assert np.array_equal(cropped[0], whole[:, 6:54])


def test_clips_come_one_by_one_while_the_video_is_read(make_video):
    """Memory does not grow with the length only if a clip is out before the frames after it are decoded."""
    video = probe(make_video("steady.mp4").path)
    plan = Sampling(2, 10, 0.2).plan_video(video)
    clips = iter_clips(video, plan, Preprocessing(height=32, width=40))
    first = next(clips)
    clips.close()
    assert [read_number(frame) for frame in first] == [0, 3]


def test_frames_are_let_go_when_no_later_clip_needs_them():
    """The obvious bound: never more than the frames between the start and the end of one clip."""
    alive = weakref.WeakSet()

    def frames():
        for index in range(2000):
            frame = np.zeros((2, 2, 3), np.uint8).view(CountedFrame)
            alive.add(frame)
            most.append(len(alive))
            yield index, frame
            del frame

    most: list[int] = []
    indices = np.arange(0, 1900, 5)[:, None] + np.arange(0, 48, 3)
    assert sum(1 for _ in _gathered(indices, frames(), np.stack)) == len(indices)
    assert max(most) <= 48 + 1


def test_a_film_with_many_jumps_leaves_nothing_to_the_garbage_collector(make_video):
    """Each jump ends a run of decoding; kept until a collection, runs hold a full-size picture each."""
    gc.collect()
    gc.disable()
    try:
        instants = np.arange(0, 2, 0.2)
        assert numbers_of(make_video("steady.mp4").path, instants, backend="pyav") == list(range(0, 60, 6))
        runs = [thing for thing in gc.get_objects() if type(thing) is pyav._Run and thing._pictures.gi_frame]
    finally:
        gc.enable()
    assert runs == []


def test_clips_out_of_order_are_refused(make_video):
    video = probe(make_video("steady.mp4").path)
    plan = Sampling(2, 10, 0.5).plan_video(video)
    with pytest.raises(ValueError, match="clips in the order of their starts"):
        iter_clips(video, plan[::-1], Preprocessing(height=32, width=40))


def test_a_path_and_its_probe_read_alike(make_video):
    path = make_video("late.mkv").path
    instants = np.array([5.1, 6.2])
    assert numbers_of(str(path), instants) == numbers_of(path, instants) == numbers_of(probe(path), instants) == [3, 36]
