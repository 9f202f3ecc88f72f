"""Augmentation does what its settings say: nothing at strength 0, the stated distribution above it."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from longvid.errors import ConfigError
from longvid.pipelines.training.augmenting import Augmented, augment, mixed_loss, stretched
from longvid.pipelines.training.sections import AugmentSettings
from longvid.pipelines.training.train import train
from longvid.tasks.frame_labels import UNLABELLED
from longvid.windows import WindowBatch

CLIPS = 40


def batch_of(lengths, *, num_tokens=1, dim=3, dense=False):
    """Windows whose every number says which clip it is from, with zeros for padding."""
    longest = max(lengths)
    steps = torch.zeros(len(lengths), longest, num_tokens, dim)
    labels = torch.full((len(lengths), longest), UNLABELLED)
    for row, length in enumerate(lengths):
        steps[row, :length] = torch.arange(length, dtype=torch.float32)[:, None, None] + 1000 * row
        labels[row, :length] = torch.arange(length)
    return WindowBatch(
        steps.flatten(1, 2),
        torch.tensor(lengths) * num_tokens,
        labels if dense else torch.arange(len(lengths)),
        torch.arange(len(lengths)),
        torch.tensor([(0, length) for length in lengths]),
    )


def augmented(batch, *, seed=0, num_tokens=1, dense=False, most=None, fewest=1, **settings):
    return augment(
        batch,
        AugmentSettings(**settings),
        seed=seed,
        num_tokens=num_tokens,
        dense=dense,
        most=most,
        fewest=fewest,
    )


def test_without_strength_the_batch_is_the_same_object_and_training_learns_the_same_bits(make_data, recipe_for):
    batch = batch_of([5, 3])
    assert augmented(batch) == Augmented(batch)
    data = make_data({"train": 8, "val": 4})
    changes = {"plain": {}, "none": {"augment": {"token_drop": 0.0}}, "some": {"augment": {"token_drop": 0.3}}}
    found = {
        name: train(recipe_for(data, out=str(data / name), epochs=1, **given)).seeds[0].weights_sha256
        for name, given in changes.items()
    }
    assert found["none"] == found["plain"] != found["some"]


@pytest.mark.parametrize(
    "tiny",
    [{"token_drop": 1e-12}, {"time_stretch": 1e-12}, {"window_mask": 1e-12}],
)
def test_a_vanishing_strength_changes_no_number(tiny):
    batch = batch_of([7, 4, 6], num_tokens=2, dense=True)
    found = augmented(batch, num_tokens=2, dense=True, **tiny).batch
    for name in ("tokens", "lengths", "targets"):
        assert torch.equal(getattr(found, name), getattr(batch, name)), name


def test_clips_are_dropped_at_the_stated_rate_with_their_tokens_and_labels_and_some_always_stay():
    batch = batch_of([CLIPS] * 8, num_tokens=2, dense=True)
    kept = []
    for seed in range(40):
        found = augmented(batch, seed=seed, num_tokens=2, dense=True, token_drop=0.3).batch
        kept += (found.lengths / 2).tolist()
        for row, length in enumerate((found.lengths // 2).tolist()):
            steps = found.tokens[row].unflatten(0, (-1, 2))[:length, :, 0] - 1000 * row
            assert torch.equal(steps[:, 0], steps[:, 1])
            assert (steps[:, 0].diff() > 0).all()
            assert torch.equal(steps[:, 0].long(), found.targets[row, :length])
            assert (found.targets[row, length:] == UNLABELLED).all()
            assert not found.tokens[row, 2 * length :].any()
    # a mean of 320 binomial draws: 6 deviations of it
    assert np.mean(kept) == pytest.approx(0.7 * CLIPS, abs=6 * np.sqrt(CLIPS * 0.3 * 0.7 / len(kept)))
    assert augmented(batch_of([5, 2]), token_drop=0.999, fewest=3).batch.lengths.tolist() == [3, 2]


def test_jitter_reads_neighbours_in_order_and_each_distance_equally_often():
    shifts = []
    for seed in range(60):
        found = augmented(batch_of([CLIPS]), seed=seed, time_jitter=1).batch.tokens[0, :, 0]
        assert (found.diff() >= 0).all()
        shifts += (found - torch.arange(CLIPS)).tolist()
    assert set(shifts) <= {-1.0, 0.0, 1.0}
    assert np.mean(shifts) == pytest.approx(0, abs=6 * np.sqrt(2 / 3 / len(shifts)))


def test_stretches_are_evenly_drawn_on_a_logarithmic_scale_and_keep_the_order():
    lengths = []
    for seed in range(400):
        picks = stretched(CLIPS, 1.0, torch.Generator().manual_seed(seed), most=10 * CLIPS)
        lengths.append(len(picks))
        assert picks[0] <= 1
        assert picks[-1] >= CLIPS - 2
        assert (picks.diff() >= 0).all()
    factors = np.log2(np.array(lengths) / CLIPS)
    assert factors.min() >= -1
    assert factors.max() <= 1
    assert np.mean(factors) == pytest.approx(0, abs=6 * np.sqrt(1 / 3 / len(factors)))
    assert np.var(factors) == pytest.approx(1 / 3, rel=0.3)
    cut = stretched(CLIPS, 1.0, torch.Generator().manual_seed(int(np.argmax(lengths))), most=CLIPS)
    assert len(cut) == CLIPS


def test_the_mask_hides_one_span_of_up_to_its_share_behind_the_windows_mean():
    spans = []
    for seed in range(200):
        batch = batch_of([CLIPS, 20])
        found = augmented(batch, seed=seed, window_mask=0.5).batch
        assert torch.equal(found.lengths, batch.lengths)
        hidden = (found.tokens != batch.tokens).any(-1)
        for row, length in enumerate([CLIPS, 20]):
            own = hidden[row].nonzero()[:, 0]
            mean = batch.tokens[row, :length].mean(0)
            torch.testing.assert_close(found.tokens[row, own], mean.expand(len(own), -1))
            assert len(own) == 0 or own[-1] < length
        spans.append(int(hidden[0].sum()))
    assert max(spans) <= CLIPS // 2
    assert np.mean(spans) == pytest.approx(CLIPS / 4, abs=6 * CLIPS / 2 / np.sqrt(12 * len(spans)) + 0.5)


def test_mixed_windows_have_the_loss_of_the_soft_target_and_shares_of_the_beta_distribution():
    shares = []
    for seed in range(300):
        batch = batch_of([6, 6, 3])
        found = augmented(batch, seed=seed, mixup=0.4)
        shares.append(found.share)
        other = int(found.others[0])
        played = batch.tokens[other, : int(batch.lengths[other])]
        picks = (torch.arange(6) * 2 + 1) * len(played) // 12
        torch.testing.assert_close(
            found.batch.tokens[0], found.share * batch.tokens[0] + (1 - found.share) * played[picks]
        )
    assert np.mean(shares) == pytest.approx(0.5, abs=6 * np.sqrt(1 / 4 / 1.8 / len(shares)))
    assert np.var(shares) == pytest.approx(1 / 4 / 1.8, rel=0.25)  # of Beta(a, a): 1 / (4 (2 a + 1))
    logits = torch.randn(3, 3)
    soft = found.share * functional.one_hot(found.batch.targets, 3) + (1 - found.share) * functional.one_hot(
        found.others, 3
    )
    torch.testing.assert_close(
        mixed_loss(functional.cross_entropy, logits, found), functional.cross_entropy(logits, soft.float())
    )


def test_mixup_of_labels_along_the_video_is_refused_in_one_line(make_data, recipe_for):
    data = make_data({"train": 4, "val": 2}, label=lambda order: [[0, 16, order]])
    dense = {"kind": "dense", "classes": ["x", "y"], "metrics": ["clip_accuracy"]}
    with pytest.raises(ConfigError, match=r"augment\.mixup mixes targets of whole windows"):
        train(recipe_for(data, task=dense, augment={"mixup": 0.2}))


EVERY = {"token_drop": 0.2, "time_jitter": 1, "time_stretch": 0.5, "window_mask": 0.3, "mixup": 0.3}


def test_an_augmented_grid_learns_what_each_member_learns_alone(make_data, recipe_for):
    data, shared = make_data({"train": 8, "val": 4}), {"augment": EVERY, "epochs": 1}
    rates = [1e-2, 1e-3]
    both = train(recipe_for(data, out=str(data / "grid"), grid={"optimiser.learning_rate": rates}, **shared))
    chosen = both.seeds[0].combination["optimiser.learning_rate"]
    alone = train(recipe_for(data, out=str(data / "alone"), optimiser={"learning_rate": chosen}, **shared))
    assert both.seeds[0].metrics == pytest.approx(alone.seeds[0].metrics)
    assert both.seeds[0].weights_sha256 == alone.seeds[0].weights_sha256
