"""Operations and memory are counted without computing, and counted right."""

import pytest
import torch
from torch import nn

from longvid.decoders import DECODERS, build_decoder, table
from longvid.decoders.attention import SoftmaxAttention
from longvid.decoders.cost import forward_cost, training_cost
from longvid.decoders.table import COLUMNS, cells, decoder_table
from longvid.errors import DecoderError
from longvid.ssm.convolution import convolve


class Three(nn.Module):
    """Two temporary tensors of 4,000 bytes at once, and a number."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = x + 1
        second = first * 2
        del first
        return (second - 3).sum()


def test_peak_memory_is_that_of_the_tensors_alive_at_once() -> None:
    assert forward_cost(Three(), torch.empty(1000)).peak_bytes == 8004


def test_a_matrix_product_counts_two_operations_a_multiply_add() -> None:
    cost = forward_cost(nn.Linear(30, 20, bias=False), torch.empty(10, 30))
    assert cost.operations == 2 * 10 * 30 * 20
    assert cost.peak_bytes == 10 * 20 * 4


def test_a_training_pass_holds_gradients_and_leaves_none() -> None:
    layer = nn.Linear(30, 20, bias=False)
    assert training_cost(layer, torch.empty(10, 30)).peak_bytes >= 30 * 20 * 4
    assert layer.weight.grad is None


def test_fused_attention_is_counted_whole_and_stores_no_weights() -> None:
    x = torch.empty(1, 500, 64)
    fused = forward_cost(_Alone(SoftmaxAttention(64, kind="fused")), x)
    stored = forward_cost(_Alone(SoftmaxAttention(64, kind="stored")), x)
    assert fused.operations == stored.operations == 2 * 500 * 64 * 4 * 64 + 4 * 500 * 500 * 64
    assert stored.peak_bytes > 500 * 500 * 4 > fused.peak_bytes


class _Alone(nn.Module):
    """A mixing layer without lengths."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x, None)


class _Convolve(nn.Module):
    def forward(self, u: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
        return convolve(u, kernel)


def test_ffts_count() -> None:
    cost = forward_cost(_Convolve(), torch.empty(2, 3, 512), torch.empty(3, 512))
    assert cost.operations == 2.5 * 1024 * 10 * (3 + 6 + 6)


@pytest.mark.slow
def test_the_table_has_every_decoder_and_an_s4_pass_is_cheaper_than_attention() -> None:
    rows = {row.name: row for row in decoder_table(lengths=(512,))}
    assert list(rows) == list(DECODERS)
    assert all(row.parameters > 0 and row.gflops > 0 for row in rows.values())
    assert all(row.training_bytes > row.evaluation_bytes > 0 for row in rows.values())
    assert rows["vis4mer"].gflops < rows["transformer"].gflops
    # the published ones, ten outputs instead of four, and no q of its own for each of 64 / 2 complex states a channel
    assert rows["vis4mer"].parameters == 2_533_700 + 6 * 129 - (1024 + 512 + 256) * 64
    assert all(len(cells(row)) == len(COLUMNS) for row in rows.values())


@pytest.mark.parametrize("count", [forward_cost, pytest.param(training_cost, marks=pytest.mark.slow)])
def test_the_line_through_two_short_passes_is_what_a_longer_unrolled_pass_costs(count) -> None:
    gru = build_decoder("gru", dim=table.DIM, outputs=10)
    drawn, counted = table._step_by_step(count, gru, 1000), count(gru, torch.empty(1, 1000, table.DIM))
    assert drawn.operations == counted.operations
    assert abs(drawn.peak_bytes / counted.peak_bytes - 1) < 0.01


def test_an_unknown_decoder_is_refused() -> None:
    with pytest.raises(DecoderError, match="no decoder 'vismer'"):
        list(decoder_table(["vismer"]))
