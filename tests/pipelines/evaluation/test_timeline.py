"""A timeline ends with what the decoder says to the whole video, and covers it from start to end."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from rounding import rounding

from longvid.decoders import Decoder, build_decoder
from longvid.decoders.part import PartOf
from longvid.decoders.standardise import Standardised
from longvid.errors import DecoderError
from longvid.metrics.items import probabilities
from longvid.pipelines.evaluation.timeline import MOST_ROWS, from_prefixes, so_far, timeline
from longvid.pipelines.training.data import eval_loader
from longvid.pipelines.training.scoring import answers_of, window_scores
from longvid.stores import FeatureStore, Recipe
from longvid.tasks import ManifestRow, Task
from longvid.windows import WindowDataset, Windows

ROUNDING = rounding(torch.float32, terms=64, layers=4)
"""Rounding of probabilities, which the decoder computes in float32."""

TASK = Task("t", "classification", ("a", "b"))
DECODER = {"width": 8, "layers": 2, "state_size": 4}


def decoder(name: str = "vis4mer", **options) -> Decoder:
    torch.manual_seed(0)
    options = (DECODER if name == "vis4mer" else {}) | options
    return build_decoder(name, dim=3, outputs=2, max_length=16, **options).eval()


@pytest.fixture
def video(tmp_path) -> Callable[..., tuple[WindowDataset, torch.Tensor]]:
    """A data set of one stored video with a clip of two tokens a second, and its tokens."""

    def make(num_clips: int, windows: Windows | None = None, **span) -> tuple[WindowDataset, torch.Tensor]:
        recipe = Recipe(
            encoder="toy",
            encoder_config={},
            weights_sha256="0" * 64,
            sampling={"fps": 1},
            preprocessing={},
            pooling="tokens",
            num_tokens=2,
            dim=3,
            dtype="float32",
        )
        store = FeatureStore.create(tmp_path / "toy.zarr", recipe, clips_per_shard=num_clips)
        tokens = torch.randn(num_clips, 2, 3, generator=torch.Generator().manual_seed(1))
        starts = np.arange(num_clips, dtype=float)
        store.plan("v", np.stack([starts, starts + 1], axis=1), {})
        store.write_shard("v", 0, tokens.numpy())
        store.complete("v")
        return WindowDataset(store, [ManifestRow("v", **span)], windows or Windows()), tokens

    return make


def scored(made: Decoder, data: WindowDataset, task: Task = TASK):
    cpu = torch.device("cpu")
    found = window_scores(made, eval_loader(data, 2, workers=0, device=cpu), data, task=task, device=cpu)
    return timeline(made, answers_of(found, data), data)


@torch.inference_mode()
def answer(made, clips: torch.Tensor) -> np.ndarray:
    return made(clips.flatten(0, 1)[None]).softmax(-1)[0].double().numpy()


@pytest.mark.parametrize("num_clips", [5, 40, 200])
def test_a_whole_video_is_answered_for_ever_longer_beginnings(video, num_clips):
    data, tokens = video(num_clips)
    made = decoder()
    line = scored(made, data)
    assert line.kind == "so far"
    assert len(line.scores) <= MOST_ROWS
    for row in (0, len(line.scores) // 2, -1):
        np.testing.assert_allclose(
            line.scores[row], answer(made, tokens[: int(line.seconds[row, 1])]), atol=ROUNDING, rtol=0
        )
    assert (line.seconds[0, 0], line.seconds[-1, 1]) == (0, num_clips)
    np.testing.assert_array_equal(line.seconds[1:, 0], line.seconds[:-1, 1])
    np.testing.assert_array_equal(line.total, line.scores[-1])


def standardised(inner: Decoder) -> Decoder:
    outer = Standardised(inner, 3)
    outer.fit([np.random.default_rng(0).normal(2, 3, (50, 1, 3))])
    return outer


STREAMING = {
    "vis4mer": lambda: decoder(),
    "vis4mer that looks ahead": lambda: decoder(bidirectional=True),
    "global tokens": lambda: decoder("global-tokens", causal=True, segment=8),
    "standardised": lambda: standardised(decoder()),
    "part": lambda: PartOf(standardised(decoder()), 1, 2),
    "gru": lambda: decoder("gru"),
}


@pytest.mark.parametrize("name", STREAMING)
def test_one_pass_gives_the_scores_of_ever_longer_beginnings(video, name):
    data, _ = video(120)
    made = STREAMING[name]().eval()
    kind = "multilabel" if name == "part" else "classification"
    passes: list[int] = []
    made.register_forward_hook(lambda *_: passes.append(1))
    line = so_far(made, data, 0, kind=kind)
    assert bool(passes) == (name in ("vis4mer that looks ahead", "gru")), "who streams makes no whole pass"
    with torch.inference_mode():
        slow = torch.stack(list(from_prefixes(made, data, 0, line.seconds[:, 1].astype(int).tolist())))
    np.testing.assert_allclose(line.scores, probabilities(slow.numpy(), kind), atol=ROUNDING, rtol=0)


def test_only_the_seconds_of_the_row_are_answered(video):
    data, tokens = video(40, start_seconds=10.0, end_seconds=30.0)
    made = decoder()
    line = scored(made, data)
    assert (line.seconds[0, 0], line.seconds[-1, 1]) == (10, 30)
    np.testing.assert_allclose(line.total, answer(made, tokens[10:30]), atol=ROUNDING, rtol=0)


def test_windows_are_answered_each_on_its_own_and_read_once(video, monkeypatch):
    data, tokens = video(10, Windows(clips=4, stride=3))
    made, reads = decoder(), []
    stored = type(data.video(0))
    read = stored.read
    monkeypatch.setattr(stored, "read", lambda self, *clips: reads.append(clips) or read(self, *clips))
    line = scored(made, data)
    assert line.kind == "windows"
    assert reads == [(0, 4), (3, 7), (6, 10)]
    np.testing.assert_array_equal(line.seconds, reads)
    np.testing.assert_allclose(line.scores[1], answer(made, tokens[3:7]), atol=ROUNDING)
    np.testing.assert_allclose(line.total, line.scores.mean(axis=0))


def test_a_short_video_that_is_padded_is_answered_with_its_zeros(video):
    data, tokens = video(5, Windows(clips=8, short="padded"))
    made = decoder()
    filled = torch.cat([tokens, torch.zeros(3, 2, 3)])
    np.testing.assert_allclose(scored(made, data).total, answer(made, filled), atol=ROUNDING)


def test_segments_are_picked_as_evaluation_picks_them(video):
    data, tokens = video(9, Windows(segments=4))
    made = decoder()
    np.testing.assert_allclose(scored(made, data).total, answer(made, tokens[[0, 2, 4, 6]]), atol=ROUNDING)


def test_a_dense_task_is_answered_clip_by_clip_over_all_windows_that_hold_it(video):
    data, tokens = video(6, Windows(clips=4, stride=2))
    made = decoder(head="steps")
    line = scored(made, data, Task("t", "dense", ("a", "b")))
    with torch.inference_mode():
        windows = [made(tokens[first : first + 4].flatten(0, 1)[None])[0].unflatten(0, (4, 2)) for first in (0, 2)]
    by_clip = [window.mean(dim=1).softmax(-1) for window in windows]
    np.testing.assert_allclose(line.scores[0], by_clip[0][0], atol=ROUNDING)
    np.testing.assert_allclose(line.scores[2], (by_clip[0][2] + by_clip[1][0]) / 2, atol=ROUNDING)
    assert line.kind == "clips"
    assert len(line.scores) == 6


def test_a_video_too_short_for_the_decoder_is_an_error_and_not_a_guess(video):
    data, _ = video(1)
    with pytest.raises(DecoderError, match="needs at least 4"):
        scored(decoder(), data)
    with pytest.raises(DecoderError, match="needs at least 4"):
        so_far(decoder(), data, 0, kind="classification")


def test_what_is_written_has_four_digits(video):
    line = scored(decoder(), video(5)[0])
    written = line.to_dict()
    assert written["scores"][-1] == line.scores[-1].round(4).tolist()
    assert written["seconds"][-1][1] == 5
