"""Recomputed blocks and half precision save memory on long windows, and the table says how much."""

import pytest
import torch

from longvid.decoders import build_decoder
from longvid.decoders.cost import training_cost
from longvid.decoders.long_windows import COLUMNS, cells, long_window_table


def test_every_decoder_that_can_recompute_its_blocks_needs_less_memory_with_it():
    rows = list(long_window_table(length=2048))
    assert {row.name for row in rows} >= {"vis4mer", "global-tokens", "transformer", "hybrid"}
    assert all(row.checkpointed_bytes < row.training_bytes for row in rows)
    assert all(len(cells(row)) == len(COLUMNS) for row in rows)


@pytest.mark.parametrize("name", ["transformer", "temporal-convolution"])
def test_half_precision_holds_fewer_bytes_than_float32(name):
    decoder, tokens = build_decoder(name, dim=64, outputs=3), torch.empty(1, 1024, 64)
    half, full = (training_cost(decoder, tokens, dtype=dtype).peak_bytes for dtype in (torch.bfloat16, None))
    assert half < full


def test_decoders_without_the_option_have_no_row():
    assert not list(long_window_table(["mean-linear", "gru"], length=512))
