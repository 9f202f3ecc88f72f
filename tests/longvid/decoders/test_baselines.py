"""The decoders that ViS4mer is compared with, each against a slow form of its own rule."""

import importlib.util

import numpy as np
import pytest
import torch
from rounding import assert_same_numbers, rounding
from torch import Tensor

from longvid.decoders import build_decoder
from longvid.decoders.attention import LinearAttention, SoftmaxAttention, num_heads, orthogonal_directions
from longvid.decoders.baseline import POOLINGS, fit_linear_baseline, pool_video
from longvid.decoders.selective import fused_scan, scan_in_chunks, selective_scan
from longvid.errors import DecoderError


def slow_scan(u: Tensor, log_decay: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """S_t = a_t S_(t-1) + b_t u_t^T, y_t = c_t S_t."""
    batch, length, heads, head_dim = u.shape
    state = u.new_zeros(batch, heads, b.shape[-1], head_dim)
    outputs = []
    for t in range(length):
        state = log_decay[:, t].exp()[..., None, None] * state
        state = state + torch.einsum("bn,bhd->bhnd", b[:, t], u[:, t])
        outputs.append(torch.einsum("bn,bhnd->bhd", c[:, t], state))
    return torch.stack(outputs, dim=1)


@pytest.mark.parametrize("chunk", [1, 5, 8, 64])
def test_the_selective_scan_equals_its_recurrence_with_gradients(chunk: int) -> None:
    torch.manual_seed(0)
    u = torch.randn(2, 21, 3, 4, dtype=torch.float64).requires_grad_()
    log_decay = -torch.rand(2, 21, 3, dtype=torch.float64)
    b, c = torch.randn(2, 2, 21, 5, dtype=torch.float64)
    fast, slow = selective_scan(u, log_decay, b, c, chunk), slow_scan(u, log_decay, b, c)
    torch.testing.assert_close(fast, slow)
    weight = torch.randn_like(fast)
    (fast_grad,) = torch.autograd.grad((fast * weight).sum(), u)
    (slow_grad,) = torch.autograd.grad((slow * weight).sum(), u)
    torch.testing.assert_close(fast_grad, slow_grad)


def test_without_mamba_ssm_the_scan_is_plain_torch() -> None:
    if importlib.util.find_spec("mamba_ssm") is None:
        assert fused_scan() is None


@pytest.mark.gpu
def test_the_kernels_of_mamba_ssm_give_the_same_scan() -> None:
    fused = fused_scan()
    if fused is None:
        pytest.skip("mamba-ssm cannot be imported")
    torch.manual_seed(0)
    u, b, c = (torch.randn(*shape, device="cuda") for shape in ((2, 200, 4, 64), (2, 200, 64), (2, 200, 64)))
    step, rate = torch.rand(2, 200, 4, device="cuda") * 0.1, -torch.linspace(1, 16, 4, device="cuda")
    expected = scan_in_chunks(u, step, rate, b, c, 64)
    # its products run on tensor cores, in TF32: ten bits of mantissa, as float16 has
    assert (fused(u, step, rate, b, c, 64) - expected).abs().max() < rounding(
        torch.float16, terms=64
    ) * expected.abs().max()


def test_fast_decay_leaves_no_infinity_in_the_selective_scan() -> None:
    u, log_decay = torch.ones(1, 100, 1, 1, requires_grad=True), torch.full((1, 100, 1), -50.0)
    b = c = torch.ones(1, 100, 2)
    y = selective_scan(u, log_decay, b, c, 64)
    y.sum().backward()
    assert torch.isfinite(y).all()
    assert u.grad is not None
    assert torch.isfinite(u.grad).all()


def test_stored_and_fused_attention_are_one_function() -> None:
    torch.manual_seed(0)
    fused, stored = SoftmaxAttention(32, kind="fused").double(), SoftmaxAttention(32, kind="stored").double()
    stored.load_state_dict(fused.state_dict())
    x = torch.randn(2, 20, 32, dtype=torch.float64)
    for lengths in (None, torch.tensor([20, 9])):
        torch.testing.assert_close(fused(x, lengths)[1, :9], stored(x, lengths)[1, :9])


def test_linear_attention_comes_near_softmax_attention_with_many_features() -> None:
    torch.manual_seed(0)
    softmax = SoftmaxAttention(16, kind="fused")
    linear = LinearAttention(16, features=8192)
    linear.load_state_dict(softmax.state_dict() | {"projection": linear.projection})
    x = torch.randn(1, 30, 16)
    expected, found = softmax(x, None), linear(x, None)
    assert (found - expected).norm() < 0.1 * expected.norm()


def test_random_directions_are_orthogonal_in_blocks() -> None:
    directions = torch.nn.functional.normalize(orthogonal_directions(20, 8), dim=1)
    for block in (directions[:8], directions[8:16]):
        assert_same_numbers(
            block @ block.T, torch.eye(8), terms=8, layers=4
        )  # QR, its lengths, their norm, the product


@pytest.mark.parametrize(("width", "heads"), [(1024, 16), (64, 1), (16, 1), (192, 3), (200, 2), (7, 1)])
def test_heads_are_about_64_wide_and_divide_the_width(width: int, heads: int) -> None:
    assert num_heads(width) == heads


@pytest.mark.parametrize("name", ["transformer", "performer"])
def test_attention_tells_orders_apart_only_by_its_time_code(name: str) -> None:
    tokens = torch.randn(1, 32, 12, dtype=torch.float64)
    # whole pairs change places: pooling must not be what tells them apart
    shuffled = tokens.unflatten(1, (8, 4))[:, torch.randperm(8)].flatten(1, 2)
    for time_code in (True, False):
        torch.manual_seed(0)
        decoder = build_decoder(name, dim=12, outputs=3, width=16, layers=2, time_code=time_code)
        decoder = decoder.double().eval()
        with torch.no_grad():
            same = torch.allclose(decoder(tokens), decoder(shuffled), atol=1e-7)
        assert same is not time_code


def videos(count: int, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Tokens whose mean is their video's class, and the classes."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, count)
    return [generator.normal(label, 1.0, (20 + index % 7, 5)) for index, label in enumerate(labels)], labels


def pooled(items: list[np.ndarray], pooling: str) -> np.ndarray:
    return np.stack([pool_video([item])[pooling] for item in items])


def test_pooling_in_chunks_is_pooling_at_once() -> None:
    tokens = np.random.default_rng(0).normal(3.0, 2.0, (50, 4)).astype(np.float16)
    found = pool_video([tokens[:7], tokens[7:30], tokens[30:]])
    whole = tokens.astype(np.float64)
    assert tuple(found) == POOLINGS
    np.testing.assert_allclose(found["mean"], whole.mean(axis=0))
    np.testing.assert_allclose(found["max"], whole.max(axis=0))
    np.testing.assert_allclose(found["mean-deviation"], np.concatenate([whole.mean(axis=0), whole.std(axis=0)]))


@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_linear_baseline_finds_what_pooling_keeps(pooling: str) -> None:
    (train, labels), (test, truth) = videos(90, 0), videos(60, 1)
    model = fit_linear_baseline(pooled(train, pooling), labels, outputs=3)
    scores = model.scores(pooled(test, pooling))
    assert np.mean(scores.argmax(axis=1) == truth) > 0.8
    np.testing.assert_allclose(scores.sum(axis=1), 1)


def test_a_class_that_training_lacks_scores_nothing() -> None:
    train, labels = videos(40, 0)
    kept = labels != 1
    model = fit_linear_baseline(pooled(train, "mean")[kept], labels[kept], outputs=3)
    assert (model.scores(pooled(train, "mean"))[:, 1] == 0).all()


def test_the_linear_baseline_answers_labels_and_values() -> None:
    train, labels = videos(90, 0)
    features = pooled(train, "mean")
    flags = np.stack([labels > 0, labels > 1, labels > -1, labels > 2], axis=1).astype(np.float32)
    found = fit_linear_baseline(features, flags, kind="multilabel", outputs=4).scores(features)
    assert np.mean((found > 0.5) == flags) > 0.9
    assert (found[:, 2] == 1).all(), "a label of all videos"
    assert (found[:, 3] == 0).all(), "a label of none"
    values = labels[:, None].astype(np.float32)
    predicted = fit_linear_baseline(features, values, kind="regression", outputs=1).scores(features)
    assert predicted.shape == (90, 1)
    assert np.mean((predicted - values) ** 2) < 0.1 * values.var()


def test_the_linear_baseline_says_what_it_cannot_fit() -> None:
    with pytest.raises(DecoderError, match="4 videos of a single class"):
        fit_linear_baseline(np.ones((4, 2)), np.zeros(4, np.int64), outputs=2)
    with pytest.raises(DecoderError, match="not dense ones"):
        fit_linear_baseline(np.ones((4, 2)), np.zeros(4, np.int64), kind="dense", outputs=2)
    with pytest.raises(DecoderError, match="without tokens"):
        pool_video([])
