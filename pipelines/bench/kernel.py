"""The S4 kernel and convolution against the direct Cauchy sum in torch.

Forward and backward, one thread. Times are processor seconds of contenders that take turns in one process; memory is
measured in a separate process; errors are relative L2 against the float64 kernel.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from longvid.decoders import build_decoder
from longvid.decoders.vis4mer import ViS4mer
from longvid.pipelines.bench.measure import MEGABYTE, PeakMemory, in_own_process, interleaved_seconds
from longvid.pipelines.bench.table import BenchTable
from longvid.ssm import StateSpace, s4_kernel
from longvid.ssm.cache import WeightCache
from longvid.ssm.convolution import convolve
from longvid.ssm.hippo import legs_low_rank

CHANNELS = 64
BATCH = 2
LENGTHS = (2048, 8192, 16384)
WAYS = ("direct", "cauchy", "dense-power", "auto")

FASTER, MEMORY, CACHED = 5.0, 0.25, 3.0


@dataclass(frozen=True)
class Evaluation:
    """A ViS4mer whose kernels are kept or computed again."""

    width: int = 128
    length: int = 4096


def run(*, quick: bool = False) -> BenchTable:
    """Ratios of one run on this machine. Quick: the shortest length, two rounds."""
    table = BenchTable(
        f"S4 kernel and convolution, forward and backward, {CHANNELS} channels, batch {BATCH}",
        ["length", "way", "seconds", "against direct", "peak MB", "share of direct", "error against float64"],
    )
    rounds = 2 if quick else 4
    faster, memory, exacter = [], [], []
    for length in LENGTHS[:1] if quick else LENGTHS:
        seconds = in_own_process(time_ways, length, rounds)
        peaks = {way: in_own_process(peak_of, way, length) for way in WAYS}
        errors = in_own_process(errors_of, length)
        for way in WAYS:
            speed, share = seconds["direct"] / seconds[way], peaks[way] / peaks["direct"]
            table.rows.append([length, way, seconds[way], speed, peaks[way] / MEGABYTE, share, errors[way]])
        faster.append(seconds["direct"] / seconds["auto"])
        memory.append(peaks["auto"] / peaks["direct"])
        exacter.append(errors["direct"] / errors["auto"])
    table.claim("times faster than the direct sum (least over lengths)", min(faster), at_least=FASTER)
    table.claim("memory against the direct sum (most over lengths)", max(memory), at_most=MEMORY)
    table.claim("times closer to float64 (least over lengths)", min(exacter), at_least=1.0)
    cached = in_own_process(cached_speed, Evaluation(), rounds)
    table.claim("evaluation with kept kernels, times faster than computing them again", cached, at_least=CACHED)
    table.notes += [
        "direct: the formula of the S4 papers with complex numbers and torch's own backward pass",
        f"evaluation: ViS4mer {Evaluation.width} wide, one item of {Evaluation.length:,} tokens",
    ]
    return table


def system_of(channels: int, length: int) -> StateSpace:
    """HiPPO systems at initialisation, the output map truncated at `length`, all parameters with gradients."""
    torch.manual_seed(0)
    w, p, b = (tensor.to(torch.complex64) for tensor in legs_low_rank(64))
    c = torch.randn(channels, len(w), dtype=torch.complex64)
    step = torch.linspace(math.log(0.001), math.log(0.1), channels).exp()
    p, b = p.repeat(channels, 1), b.repeat(channels, 1)
    w, p, q, b, c, step = (tensor.clone().requires_grad_() for tensor in (w, p, p, b, c, step))
    return StateSpace(w, p, q, b, c, step, length)


def direct_kernel(system: StateSpace, length: int) -> Tensor:
    """The Cauchy sum as written: z = 2 (1 - ω) / (1 + ω), every term of every sum in memory."""
    root = torch.exp(torch.tensor(-2j * math.pi / length, dtype=torch.complex64))
    omega = root.to(system.step.device) ** torch.arange(length // 2 + 1, device=system.step.device)
    z = 2 * (1 - omega) / (1 + omega)
    step = system.step[:, None]
    w = (system.eigenvalues * step)[:, None, :, None]
    left = torch.stack([system.c, system.c, system.q, system.q], dim=1).conj()
    v = (left * torch.stack([system.b, system.p, system.b, system.p], dim=1) * step[:, None])[..., None]
    cb, cp, qb, qp = (v / (z - w) + v.conj() / (z - w.conj())).sum(dim=2).unbind(1)
    kernel: Tensor = torch.fft.irfft(2 / (1 + omega) * (cb - cp * qb / (1 + qp)), n=length)
    return kernel


def one_pass(way: str, length: int) -> Callable[[], None]:
    """Kernel, convolution and the gradients of all inputs."""
    system = system_of(CHANNELS, length)
    u = torch.randn(BATCH, CHANNELS, length, requires_grad=True)

    def call() -> None:
        convolved(way, system, u, length).square().sum().backward()

    return call


def convolved(way: str, system: StateSpace, u: Tensor, length: int) -> Tensor:
    """u (batch, channel, length) convolved with the system's kernel, computed in one of `WAYS`."""
    if way != "direct":
        return convolve(u, s4_kernel(system, length, backend=way))
    kernel = direct_kernel(system, length)
    spectrum = torch.fft.rfft(u, n=2 * length) * torch.fft.rfft(kernel, n=2 * length)
    outputs: Tensor = torch.fft.irfft(spectrum, n=2 * length)[..., :length]
    return outputs


