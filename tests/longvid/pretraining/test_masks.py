"""Masks are LV-MAE's, or spans; the guesses beside a loss are what they say."""

import numpy as np
import pytest
import torch

from longvid.errors import ConfigError
from longvid.pretraining.masks import draw_mask, repeated, semantic_scores, shortest_maskable, span_mask
from longvid.pretraining.objective import (
    ClipStatistics,
    Objective,
    between_neighbours,
    error,
    masked_guesses,
    masked_mean,
    over_channels,
    past_guesses,
    store_mean,
    targets_of,
)


@pytest.mark.parametrize("kind", ["random", "semantic", "spans"])
@pytest.mark.parametrize(("length", "ratio", "kept"), [(10, 0.5, 5), (7, 0.4, 4), (256, 0.7, 76), (2, 0.5, 1)])
def test_a_mask_leaves_the_same_number_of_clips_as_lv_mae(kind, length, ratio, kept):
    clips = np.random.default_rng(1).standard_normal((length, 8)).astype(np.float32)
    masks = [
        draw_mask(clips, kind=kind, ratio=ratio, mean_span=4, rng=np.random.default_rng(seed)) for seed in (3, 3, 4)
    ]
    assert all((~mask).sum() == kept for mask in masks)
    assert (masks[0] == masks[1]).all()
    if length > 100:
        assert (masks[0] == masks[2]).all() == (kind == "semantic")


def test_the_semantic_mask_hides_the_clips_most_like_the_clip_before():
    calm, sudden = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    clips = np.stack([calm, calm, calm, sudden, sudden, calm])
    assert semantic_scores(clips).tolist() == [0, 1, 1, 0, 1, 0]
    masked = draw_mask(clips, kind="semantic", ratio=0.5, mean_span=1, rng=np.random.default_rng(0))
    assert masked.tolist() == [False, True, True, False, True, False]


def test_spans_hide_longer_stretches_than_random_masks():
    def mean_run(masked: np.ndarray) -> float:
        return masked.sum() / ((masked[1:] & ~masked[:-1]).sum() + masked[0])

    rng = np.random.default_rng(0)
    spans = np.mean([mean_run(span_mask(200, 0.5, 8, rng)) for _ in range(20)])
    apart = np.mean(
        [mean_run(draw_mask(np.ones((200, 1)), kind="random", ratio=0.5, mean_span=1, rng=rng)) for _ in range(20)]
    )
    assert spans > 2 * apart


def test_the_shortest_maskable_window_keeps_and_hides_a_clip():
    assert [shortest_maskable(ratio) for ratio in (0.5, 0.7, 0.9, 0.1)] == [2, 4, 11, 2]  # int(10 * (1 - 0.9)) is 0


def test_only_very_short_windows_are_repeated():
    assert len(repeated(np.zeros((4, 2)), 5)) == 12
    assert len(repeated(np.zeros((5, 2)), 5)) == 5


def test_a_line_between_visible_neighbours_is_exact_for_features_that_move_evenly():
    line = torch.arange(8.0).expand(2, 8)[..., None]
    visible = torch.tensor([[1, 0, 0, 1, 0, 1, 0, 1], [0, 0, 1, 0, 0, 1, 0, 0]], dtype=torch.bool)
    found = between_neighbours(line, visible)
    assert torch.equal(found[0], line[0])
    assert found[1, :, 0].tolist() == [2, 2, 2, 3, 4, 5, 5, 5]


def test_guesses_see_visible_clips_alone():
    target = torch.tensor([[[1.0], [100.0], [3.0], [7.0]]])
    masked = torch.tensor([[False, True, False, False]])
    guesses = masked_guesses(target, masked, torch.tensor([3]), torch.tensor([5.0]))
    assert {name: guess[0, 1].item() for name, guess in guesses.items()} == {
        "store mean": 5,
        "visible mean": 2,
        "interpolation": 2,
    }


def test_guesses_of_what_comes_see_the_past_alone():
    target = torch.tensor([[[1.0], [3.0], [100.0]]])
    guesses = past_guesses(target, torch.tensor([5.0]))
    assert {name: guess[0, 1].item() for name, guess in guesses.items()} == {
        "store mean": 5,
        "mean so far": 2,
        "last clip": 3,
    }


def test_losses_ignore_what_is_not_masked_even_nan():
    values, counted = torch.tensor([1.0, torch.nan, 3.0]), torch.tensor([True, False, True])
    assert masked_mean(values, counted) == 2
    a, b = torch.randn(5, 8, dtype=torch.float64), torch.randn(5, 8, dtype=torch.float64)
    assert torch.allclose(error(3 * a, a, "cosine"), torch.zeros(5, dtype=torch.float64), atol=1e-9)
    assert torch.allclose(error(a, b, "mse"), ((a - b) ** 2).sum(1) / 8)


def test_targets_are_what_their_names_say():
    clips = 5 + 3 * torch.randn(2, 500, 4, dtype=torch.float64)
    flat = clips.flatten(0, 1)
    units = flat / flat.norm(dim=1, keepdim=True)
    statistics = ClipStatistics(flat.mean(0), flat.std(0, correction=0), units.mean(0))
    standardised = targets_of(clips, Objective(), statistics).flatten(0, 1)
    assert torch.allclose(standardised.mean(0), torch.zeros(4, dtype=torch.float64), atol=1e-9)
    assert torch.allclose(standardised.std(0, correction=0), torch.ones(4, dtype=torch.float64))
    unit = targets_of(clips, Objective(target="unit-length"), statistics).flatten(0, 1)
    assert torch.allclose(unit, units)
    assert torch.allclose(store_mean(Objective(target="unit-length"), statistics), unit.mean(0))
    channels = targets_of(clips, Objective(target="unit-length", loss="channel-mse"), statistics)
    assert torch.equal(channels, over_channels(unit.view(2, 500, 4)))


@pytest.mark.parametrize(
    ("setting", "said"),
    [({"ratio": 0}, "masks nothing"), ({"mean_span": 0.5}, "less than one clip"), ({"horizons": (1, 1)}, "distinct")],
)
def test_an_impossible_objective_is_refused_in_one_line(setting, said):
    with pytest.raises(ConfigError, match=said):
        Objective(**setting)
