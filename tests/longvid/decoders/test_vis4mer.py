"""ViS4mer: its learning, its length rules, its groups. That it equals the authors' numbers is in tests/golden."""

from collections.abc import Callable

import pytest
import torch

from longvid.decoders import build_decoder
from longvid.errors import DecoderError

Accuracy = Callable[..., float]

SMALL = {"width": 32, "layers": 2, "state_size": 16, "dropout": 0.0, "dynamics_learning_rate": 1e-2}


def test_vis4mer_learns_the_order_of_two_events(accuracy_after_training: Accuracy) -> None:
    assert accuracy_after_training("vis4mer", **SMALL) > 0.95


def test_pooling_cannot_learn_the_order_of_two_events(accuracy_after_training: Accuracy) -> None:
    assert accuracy_after_training("mean-linear") < 0.6


def test_items_too_short_to_be_halved_are_refused() -> None:
    decoder = build_decoder("vis4mer", dim=16, outputs=2, max_length=32)
    with pytest.raises(DecoderError, match="an item has 7 tokens; this decoder needs at least 8"):
        decoder(torch.randn(1, 7, 16))


def test_a_width_that_cannot_be_halved_is_refused() -> None:
    with pytest.raises(DecoderError, match="width=4 cannot be halved 3 times"):
        build_decoder("vis4mer", dim=4, outputs=2, max_length=32)


def test_the_lvu_model_has_the_published_size_without_its_unused_projection() -> None:
    decoder = build_decoder("vis4mer", dim=1024, outputs=4, max_length=11820, state_matrix="free")
    assert sum(p.numel() for p in decoder.parameters()) == 3_583_300 - 1_049_600


def test_the_dynamics_are_not_decayed_and_the_output_map_is() -> None:
    decoder = build_decoder("vis4mer", dim=16, outputs=2, max_length=32)
    plain, gentle = decoder.param_groups(0.01, 0.05)
    assert (plain["lr"], plain["weight_decay"]) == (0.01, 0.05)
    assert (gentle["lr"], gentle["weight_decay"]) == (1e-3, 0.0)
    mixer = decoder.blocks[0].mix.mixer
    assert any(mixer.log_step is p for p in gentle["params"])
    assert any(mixer.c is p for p in plain["params"])


def test_checkpointing_changes_memory_and_not_gradients() -> None:
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(3)
        decoder = build_decoder("vis4mer", dim=16, outputs=2, max_length=32, dropout=0.0, checkpointing=checkpointing)
        decoder(torch.linspace(-1, 1, 2 * 32 * 16).view(2, 32, 16)).square().sum().backward()
        gradients.append([p.grad for p in decoder.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        assert torch.equal(plain, recomputed)
