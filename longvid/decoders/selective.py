"""The pyramid with Mamba-2's selective state space in plain torch.

The structure is that of arXiv 2405.21060. A head's state S is a matrix (state, head dim): S_t = a_t S_(t-1) +
b_t (Δ_t x_t)^T, y_t = c_t S_t + D x_t, where the decay a_t = exp(-Δ_t exp(log_decay)), b_t and c_t come from the input.
Within a chunk the recurrence is a masked matrix product, from chunk to chunk one state is passed on; the cost is linear
in the length. On a CUDA device the kernels of `mamba-ssm` are used where that package can be imported.
"""

import logging
from collections.abc import Callable
from functools import cache

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from longvid.decoders.attention import num_heads
from longvid.decoders.pyramid import PyramidConfig, PyramidDecoder
from longvid.errors import DecoderError
from longvid.layers.masks import zero_beyond
from longvid.ssm.s4 import wide
from longvid.validation import Count, settings

_log = logging.getLogger(__name__)


@settings(DecoderError, kw_only=True)
class SelectiveConfig(PyramidConfig):
    """Settings of `Selective`."""

    state_size: Count = 64
    """Rows of a head's state."""
    chunk: Count = 64
    """Steps per chunk, which are computed as one masked matrix product."""
    taps: Count = 4
    """Taps of the short convolution before the scan."""


class Selective(PyramidDecoder):
    """The pyramid with selective scans; causal."""

    config: SelectiveConfig

    def __init__(self, config: SelectiveConfig) -> None:
        super().__init__(config, lambda block: SelectiveScan(config.widths[block], config))

    @property
    def causal(self) -> bool:
        """Whether nothing needs the length of the whole sequence."""
        return not self.config.time_code


class SelectiveScan(nn.Module):
    """Gate, short causal convolution, scan, norm and output projection of a Mamba-2 layer."""

    time_scale: Tensor

    def __init__(self, width: int, config: SelectiveConfig) -> None:
        super().__init__()
        self.heads, self.state_size, self.chunk, self.taps = (
            num_heads(width),
            config.state_size,
            config.chunk,
            config.taps,
        )
        mixed = width + 2 * config.state_size
        self.sizes = [width, mixed, self.heads]
        self.enter = nn.Linear(width, sum(self.sizes))
        self.short = nn.Conv1d(mixed, mixed, config.taps, groups=mixed)
        steps = torch.logspace(-3, -1, self.heads)  # Mamba's range
        self.step_bias = nn.Parameter(torch.log(torch.expm1(steps)))
        self.log_decay = nn.Parameter(torch.log(torch.linspace(1, 16, self.heads)))
        self.register_buffer("time_scale", torch.ones(()))
        self.skip = nn.Parameter(torch.ones(self.heads))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, width)

    def forward(
        self, x: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None
    ) -> Float[Tensor, "batch length dim"]:
        """Every step's mixture of itself and the steps before it."""
        x = zero_beyond(x, lengths)  # within a chunk later steps have a weight of zero, but zero times NaN is NaN
        gate, mixed, step = self.enter(x).split(self.sizes, dim=-1)
        mixed = functional.pad(mixed.transpose(1, 2), (self.taps - 1, 0))
        mixed = functional.silu(self.short(mixed)).transpose(1, 2)
        u, b, c = mixed.split([x.shape[-1], self.state_size, self.state_size], dim=-1)
        step = functional.softplus(wide(step) + self.step_bias) / self.time_scale
        heads = wide(u.unflatten(-1, (self.heads, -1)))
        scan = fused_scan() if x.is_cuda and heads.dtype == torch.float32 else None
        y = (scan or scan_in_chunks)(heads, step, -self.log_decay.exp(), wide(b), wide(c), self.chunk)
        y = (y + self.skip[:, None] * heads).flatten(2).to(x.dtype)
        output: Tensor = self.out(self.norm(y * functional.silu(gate)))
        return output

    def rescale_time(self, factor: int | float) -> None:
        """Divide the steps of the scan by `factor`; the short convolution has no step size and keeps its taps."""
        self.time_scale *= factor

    def dynamics_parameters(self) -> list[nn.Parameter]:
        """Parameters of steps and decays."""
        return [self.step_bias, self.log_decay]


