"""Typical mistakes in segmentation networks, their loss and their metrics make every golden fixture fail."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from longvid.decoders.segmentation import asformer, ltcontext, ms_tcn, smoothing, staged
from longvid.metrics import segmentation
from longvid.metrics.segmentation import READINGS

Bites = Callable[[str, str], None]
NETWORKS = ("ms-tcn", "ms-tcn++", "asformer", "ltcontext")
MODULES = {"ms-tcn": ms_tcn, "ms-tcn++": ms_tcn, "asformer": asformer, "ltcontext": ltcontext}


@pytest.mark.parametrize("kind", NETWORKS)
def test_logits_instead_of_probabilities_between_the_stages_are_caught(
    kind: str, monkeypatch: pytest.MonkeyPatch, golden_bites: Bites
) -> None:
    monkeypatch.setattr(MODULES[kind], "chances", staged.cut)
    golden_bites("segmentation", kind)


def test_ms_tcn_with_blocks_that_are_not_masked_is_caught(monkeypatch: pytest.MonkeyPatch, golden_bites: Bites) -> None:
    monkeypatch.setattr(ms_tcn, "cut", lambda x, valid: x)
    golden_bites("segmentation", "ms-tcn")


def test_ms_tcn_plus_plus_with_its_dilations_exchanged_or_its_relu_after_the_sum_is_caught(
    monkeypatch: pytest.MonkeyPatch, golden_bites: Bites
) -> None:
    forward = ms_tcn.DualDilatedStage.forward

    def exchanged(self: Any, x: Tensor, valid: Any) -> Tensor:
        for far, near in zip(self.far, self.near, strict=True):
            far.dilation, near.dilation, far.padding, near.padding = (
                near.dilation,
                far.dilation,
                near.padding,
                far.padding,
            )
        return forward(self, x, valid)

    def late(self: Any, x: Tensor, valid: Any) -> Tensor:
        x = self.enter(x)
        for far, near, fusion in zip(self.far, self.near, self.fusion, strict=True):
            x = (x + fusion(torch.cat([far(x), near(x)], dim=1))).relu()
        return self.leave(x)

    for mistake in (exchanged, late):
        monkeypatch.setattr(ms_tcn.DualDilatedStage, "forward", mistake)
        golden_bites("segmentation", "ms-tcn++")


class NoNorm(nn.Module):
    def __init__(self, **settings: Any) -> None:
        super().__init__()

    def forward(self, x: Tensor, valid: Any) -> Tensor:
        return x


def own_values(self: Any, x: Tensor, before: Any, valid: Any) -> Tensor:
    return self.right(x, None, valid)


@pytest.mark.parametrize("mistake", ["own window", "values of the block", "alpha 1", "no norm", "another eps", "hard"])
def test_mistakes_in_asformer_are_caught(mistake: str, monkeypatch: pytest.MonkeyPatch, golden_bites: Bites) -> None:
    if mistake == "own window":
        right = asformer.window_mask
        monkeypatch.setattr(asformer, "window_mask", lambda window, shared: right(window, shared=False))
    if mistake == "values of the block":
        monkeypatch.setattr(asformer.Block, "right", asformer.Block.forward, raising=False)
        monkeypatch.setattr(asformer.Block, "forward", own_values)
    if mistake == "alpha 1":
        monkeypatch.setattr(asformer.math, "exp", lambda x: 1.0)
    if mistake == "no norm":
        monkeypatch.setattr(asformer, "InstanceNorm", NoNorm)
    if mistake == "another eps":
        right_norm = asformer.InstanceNorm
        monkeypatch.setattr(asformer, "InstanceNorm", lambda **settings: right_norm(**settings, eps=1e-6))
    if mistake == "hard":
        monkeypatch.setattr(asformer, "MASKED", 1e-30)
    golden_bites("segmentation", "asformer")


@pytest.mark.parametrize("mistake", ["norm as it says", "order", "values of the block", "block only", "chunks", "gelu"])
def test_mistakes_in_ltcontext_are_caught(mistake: str, monkeypatch: pytest.MonkeyPatch, golden_bites: Bites) -> None:
    if mistake == "norm as it says":
        init = ltcontext.Block.__init__

        def inverted(self: Any, *sizes: Any) -> None:
            init(self, *sizes)
            self.norm = ltcontext.InstanceNorm() if self.norm is None else None

        monkeypatch.setattr(ltcontext.Block, "__init__", inverted)
    if mistake == "order":
        forward = ltcontext.Block.forward

        def other_order(self: Any, x: Tensor, before: Any, valid: Any) -> Tensor:
            self.windowed.kind, self.long.kind = "long", "windowed"
            return forward(self, x, before, valid)

        monkeypatch.setattr(ltcontext.Block, "forward", other_order)
    if mistake == "values of the block":
        monkeypatch.setattr(ltcontext.Block, "right", ltcontext.Block.forward, raising=False)
        monkeypatch.setattr(ltcontext.Block, "forward", own_values)
    if mistake in ("block only", "chunks"):
        monkeypatch.setattr(
            ltcontext, "windowed" if mistake == "block only" else "strided", lambda q, k, v, there, **_: v
        )
    if mistake == "gelu":
        right = ltcontext.functional.gelu
        monkeypatch.setattr(ltcontext.functional, "gelu", lambda x: right(x, approximate="tanh"))
    golden_bites("segmentation", "ltcontext")


@pytest.mark.parametrize("mistake", ["not held", "clamped at 4", "no padding", "mean of valid steps"])
def test_mistakes_in_the_smoothing_loss_are_caught(
    mistake: str, monkeypatch: pytest.MonkeyPatch, golden_bites: Bites
) -> None:
    rules = dict(smoothing.SMOOTHING)
    if mistake == "not held":
        rules["ms-tcn"] = replace(rules["ms-tcn"], earlier_held=False)
    if mistake == "no padding":
        rules["ms-tcn"] = replace(rules["ms-tcn"], padding="counts")
    if mistake == "mean of valid steps":
        rules["ms-tcn"] = replace(rules["ms-tcn"], padding="left out")
    monkeypatch.setattr(smoothing, "SMOOTHING", rules)
    if mistake == "clamped at 4":
        monkeypatch.setattr(smoothing, "LARGEST_SQUARE", 4.0)
    golden_bites("segmentation", "smoothing loss")


@pytest.mark.parametrize(
    ("reading", "fault"),
    [
        ("pooled", {"last_frame": False}),
        ("last-frame-cut", {"last_frame": True}),
        ("per-video", {"over": "split"}),
        ("per-video", {"background_frames": "counted"}),
        ("epsilon", {"epsilon": 0.0}),
        ("epsilon", {"background_frames": "counted"}),
    ],
)
def test_mistakes_in_the_readings_are_caught(
    reading: str, fault: dict[str, Any], monkeypatch: pytest.MonkeyPatch, golden_bites: Bites
) -> None:
    wrong: dict[str, Any] = dict(READINGS)
    wrong[reading] = replace(wrong[reading], **fault)
    monkeypatch.setattr(segmentation, "READINGS", wrong)
    golden_bites("segmentation", "metrics")