def time_ways(length: int, rounds: int) -> dict[str, float]:
    """Processor seconds per way."""
    torch.set_num_threads(1)
    passes = {way: one_pass(way, length) for way in WAYS}
    return interleaved_seconds(passes, rounds=rounds, processor=True)


def peak_of(way: str, length: int) -> int:
    """Bytes that one way adds to a process that has run it at a small size."""
    torch.set_num_threads(1)
    one_pass(way, 64)()
    call = one_pass(way, length)
    with PeakMemory() as memory:
        call()
    return memory.grown_bytes


def errors_of(length: int) -> dict[str, float]:
    """Relative L2 error of each way's kernel, for the worst channel."""
    torch.set_num_threads(1)
    return relative_errors(system_of(CHANNELS, length), length, WAYS)


def relative_errors(system: StateSpace, length: int, ways: tuple[str, ...]) -> dict[str, float]:
    """Relative L2 errors against the kernel in float64, for the worst channel of each way."""
    with torch.no_grad():
        exact = s4_kernel(system.double(), length, backend="dense-power")
        errors = {}
        for way in ways:
            kernel = direct_kernel(system, length) if way == "direct" else s4_kernel(system, length, backend=way)
            errors[way] = ((kernel - exact).norm(dim=1) / exact.norm(dim=1)).max().item()
        return errors


def cached_speed(evaluation: Evaluation, rounds: int) -> float:
    """Evaluation time with kernels computed again for every batch, over the time with kernels kept."""
    torch.set_num_threads(1)
    decoder = build_decoder(
        "vis4mer", dim=evaluation.width, outputs=10, max_length=evaluation.length, backend="cauchy"
    ).eval()
    assert isinstance(decoder, ViS4mer)
    tokens = torch.randn(1, evaluation.length, evaluation.width)
    caches = [
        cache for module in decoder.modules() for cache in vars(module).values() if isinstance(cache, WeightCache)
    ]

    def kept() -> None:
        with torch.no_grad():
            decoder(tokens)

    def made_again() -> None:
        for cache in caches:
            cache.drop()
        kept()

    # every `made_again` leaves the kernels in place, so `kept` finds them
    seconds = interleaved_seconds({"again": made_again, "kept": kept}, rounds=max(3, rounds), processor=True)
    return seconds["again"] / seconds["kept"]
