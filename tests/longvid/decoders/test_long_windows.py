"""The memory of long windows is counted in half precision, with and without recomputed blocks."""

import pytest
import torch

from longvid.decoders import build_decoder
from longvid.decoders.cost import training_cost
from longvid.decoders.long_windows import COLUMNS, cells, long_window_table


def test_blocks_of_one_length_need_far_less_memory_where_they_are_computed_again():
    rows = list(long_window_table(["global-tokens", "transformer"], length=1024))
    assert [row.name for row in rows] == ["global-tokens", "transformer"]
    assert rows[0].checkpointed_bytes < 0.6 * rows[0].training_bytes
    # the first block of a pyramid holds most of what all hold, and is in memory while it is computed again
    assert rows[1].checkpointed_bytes <= 1.05 * rows[1].training_bytes
    assert all(len(cells(row)) == len(COLUMNS) for row in rows)


@pytest.mark.parametrize("name", ["transformer", "temporal-convolution"])
def test_half_precision_holds_fewer_bytes_than_float32(name):
    decoder, tokens = build_decoder(name, dim=64, outputs=3), torch.empty(1, 1024, 64)
    half, full = (training_cost(decoder, tokens, dtype=dtype).peak_bytes for dtype in (torch.bfloat16, None))
    assert half < full


def test_decoders_without_the_option_have_no_row():
    assert not list(long_window_table(["mean-linear", "gru"], length=512))
