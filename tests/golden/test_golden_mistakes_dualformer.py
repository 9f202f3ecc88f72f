"""Typical mistakes in DualFormer make every golden fixture fail."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from longvid.encoders import dualformer
from longvid.encoders.dualformer import DualFormer, attention, config_from_official, token_label, view_frames
from longvid.encoders.dualformer.attention import Pyramid, to_grid, to_tokens
from longvid.encoders.dualformer.config import Size
from longvid.encoders.dualformer.model import Stage
from longvid.errors import EncoderError

Bites = Callable[[str, str], None]


def no_position(stage: Stage, tokens: Tensor, grid: Size) -> Tensor:
    return torch.zeros_like(tokens)


def position_by_repeated_borders(stage: Stage, tokens: Tensor, grid: Size) -> Tensor:
    padded = torch.nn.functional.pad(to_grid(tokens, grid), (1, 1, 1, 1, 1, 1), mode="replicate")
    conv = stage.position
    return to_tokens(torch.nn.functional.conv3d(padded, conv.weight, conv.bias, groups=conv.groups))


def pyramid_without(*left_out: str) -> Callable[[Pyramid, Tensor, Size], Tensor]:
    """The pyramid without its batch norm, ReLU, coarse level or layer norm."""

    def forward(pyramid: Pyramid, tokens: Tensor, grid: Size) -> Tensor:
        places = to_grid(tokens, grid)
        levels = [to_tokens(pyramid.fine(places))]
        if pyramid.coarse is not None and "coarse level" not in left_out:
            first, batch_norm, relu, second = pyramid.coarse
            coarse = first(places)
            coarse = coarse if "batch norm" in left_out else batch_norm(coarse)
            coarse = coarse if "relu" in left_out else relu(coarse)
            levels.append(to_tokens(second(coarse)))
        joined = torch.cat(levels, dim=1)
        return joined if "layer norm" in left_out else pyramid.norm(joined)

    return forward


def batch_norm_in_training_mode(pyramid: Pyramid, tokens: Tensor, grid: Size) -> Tensor:
    if pyramid.coarse is not None:
        pyramid.coarse.train()
    return pyramid_without()(pyramid, tokens, grid)


def shifted_windows(tokens: Tensor, grid: Size, window: Size) -> Tensor:
    """Moved by half a window, as in Swin."""
    shift = [part // 2 for part in window]
    return to_windows(to_tokens(to_grid(tokens, grid).roll(shift, dims=(2, 3, 4))), grid, window)


def shifted_windows_and_back(windows: Tensor, grid: Size, window: Size) -> Tensor:
    shift = [-(part // 2) for part in window]
    return to_tokens(to_grid(from_windows(windows, grid, window), grid).roll(shift, dims=(2, 3, 4)))


to_windows, from_windows = attention.to_windows, attention.from_windows


@pytest.mark.parametrize("mistake", [no_position, position_by_repeated_borders])
def test_golden_models_catch_a_wrong_position_convolution(
    mistake: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch, golden_bites: Bites
) -> None:
    monkeypatch.setattr(Stage, "position_code", mistake)
    golden_bites("dualformer", "model")


@pytest.mark.parametrize(
    "mistake",
    [
        pytest.param(pyramid_without("batch norm"), id="no_batch_norm"),
        pytest.param(pyramid_without("relu"), id="no_relu"),
        pytest.param(pyramid_without("coarse level"), id="no_coarse_level"),
        pytest.param(pyramid_without("layer norm"), id="no_layer_norm"),
        pytest.param(batch_norm_in_training_mode, id="batch_norm_by_the_batch"),
    ],
)
def test_golden_models_catch_a_wrong_pyramid(
    mistake: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch, golden_bites: Bites
) -> None:
    monkeypatch.setattr(Pyramid, "forward", mistake)
    golden_bites("dualformer", "model")


def test_golden_models_catch_shifted_windows(monkeypatch: pytest.MonkeyPatch, golden_bites: Bites) -> None:
    monkeypatch.setattr(attention, "to_windows", shifted_windows)
    monkeypatch.setattr(attention, "from_windows", shifted_windows_and_back)
    golden_bites("dualformer", "model")


def test_the_unbroken_pyramid_written_here_equals_the_golden_numbers(
    monkeypatch: pytest.MonkeyPatch, golden_check: Callable[[Path, str], None]
) -> None:
    """So that the mistakes above are caught for what they leave out."""
    monkeypatch.setattr(Pyramid, "forward", pyramid_without())
    golden_check(Path(__file__).parent / "dualformer" / "two_clips.npz", "dualformer")


def test_the_golden_loss_catches_dropped_classes_without_probability(
    monkeypatch: pytest.MonkeyPatch, golden_bites: Bites
) -> None:
    def only_five(teacher: Tensor) -> Tensor:
        fifth = teacher.topk(5, dim=-1).values[..., -1:]
        return teacher.masked_fill(teacher < fifth, -torch.inf).softmax(dim=-1)

    monkeypatch.setattr(token_label, "token_targets", only_five)
    golden_bites("dualformer", "token-label loss")


def test_the_golden_sampler_catches_clips_at_the_start_of_their_share(
    monkeypatch: pytest.MonkeyPatch, golden_bites: Bites
) -> None:
    def without_half_a_step(total: int, *, frames: int, interval: int, clips: int) -> Tensor:
        plan = view_frames(total, frames=frames, interval=interval, clips=2 * clips)
        return plan[::2]

    monkeypatch.setattr(dualformer, "view_frames", without_half_a_step)
    golden_bites("dualformer", "frame sampling")


def test_the_odd_golden_clip_is_refused_without_the_cropping_option() -> None:
    with np.load(Path(__file__).parent / "dualformer" / "odd_size.npz") as held:
        settings = json.loads(str(held["config"]))
        clips = torch.from_numpy(held["input"]).float()
    config = config_from_official(settings)
    with pytest.raises(EncoderError, match=r"clips of 9x67x58 .*odd_sizes='crop' drops what does not fit"):
        DualFormer(config)(clips)
    assert DualFormer(config, odd_sizes="crop")(clips).tokens.shape == (1, 4, 2 * 1, 24)
