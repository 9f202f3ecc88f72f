"""Settings for small data do what they say: smoothing, class weights, accumulation, averaged weights."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from longvid.decoders import build_decoder
from longvid.errors import ConfigError
from longvid.pipelines.training.averaging import copy_of, update_average
from longvid.pipelines.training.losses import balanced_weights, class_loss
from longvid.pipelines.training.scoring import loss_of
from longvid.pipelines.training.train import train
from longvid.tasks.frame_labels import UNLABELLED

LINEAR = {"decoder": {"name": "mean-linear"}, "optimiser": {"learning_rate": 1e-2}}


def test_a_smoothed_target_is_partly_every_class_and_unlabelled_clips_do_not_count():
    torch.manual_seed(0)
    logits, targets = torch.randn(2, 5, 4), torch.randint(0, 4, (2, 5))
    targets[1, 3:] = UNLABELLED
    smooth = (1 - 0.1) * functional.one_hot(targets.clamp(min=0), 4) + 0.1 / 4
    each = -(smooth * logits.log_softmax(-1)).sum(-1)
    wanted = each[targets != UNLABELLED].mean()
    torch.testing.assert_close(class_loss(logits, targets, smoothing=0.1, weights=None), wanted)
    for kind, scores, own in (("dense", logits, targets), ("classification", logits[0], targets[0])):
        torch.testing.assert_close(class_loss(scores, own, smoothing=0.0, weights=None), loss_of(scores, own, kind))


def test_balanced_classes_weigh_the_same_together_however_many_items_they_have():
    targets = np.array([0] * 6 + [2] * 2 + [UNLABELLED])
    weights = balanced_weights(targets, 4)
    assert weights.tolist() == pytest.approx([8 / (2 * 6), 1.0, 8 / (2 * 2), 1.0])
    logits, labels = torch.randn(9, 4), torch.from_numpy(targets)
    by_class = [functional.cross_entropy(logits[labels == own], labels[labels == own]) for own in (0, 2)]
    found = class_loss(logits, labels, smoothing=0.0, weights=weights)
    torch.testing.assert_close(found, sum(by_class) / 2)
    assert class_loss(logits[8:], labels[8:], smoothing=0.0, weights=weights) == 0


def test_batches_that_are_accumulated_train_as_one_large_batch(make_data, recipe_for):
    data = make_data({"train": 16, "val": 4})
    weights = {}
    for name, size, accumulate in (("large", 8, 1), ("small", 2, 4), ("alone", 2, 1)):
        settings = LINEAR | {"optimiser": {"learning_rate": 1e-2, "accumulate": accumulate}}
        train(recipe_for(data, out=str(data / name), batch_size=size, epochs=2, **settings))
        weights[name] = load_file(data / name / "seed-0" / "best.safetensors")
    for name, large in weights["large"].items():
        torch.testing.assert_close(weights["small"][name], large)
        assert (weights["alone"][name] - large).abs().max() > 1e-4


def test_the_average_forgets_its_start_and_follows_the_weights():
    torch.manual_seed(0)
    decoder = build_decoder("mean-linear", dim=3, outputs=2)
    average = copy_of(decoder)
    start = {name: weight.clone() for name, weight in decoder.named_parameters()}
    moved = {name: weight + 1 for name, weight in start.items()}
    decoder.load_state_dict(moved)
    share = 1.0
    for steps in range(1, 6):
        update_average(average, decoder, steps=steps, decay=0.3)
        share *= min(0.3, (1 + steps) / (10 + steps))
        for name, mean in average.named_parameters():
            torch.testing.assert_close(mean, share * start[name] + (1 - share) * moved[name])
    assert not any(weight.requires_grad for weight in average.parameters())


@pytest.mark.parametrize("grid", [{}, {"optimiser.learning_rate": [1e-2, 1e-3]}])
def test_the_averaged_weights_are_what_is_kept(make_data, recipe_for, grid):
    data = make_data({"train": 8, "val": 4})
    settings = LINEAR | {"optimiser": {"learning_rate": 1e-2, "average": 0.9}}
    result = train(recipe_for(data, epochs=1, grid=grid, **settings))
    kept = load_file(data / "run" / "seed-0" / "best.safetensors")
    state = torch.load(data / "run" / "seed-0" / "resume.ckpt", weights_only=True)["state_dict"]
    chosen = (
        "" if not grid else f"members.{[1e-2, 1e-3].index(result.seeds[0].combination['optimiser.learning_rate'])}."
    )
    for name, weight in kept.items():
        assert torch.equal(weight, state[f"average.{chosen}{name}"])
        assert not torch.equal(weight, state[f"decoder.{chosen}{name}"])


def test_smoothing_and_weights_change_what_is_learned(make_data, recipe_for):
    data = make_data({"train": 12, "val": 4})
    found = {}
    for name, loss in (
        ("plain", {}),
        ("smooth", {"label_smoothing": 0.2}),
        ("balanced", {"class_weights": "balanced"}),
    ):
        found[name] = train(recipe_for(data, out=str(data / name), loss=loss, **LINEAR)).seeds[0].weights_sha256
    assert found["smooth"] != found["plain"]
    assert found["balanced"] != found["smooth"]


def test_a_loss_that_does_not_fit_the_task_and_an_average_in_a_grid_are_refused(make_data, recipe_for, tmp_path):
    data = make_data({"train": 8, "val": 4}, label=float)
    with pytest.raises(ConfigError, match="are for classification and dense, not regression"):
        train(recipe_for(data, task={"kind": "regression"}, loss={"label_smoothing": 0.1}))
    with pytest.raises(ConfigError, match=r"optimiser\.average is one for all combinations"):
        recipe_for(tmp_path, grid={"optimiser.average": [0.9, 0.99]})
    with pytest.raises(ConfigError, match=r"loss\.label_smoothing=1: should be less than 1"):
        recipe_for(tmp_path, loss={"label_smoothing": 1})
