"""Typical mistakes in X-ViT's mixing make every golden fixture fail."""

from collections.abc import Callable

import pytest
from torch import Tensor

from longvid.encoders.xvit import mixing

Mix = Callable[[Tensor, int], Tensor]


def swapped_neighbours_(keys_values: Tensor, shift: int) -> Tensor:
    """The first channels from the frame before, the second from the frame after."""
    return mix_neighbours_(keys_values.flip(1), shift).flip(1)


def clamped_border_(keys_values: Tensor, shift: int) -> Tensor:
    """The first and last frame read themselves instead of zeros."""
    first = keys_values[:, :1, ..., shift : 2 * shift].clone()
    last = keys_values[:, -1:, ..., :shift].clone()
    mix_neighbours_(keys_values, shift)
    keys_values[:, :1, ..., shift : 2 * shift] = first
    keys_values[:, -1:, ..., :shift] = last
    return keys_values


def split_per_head_(keys_values: Tensor, shift: int) -> Tensor:
    """As the paper describes it: the same fraction of the channels of each head (here: of each of four groups)."""
    for group in keys_values.chunk(4, dim=-1):
        mix_neighbours_(group, max(1, shift // 4))
    return keys_values


def no_mixing_(keys_values: Tensor, shift: int) -> Tensor:
    return keys_values


def class_token_left_out_(keys_values: Tensor, shift: int) -> Tensor:
    mix_neighbours_(keys_values[:, :, 1:], shift)
    return keys_values


mix_neighbours_: Mix = mixing.mix_neighbours_
MISTAKES: list[Mix] = [swapped_neighbours_, clamped_border_, split_per_head_, no_mixing_, class_token_left_out_]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__.strip("_"))
def test_golden_models_catch_a_mistake_in_the_mixing(
    mistake: Mix, monkeypatch: pytest.MonkeyPatch, golden_bites: Callable[[str, str], None]
) -> None:
    monkeypatch.setattr(mixing, "mix_neighbours_", mistake)
    golden_bites("xvit", "model")


@pytest.mark.parametrize("mistake", MISTAKES[:4], ids=lambda mistake: mistake.__name__.strip("_"))
def test_the_golden_mixing_catches_a_mistake(
    mistake: Mix, monkeypatch: pytest.MonkeyPatch, golden_bites: Callable[[str, str], None]
) -> None:
    monkeypatch.setattr(mixing, "mix_neighbours_", mistake)
    golden_bites("xvit", "mixing")
