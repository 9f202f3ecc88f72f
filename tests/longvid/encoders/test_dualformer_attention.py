"""DualFormer's two attentions equal their slow, obvious forms, and see what they should."""

import itertools

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from longvid.encoders.dualformer.attention import (
    LocalWindowAttention,
    Pyramid,
    PyramidAttention,
    from_windows,
    to_grid,
    to_tokens,
    to_windows,
)
from longvid.encoders.dualformer.config import PyramidKernels

GRID = (4, 9, 8)
KERNELS = PyramidKernels(fine=(2, 4, 3), coarse=(2, 1, 1))


def tokens_of(grid: tuple[int, int, int], dim: int = 6) -> Tensor:
    torch.manual_seed(0)
    return torch.randn(2, grid[0] * grid[1] * grid[2], dim, dtype=torch.float64)


def attend_slowly(query: Tensor, key: Tensor, value: Tensor, heads: int, scale: float) -> Tensor:
    """softmax(Q K^T * scale) V with the score matrix written out, one head after the other."""
    mixed = []
    for q, k, v in zip(*(part.chunk(heads, dim=-1) for part in (query, key, value)), strict=True):
        mixed.append((q @ k.mT * scale).softmax(dim=-1) @ v)
    return torch.cat(mixed, dim=-1)


def pool_slowly(places: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A depth-wise convolution with kernel = stride, one output place after the other; remainders are dropped."""
    kernel = weight.shape[2:]
    counts = [length // part for length, part in zip(places.shape[2:], kernel, strict=True)]
    pooled = places.new_zeros(*places.shape[:2], *counts)
    for t, h, w in itertools.product(*map(range, counts)):
        begin = [index * part for index, part in zip((t, h, w), kernel, strict=True)]
        brick = places[
            :,
            :,
            begin[0] : begin[0] + kernel[0],
            begin[1] : begin[1] + kernel[1],
            begin[2] : begin[2] + kernel[2],
        ]
        pooled[:, :, t, h, w] = (brick * weight[:, 0]).sum(dim=(2, 3, 4)) + bias
    return pooled


def test_windows_are_bricks_of_neighbours_and_go_back_to_their_places() -> None:
    places = torch.arange(4 * 6 * 4, dtype=torch.float32).reshape(1, 1, 4, 6, 4)
    windows = to_windows(to_tokens(places), (4, 6, 4), (2, 3, 2))
    assert windows.shape == (8, 12, 1)
    assert torch.equal(windows[0].reshape(2, 3, 2), places[0, 0, :2, :3, :2])
    assert torch.equal(windows[-1].reshape(2, 3, 2), places[0, 0, 2:, 3:, 2:])
    back = from_windows(windows, (4, 6, 4), (2, 3, 2))
    assert torch.equal(to_grid(back, (4, 6, 4)), places)


@pytest.mark.parametrize("scale", [None, 0.3])
def test_window_attention_equals_softmax_written_out_in_each_window(scale: float | None) -> None:
    grid, window = (4, 6, 4), (2, 3, 4)
    attention = LocalWindowAttention(6, 2, window, qkv_bias=True, scale=scale).double()
    tokens = tokens_of(grid)
    places = to_grid(attention.qkv(tokens), grid)
    expected = torch.empty_like(to_grid(tokens, grid))
    for t, h in itertools.product(range(0, 4, 2), range(0, 6, 3)):
        part = (slice(None), slice(None), slice(t, t + 2), slice(h, h + 3))
        query, key, value = to_tokens(places[part]).chunk(3, dim=-1)
        mixed = attend_slowly(query, key, value, heads=2, scale=scale or 3**-0.5)
        expected[part] = to_grid(mixed, (2, 3, 4))
    torch.testing.assert_close(attention(tokens, grid), attention.proj(to_tokens(expected)))


def test_a_token_sees_its_own_window_only_and_through_the_pyramid_the_whole_clip() -> None:
    grid, window = (4, 9, 8), (2, 3, 4)
    tokens = tokens_of(grid)
    changed = tokens.clone()
    changed[:, 0] += 1
    local = LocalWindowAttention(6, 2, window, qkv_bias=True, scale=None).double()
    moved = to_grid((local(changed, grid) - local(tokens, grid)).abs(), grid).amax(dim=(0, 1)) > 1e-9
    inside = torch.zeros(grid, dtype=torch.bool)
    inside[:2, :3, :4] = True
    assert torch.equal(moved, inside)
    whole = PyramidAttention(6, 2, KERNELS, qkv_bias=True, scale=None).double().eval()
    assert ((whole(changed, grid) - whole(tokens, grid)).abs().amax(dim=(0, 2)) > 1e-9).all()


def test_the_pyramid_equals_its_levels_pooled_place_by_place() -> None:
    torch.manual_seed(1)
    pyramid = Pyramid(6, KERNELS).double().eval()
    norm = pyramid.coarse[1]
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    tokens = tokens_of(GRID)
    places = to_grid(tokens, GRID)
    first = pool_slowly(places, pyramid.coarse[0].weight, pyramid.coarse[0].bias)
    scale = (norm.weight / (norm.running_var + 1e-5).sqrt())[:, None, None, None]
    normed = ((first - norm.running_mean[:, None, None, None]) * scale + norm.bias[:, None, None, None]).relu()
    coarse = pool_slowly(normed, pyramid.coarse[3].weight, pyramid.coarse[3].bias)
    fine = pool_slowly(places, pyramid.fine.weight, pyramid.fine.bias)
    levels = torch.cat([to_tokens(fine), to_tokens(coarse)], dim=1)
    assert levels.shape == (2, 2 * 2 * 2 + 2 * 1 * 1, 6)
    expected = functional.layer_norm(levels, (6,), pyramid.norm.weight, pyramid.norm.bias, eps=1e-5)
    torch.testing.assert_close(pyramid(tokens, GRID), expected)


@pytest.mark.parametrize("kernels", [KERNELS, PyramidKernels(fine=(1, 3, 2), coarse=None), None])
def test_global_attention_equals_softmax_written_out_over_the_pyramid(kernels: PyramidKernels | None) -> None:
    torch.manual_seed(2)
    attention = PyramidAttention(6, 3, kernels, qkv_bias=False, scale=None).double().eval()
    tokens = tokens_of(GRID)
    source = attention.pyramid(tokens, GRID) if attention.pyramid else tokens
    key, value = attention.kv(source).split(6, dim=-1)
    expected = attention.proj(attend_slowly(attention.q(tokens), key, value, heads=3, scale=2**-0.5))
    torch.testing.assert_close(attention(tokens, GRID), expected)


def test_what_a_pooling_kernel_leaves_over_is_dropped_not_padded() -> None:
    pyramid = Pyramid(6, PyramidKernels(fine=(2, 4, 3), coarse=None)).double().eval()
    tokens = tokens_of(GRID)
    changed = to_grid(tokens, GRID).clone()
    changed[:, :, :, 8:] += 1
    changed[..., 6:] += 1
    assert torch.equal(pyramid(to_tokens(changed), GRID), pyramid(tokens, GRID))


def test_in_training_the_pyramid_norms_by_the_batch_and_in_evaluation_by_what_it_learned() -> None:
    pyramid = Pyramid(6, KERNELS).double()
    tokens = tokens_of(GRID)
    trained = pyramid.train()(tokens, GRID)
    alone = pyramid.eval()(tokens[:1], GRID)
    together = pyramid(tokens, GRID)
    torch.testing.assert_close(alone, together[:1])
    assert not torch.allclose(trained, together)
