"""Typical mistakes in LV-MAE make golden fixtures fail."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import longvid.decoders.lv_mae.official  # noqa: F401 -- before anything is broken: it keeps the functions that it imports
from longvid.decoders.lv_mae import model, parts
from longvid.pretraining import masks, objective

Bites = Callable[[str, str], None]

sine_table = parts.sine_table


def one_place_off(rows: int, dim: int, like: Tensor) -> Tensor:
    return torch.cat([torch.zeros(1, dim).to(like), sine_table(rows + 1, dim, like)[2:]])


@pytest.mark.parametrize("layout", ["pretraining", "probe"])
def test_golden_files_catch_positions_that_are_one_place_off(
    layout: str, monkeypatch: pytest.MonkeyPatch, golden_bites: Bites
) -> None:
    monkeypatch.setattr(parts, "sine_table", one_place_off)
    golden_bites("lv_mae", layout)


@pytest.mark.parametrize("layout", ["pretraining", "probe"])
def test_golden_files_catch_inputs_that_are_not_of_unit_length(
    layout: str, monkeypatch: pytest.MonkeyPatch, golden_bites: Bites
) -> None:
    for module in (parts, model):
        monkeypatch.setattr(module, "unit_length", lambda embeddings: embeddings)
    golden_bites("lv_mae", layout)


@pytest.mark.parametrize("layout", ["pretraining", "probe"])
def test_golden_files_catch_another_epsilon(layout: str, monkeypatch: pytest.MonkeyPatch, golden_bites: Bites) -> None:
    norm = nn.LayerNorm
    monkeypatch.setattr(nn, "LayerNorm", lambda dim, eps=1e-5: norm(dim, eps=1e-5 if eps == 1e-6 else 1e-6))
    golden_bites("lv_mae", layout)


def test_golden_files_catch_a_loss_over_all_clips(monkeypatch: pytest.MonkeyPatch, golden_bites: Bites) -> None:
    monkeypatch.setattr(objective, "masked_mean", lambda values, counted: values.mean())
    golden_bites("lv_mae", "pretraining")


def test_golden_probes_catch_the_sensible_mask(monkeypatch: pytest.MonkeyPatch, golden_bites: Bites) -> None:
    monkeypatch.setattr(model, "padding", lambda tokens, ends: parts.padding(tokens, ends + 1))
    golden_bites("lv_mae", "probe")


def test_golden_files_catch_the_rule_of_the_papers_text(
    monkeypatch: pytest.MonkeyPatch, golden_check: Callable[[Path, str], None]
) -> None:
    semantic_scores = masks.semantic_scores
    monkeypatch.setattr(masks, "semantic_scores", lambda clips: -semantic_scores(clips))
    with pytest.raises(AssertionError, match="sorted in another way"):
        golden_check(Path(__file__).parent / "lv_mae" / "pretrain_semantic.npz", "lv_mae")
