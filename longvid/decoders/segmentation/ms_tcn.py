"""MS-TCN (Farha and Gall, CVPR 2019) and MS-TCN++ (Li et al., TPAMI 2020).

A first stage of dilated convolutions answers each step from the features; each refinement stage reads nothing but the
probabilities of the stage before, and so learns which orders and lengths of actions are plausible.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from longvid.decoders.segmentation.staged import StagedConfig, StagedDecoder, chances, cut
from longvid.errors import DecoderError
from longvid.validation import Count, NonNegative, Share, settings

Steps = Float[Tensor, "batch _ length"]
Valid = Float[Tensor, "batch 1 length"] | None


@settings(DecoderError, kw_only=True)
class MSTCNConfig(StagedConfig):
    """Settings of `MSTCN`; the defaults are the authors'."""

    width: Count = 64
    """Channels of every stage."""
    layers: Count = 10
    """Layer i has dilation 2^i: ten layers see 2,047 steps; at 2 steps per second 6 to 8 are enough."""
    refinements: NonNegative = 3
    """Stages after the first."""
    dropout: Share = 0.5
    """Share of numbers set to zero in training."""


@settings(DecoderError, kw_only=True)
class MSTCNPlusPlusConfig(StagedConfig):
    """Settings of `MSTCNPlusPlus`; the defaults are the authors'."""

    width: Count = 64
    """Channels of every stage."""
    layers: Count = 11
    """Layer i of the first stage has the dilations 2^(layers - 1 - i) and 2^i."""
    refinements: NonNegative = 3
    """Stages after the first."""
    refinement_layers: Count = 10
    """Dilated convolutions of each later stage."""
    dropout: Share = 0.5
    """Share of numbers set to zero in training."""


class DilatedLayer(nn.Module):
    """Dilated convolution of three taps, ReLU, point-wise convolution, dropout, residual."""

    def __init__(self, width: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.taps = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
        self.point = nn.Conv1d(width, width, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Steps, valid: Valid) -> Steps:
        """x plus what the layer sees around each step."""
        return cut(x + self.dropout(self.point(self.taps(x).relu())), valid)


class Stage(nn.Module):
    """MS-TCN's stage: point-wise in, dilated layers, point-wise out."""

    def __init__(self, dim: int, width: int, outputs: int, *, layers: int, dropout: float) -> None:
        super().__init__()
        self.enter = nn.Conv1d(dim, width, 1)
        self.layers = nn.ModuleList(DilatedLayer(width, 2**layer, dropout) for layer in range(layers))
        self.leave = nn.Conv1d(width, outputs, 1)

    def forward(self, x: Steps, valid: Valid, *, enter_masked: bool = True) -> Steps:
        """Logits of each step."""
        x = self.enter(x)
        x = cut(x, valid) if enter_masked else x
        for layer in self.layers:
            x = layer(x, valid)
        return cut(self.leave(x), valid)


class DualDilatedStage(nn.Module):
    """MS-TCN++'s first stage: every layer looks near and far at once."""

    def __init__(self, dim: int, width: int, outputs: int, *, layers: int, dropout: float) -> None:
        super().__init__()
        dilations = [2**layer for layer in range(layers)]
        self.enter = nn.Conv1d(dim, width, 1)
        self.far = nn.ModuleList(nn.Conv1d(width, width, 3, padding=d, dilation=d) for d in reversed(dilations))
        self.near = nn.ModuleList(nn.Conv1d(width, width, 3, padding=d, dilation=d) for d in dilations)
        self.fusion = nn.ModuleList(nn.Conv1d(2 * width, width, 1) for _ in dilations)
        self.dropout = nn.Dropout(dropout)
        self.leave = nn.Conv1d(width, outputs, 1)

    def forward(self, x: Steps, valid: Valid) -> Steps:
        """Logits of each step."""
        x = cut(self.enter(x), valid)
        for far, near, fusion in zip(self.far, self.near, self.fusion, strict=True):
            seen = fusion(torch.cat([far(x), near(x)], dim=1))
            x = cut(x + self.dropout(seen.relu()), valid)
        return cut(self.leave(x), valid)


class MSTCN(StagedDecoder):
    """Four stages of dilated convolutions, each after the first on the probabilities of the one before."""

    config: MSTCNConfig

    def __init__(self, config: MSTCNConfig) -> None:
        super().__init__()
        self.config = config
        sizes = {"layers": config.layers, "dropout": config.dropout}
        self.first = Stage(config.dim, config.width, config.outputs, **sizes)  # type: ignore[arg-type]
        self.refine = nn.ModuleList(
            Stage(config.outputs, config.width, config.outputs, **sizes)  # type: ignore[arg-type]
            for _ in range(config.refinements)
        )

    def run(self, x: Steps, valid: Valid) -> list[Steps]:
        """Logits of every stage."""
        masked = self.config.padding == "masked"
        made = [self.first(x, valid, enter_masked=masked)]
        for stage in self.refine:
            made.append(stage(chances(made[-1], valid), valid, enter_masked=masked))
        return made


class MSTCNPlusPlus(StagedDecoder):
    """MS-TCN with dual dilated layers in the first stage. The authors' code masks nothing in the forward pass."""

    config: MSTCNPlusPlusConfig

    def __init__(self, config: MSTCNPlusPlusConfig) -> None:
        super().__init__()
        self.config = config
        self.first = DualDilatedStage(
            config.dim, config.width, config.outputs, layers=config.layers, dropout=config.dropout
        )
        self.refine = nn.ModuleList(
            Stage(config.outputs, config.width, config.outputs, layers=config.refinement_layers, dropout=config.dropout)
            for _ in range(config.refinements)
        )

    def run(self, x: Steps, valid: Valid) -> list[Steps]:
        """Logits of every stage."""
        valid = valid if self.config.padding == "masked" else None
        made = [self.first(x, valid)]
        for stage in self.refine:
            made.append(stage(chances(made[-1], valid), valid))
        return made
