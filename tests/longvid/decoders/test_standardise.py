"""Standardised features: moments of all blocks together, and nothing else changed."""

import numpy as np
import pytest
import torch
from rounding import assert_same_numbers

from longvid.decoders import build_decoder
from longvid.decoders.standardise import Standardised


def _blocks() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [(random.normal(size=(clips, 2, 4)) * [1, 5, 0.1, 0] + [0, 3, -2, 7]).astype(np.float32) for clips in (3, 9)]


def test_the_moments_are_those_of_all_blocks_together() -> None:
    decoder = Standardised(build_decoder("mean-linear", dim=4, outputs=2), 4)
    decoder.fit(_blocks())
    everything = np.concatenate([block.reshape(-1, 4) for block in _blocks()])
    everything = everything.astype(np.float64)
    # taken in float64 and kept in float32: one rounding
    assert_same_numbers(decoder.mean, everything.mean(axis=0), terms=1)
    assert_same_numbers(decoder.scale[:3], 1 / everything.std(axis=0)[:3], terms=1)
    assert decoder.scale[3] == 1, "a feature that never changes must not be divided by nothing"


def test_it_equals_the_decoder_on_features_standardised_by_hand_and_survives_saving() -> None:
    inner = build_decoder("vis4mer", dim=4, outputs=3, max_length=16, layers=1).double().eval()
    decoder = Standardised(inner, 4).double().eval()
    tokens, lengths = torch.randn(2, 16, 4, dtype=torch.float64), torch.tensor([16, 9])
    torch.testing.assert_close(decoder(tokens, lengths), inner(tokens, lengths))
    decoder.fit(_blocks())
    by_hand = inner((tokens - decoder.mean) * decoder.scale, lengths)
    torch.testing.assert_close(decoder(tokens, lengths), by_hand)
    again = Standardised(build_decoder("vis4mer", dim=4, outputs=3, max_length=16, layers=1), 4).double().eval()
    again.load_state_dict(decoder.state_dict())
    torch.testing.assert_close(again(tokens, lengths), by_hand)


def test_every_trained_parameter_is_in_one_group_and_the_moments_are_in_none() -> None:
    decoder = Standardised(build_decoder("vis4mer", dim=4, outputs=3, max_length=16, layers=1), 4)
    grouped = [id(p) for group in decoder.param_groups(1e-3, 0.1) for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in decoder.parameters())


@pytest.mark.parametrize("offset", [0.0, 3.0, 50.0])
def test_the_moments_are_those_of_sums_of_values_and_of_squares_within_their_rounding(offset: float) -> None:
    """The bound: a sum of n terms rounds by at most n units of their largest, in either way of summing."""
    rng = np.random.default_rng(1)
    blocks = [(offset + rng.standard_normal((size, 3, 5))).astype(np.float16) for size in (4, 31, 1)]
    decoder = Standardised(build_decoder("mean-linear", dim=5, outputs=2), 5).double()
    decoder.fit(blocks)
    flat = np.concatenate([block.reshape(-1, 5) for block in blocks]).astype(np.float64)
    mean = flat.sum(axis=0) / len(flat)
    variance = np.square(flat).sum(axis=0) / len(flat) - mean**2
    rounding = 4 * len(flat) * np.finfo(np.float64).eps
    largest = np.abs(flat).max(axis=0)
    assert (np.abs(decoder.mean.numpy() - mean) <= rounding * largest).all()
    assert (np.abs(decoder.scale.numpy() ** -2 - variance) <= rounding * largest**2).all()
