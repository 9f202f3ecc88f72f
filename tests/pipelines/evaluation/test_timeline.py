"""A timeline ends with the decoder's answer for the whole video, and covers it from start to end."""

import numpy as np
import pytest
import torch
from rounding import rounding

from longvid.decoders import build_decoder
from longvid.errors import DecoderError
from longvid.pipelines.evaluation.timeline import PREFIXES, timeline
from longvid.tasks import Task
from longvid.windows import Windows

ROUNDING = rounding(torch.float32, terms=64, layers=4)
"""Rounding of probabilities, which the decoder computes in float32."""

TASK = Task("t", "classification", ("a", "b"))
DECODER = {"width": 8, "layers": 2, "state_size": 4}


def decoder(**options):
    torch.manual_seed(0)
    return build_decoder("vis4mer", dim=3, outputs=2, max_length=16, **(DECODER | options)).eval()


def video(num_clips: int, num_tokens: int = 2) -> tuple[torch.Tensor, np.ndarray]:
    tokens = torch.randn(num_clips, num_tokens, 3, generator=torch.Generator().manual_seed(1))
    begins = np.arange(num_clips, dtype=float)
    return tokens, np.stack([begins, begins + 1], axis=1)


def along(num_clips: int, windows: Windows, task: Task = TASK, **options):
    tokens, seconds = video(num_clips)
    made = decoder(**options)
    reads: list[tuple[int, int]] = []

    def read(first: int, stop: int) -> torch.Tensor:
        reads.append((first, stop))
        return tokens[first:stop]

    return timeline(made, read, seconds, task=task, windows=windows), made, tokens, reads


@torch.inference_mode()
def answer(made, clips: torch.Tensor) -> np.ndarray:
    return made(clips.flatten(0, 1)[None]).softmax(-1)[0].double().numpy()


@pytest.mark.parametrize("num_clips", [5, 40, 200])
def test_a_whole_video_is_answered_for_ever_longer_beginnings(num_clips):
    line, made, tokens, _ = along(num_clips, Windows())
    assert line.kind == "so far"
    assert len(line.scores) <= PREFIXES
    for row in (0, len(line.scores) // 2, -1):
        np.testing.assert_allclose(
            line.scores[row], answer(made, tokens[: int(line.seconds[row, 1])]), atol=ROUNDING, rtol=0
        )
    assert (line.seconds[0, 0], line.seconds[-1, 1]) == (0, num_clips)
    np.testing.assert_array_equal(line.seconds[1:, 0], line.seconds[:-1, 1])
    np.testing.assert_array_equal(line.total, line.scores[-1])


def test_windows_are_answered_each_on_its_own_and_read_one_at_a_time():
    line, made, tokens, reads = along(10, Windows(clips=4, stride=3))
    assert line.kind == "windows"
    assert reads == [(0, 4), (3, 7), (6, 10)]
    np.testing.assert_array_equal(line.seconds, reads)
    np.testing.assert_allclose(line.scores[1], answer(made, tokens[3:7]), atol=ROUNDING)
    np.testing.assert_allclose(line.total, line.scores.mean(axis=0))


def test_a_short_video_that_is_padded_is_answered_with_its_zeros():
    line, made, tokens, _ = along(5, Windows(clips=8, short="padded"))
    filled = torch.cat([tokens, torch.zeros(3, 2, 3)])
    np.testing.assert_allclose(line.total, answer(made, filled), atol=ROUNDING)


def test_segments_are_picked_as_evaluation_picks_them():
    line, made, tokens, _ = along(9, Windows(segments=4))
    np.testing.assert_allclose(line.total, answer(made, tokens[[0, 2, 4, 6]]), atol=ROUNDING)


def test_a_dense_task_is_answered_clip_by_clip_over_all_windows_that_hold_it():
    task = Task("t", "dense", ("a", "b"))
    line, made, tokens, _ = along(6, Windows(clips=4, stride=2), task, head="steps")
    with torch.inference_mode():
        windows = [made(tokens[first : first + 4].flatten(0, 1)[None])[0].unflatten(0, (4, 2)) for first in (0, 2)]
    by_clip = [window.mean(dim=1).softmax(-1) for window in windows]
    np.testing.assert_allclose(line.scores[0], by_clip[0][0], atol=ROUNDING)
    np.testing.assert_allclose(line.scores[2], (by_clip[0][2] + by_clip[1][0]) / 2, atol=ROUNDING)
    assert line.kind == "clips"
    assert len(line.scores) == 6


def test_a_video_too_short_for_the_decoder_is_an_error_and_not_a_guess():
    with pytest.raises(DecoderError, match="needs at least 4"):
        along(1, Windows())


def test_what_is_written_has_four_digits():
    line, *_ = along(5, Windows())
    written = line.to_dict()
    assert written["scores"][-1] == line.scores[-1].round(4).tolist()
    assert written["seconds"][-1][1] == 5