Scan = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, int], Tensor]


@cache
def fused_scan() -> Scan | None:
    """The scan by `mamba-ssm`, for tensors on a CUDA device; None where it cannot be imported.

    Its kernels tune themselves in the first pass of each size, forward and backward: more than a minute on an H200.
    """
    try:
        from mamba_ssm.ops.triton.ssd_combined import mamba_chunk_scan_combined
    except (ImportError, OSError, RuntimeError) as error:  # a build for another torch or CUDA can raise any of these
        _log.info("selective scan in plain torch: mamba-ssm cannot be imported (%s)", error)
        return None
    _log.warning("selective scan by mamba-ssm: its first training step tunes the kernels, which can take minutes")

    def scan(u: Tensor, step: Tensor, rate: Tensor, b: Tensor, c: Tensor, chunk: int) -> Tensor:
        fused: Tensor = mamba_chunk_scan_combined(u, step, rate, b[:, :, None], c[:, :, None], chunk)
        return fused

    return scan


def scan_in_chunks(
    u: Float[Tensor, "batch length heads head_dim"],
    step: Float[Tensor, "batch length heads"],
    rate: Float[Tensor, " heads"],
    b: Float[Tensor, "batch length state"],
    c: Float[Tensor, "batch length state"],
    chunk: int,
) -> Float[Tensor, "batch length heads head_dim"]:
    """The scan of `fused_scan` in plain torch: inputs and decays are scaled by the step."""
    return selective_scan(u * step[..., None], step * rate, b, c, chunk)


def selective_scan(
    u: Float[Tensor, "batch length heads head_dim"],
    log_decay: Float[Tensor, "batch length heads"],
    b: Float[Tensor, "batch length state"],
    c: Float[Tensor, "batch length state"],
    chunk: int,
) -> Float[Tensor, "batch length heads head_dim"]:
    """y_t = Σ_(s<=t) (c_t·b_s) exp(Σ_(s<r<=t) log_decay_r) u_s, in chunks."""
    length = u.shape[1]
    spare = -length % chunk
    u, log_decay, b, c = (functional.pad(t, (0, 0) * (t.ndim - 2) + (0, spare)) for t in (u, log_decay, b, c))
    u, log_decay, b, c = (t.unflatten(1, (-1, chunk)) for t in (u, log_decay, b, c))
    total = log_decay.cumsum(2).movedim(-1, 2)  # batch chunks heads chunk
    between = total[..., :, None] - total[..., None, :]
    causal = torch.ones(chunk, chunk, dtype=torch.bool, device=u.device).tril()
    weights = between.masked_fill(~causal, -torch.inf).exp() * (c @ b.mT)[:, :, None]
    within = torch.einsum("bkhts,bkshd->bkthd", weights, u)
    to_end = (total[..., -1:] - total).exp()
    added = torch.einsum("bkhs,bksn,bkshd->bkhnd", to_end, b, u)
    carried = torch.einsum("bktn,bkht,bkhnd->bkthd", c, total.exp(), _before_each(added, total[..., -1].exp()))
    return (within + carried).flatten(1, 2)[:, :length]


def _before_each(
    added: Float[Tensor, "batch chunks heads state head_dim"], decay: Float[Tensor, "batch chunks heads"]
) -> Float[Tensor, "batch chunks heads state head_dim"]:
    """State at the start of each chunk."""
    state = torch.zeros_like(added[:, 0])
    states = []
    for new, kept in zip(added.unbind(1), decay.unbind(1), strict=True):
        states.append(state)
        state = state * kept[..., None, None] + new
    return torch.stack(states, dim=1)
