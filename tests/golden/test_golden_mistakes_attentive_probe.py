"""Typical mistakes in attentive probes make golden fixtures fail."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from longvid.clips import frame_counts
from longvid.decoders.attentive import folded, official
from longvid.decoders.attentive.folded import FoldedQueries
from longvid.decoders.attentive.model import AttentiveProbe, CrossAttention, CrossBlock
from longvid.pipelines.training import schedule

Bites = Callable[[str, str], None]

build = official.build
fold_of = CrossAttention.folded
finish_of = CrossBlock.finish
gelu = functional.gelu
cosine = schedule.cosine
filled = frame_counts._filled


def epsilon_of_the_encoder(*args: object, **config: object) -> AttentiveProbe:
    probe = build(*args, **config)
    for part in probe.modules():
        if isinstance(part, nn.LayerNorm):
            part.eps = 1e-6
    return probe


class OtherOrder(AttentiveProbe):
    """The blocks in the order of the other version."""

    def pooled(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        if self.config.order == "query-first":
            return self.cross(self.query, self.run_blocks(x, lengths), lengths)
        return self.run_blocks(self.cross(self.query, x, lengths), None)


def order_of_the_other_version(*args: object, **config: object) -> AttentiveProbe:
    return OtherOrder(build(*args, **config).config)


def heads_interleaved(self: CrossAttention, query: Tensor, norm: nn.LayerNorm | None) -> FoldedQueries:
    parts = fold_of(self, query, norm)
    order = torch.arange(len(parts.value_weight)).view(-1, self.num_heads).T.flatten()
    return parts._replace(value_weight=parts.value_weight[order])


def key_and_value_swapped(self: CrossAttention, query: Tensor, norm: nn.LayerNorm | None) -> FoldedQueries:
    scale, shift = (None, None) if norm is None else (norm.weight, norm.bias)
    weight, bias = self.kv.weight.roll(len(query.T), 0), self.kv.bias.roll(len(query.T), 0)
    return folded.fold(self.q(query), weight, bias, self.num_heads, scale, shift)


def query_normed_too(self: CrossAttention, query: Tensor, norm: nn.LayerNorm | None) -> FoldedQueries:
    return fold_of(self, functional.layer_norm(query, query.shape[-1:]), norm)


def norm_weights_forgotten(self: CrossAttention, query: Tensor, norm: nn.LayerNorm | None) -> FoldedQueries:
    if norm is None:  # there is no norm to be wrong: another mistake in its place
        return fold_of(self, query + 1, norm)
    return fold_of(self, query, None)


def no_residual(self: CrossBlock, query: Tensor, found: Tensor) -> Tensor:
    if self.norm2 is None:  # nor is there one in a bare block
        return found + query
    return finish_of(self, torch.zeros_like(query), found)


MISTAKES = {
    "heads interleaved": (CrossAttention, "folded", heads_interleaved),
    "key and value swapped": (CrossAttention, "folded", key_and_value_swapped),
    "query normed too": (CrossAttention, "folded", query_normed_too),
    "norm without its weights": (CrossAttention, "folded", norm_weights_forgotten),
    "no residual on the query": (CrossBlock, "finish", no_residual),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_golden_probes_catch_a_mistake(mistake: str, monkeypatch: pytest.MonkeyPatch, golden_bites: Bites) -> None:
    monkeypatch.setattr(*MISTAKES[mistake])
    golden_bites("attentive_probe", "probe")


@pytest.mark.parametrize("wrong", [epsilon_of_the_encoder, order_of_the_other_version])
def test_golden_probes_of_several_layers_catch_what_only_they_can_show(
    wrong: Callable[..., AttentiveProbe], monkeypatch: pytest.MonkeyPatch, golden_check: Callable[[Path, str], None]
) -> None:
    monkeypatch.setattr(official, "LAYOUT", replace(official.LAYOUT, build=wrong))
    for name in ("probe_depth4", "probe_depth4_incomplete", "vjepa1_depth2"):
        with pytest.raises(AssertionError, match="differs by"):
            golden_check(Path(__file__).parent / "attentive_probe" / f"{name}.npz", "attentive_probe")


def test_golden_probes_with_an_mlp_catch_the_tanh_gelu(
    monkeypatch: pytest.MonkeyPatch, golden_check: Callable[[Path, str], None]
) -> None:
    monkeypatch.setattr(functional, "gelu", lambda tensor: gelu(tensor, approximate="tanh"))
    for name in ("probe_depth1", "vjepa1_depth2"):
        with pytest.raises(AssertionError, match="differs by"):
            golden_check(Path(__file__).parent / "attentive_probe" / f"{name}.npz", "attentive_probe")


@pytest.mark.parametrize(
    ("owner", "name", "wrong"),
    [
        (schedule, "cosine", lambda step, **rest: cosine(step, **(rest | {"ahead": False}))),
        (schedule, "risen", lambda step, rise, start: start + (1 - start) * step / rise),
    ],
)
def test_golden_schedules_catch_a_step_too_late(
    owner: object, name: str, wrong: object, monkeypatch: pytest.MonkeyPatch, golden_bites: Bites
) -> None:
    monkeypatch.setattr(owner, name, wrong)
    golden_bites("attentive_probe", "schedule")


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("_evenly", lambda first, stop, count, *, last: np.arange(first, stop, (stop - first) // count)),
        ("_filled", lambda length, count, frames: filled(length, min(count + 1, frames), frames)),
    ],
)
def test_golden_frames_catch_an_exact_step_and_a_missing_repeat(
    name: str, wrong: object, monkeypatch: pytest.MonkeyPatch, golden_bites: Bites
) -> None:
    monkeypatch.setattr(frame_counts, name, wrong)
    golden_bites("attentive_probe", "frame sampling")
