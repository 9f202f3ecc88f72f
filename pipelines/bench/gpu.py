"""A CUDA device: the S4 kernel by backend, and a step of ViS4mer.

The training step is compared with fused attention. Times are those of the device, between events, of contenders that
take turns; memory is what one pass adds to the allocator's peak; errors are relative L2 against the float64 kernel. A
cell is empty if a way needs more memory than there is.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from longvid.decoders import build_decoder
from longvid.errors import BackendUnavailable
from longvid.pipelines.bench.kernel import FASTER, MEMORY, convolved, relative_errors, system_of
from longvid.pipelines.bench.measure import MEGABYTE
from longvid.pipelines.bench.table import BenchTable, Cell, Panel
from longvid.ssm import StateSpace
from longvid.ssm.kernels.keops import why_no_keops
from longvid.ssm.kernels.triton import why_no_triton

CHANNELS, BATCH = 1024, 2
LENGTHS = (2048, 11820, 65536)
CLAIMED_FROM = 4096
"""Shorter kernels end before Python has launched the next."""
LVU_BATCH, LVU_WIDTH = 16, 1024
STEP_LENGTHS = (1024, 2048, 4096, 11820, 32768)
COMPARED_AT = 11820
STEP_FASTER, STEP_MEMORY = 1.5, 1.0
STEPS: dict[str, tuple[str, dict[str, object]]] = {
    "vis4mer": ("vis4mer", {}),
    "attention": ("transformer", {"attention": "fused", "time_code": False}),
}


def run(*, quick: bool = False) -> BenchTable:
    """Ratios of one run on this device. Quick: the shortest length of each."""
    if not torch.cuda.is_available():
        raise BackendUnavailable("bench gpu needs a CUDA device, and torch sees none; `longvid doctor` says more")
    table = BenchTable(
        f"{torch.cuda.get_device_name()}: forward and backward",
        ["what", "length", "way", "ms", "faster", "MB", "of memory", "error"],
    )
    kernel_rows(table, LENGTHS[:1] if quick else LENGTHS, rounds=3 if quick else 10)
    step_rows(table, STEP_LENGTHS[:1] if quick else STEP_LENGTHS, rounds=3 if quick else 5)
    table.notes += [
        f"kernel: kernel and convolution, {CHANNELS} channels, batch {BATCH}, float32; against direct",
        f"step: ViS4mer's stack, batch {LVU_BATCH}, width {LVU_WIDTH}, bfloat16; against fused attention in it",
        "error: relative L2 of the kernel against float64",
    ]
    return table


def ways() -> tuple[str, ...]:
    """The ways that can be compared on this machine; direct first."""
    optional = (("triton", why_no_triton("cuda")), ("pykeops", why_no_keops("cuda")))
    return ("direct", "cauchy", "dense-power", *(name for name, problem in optional if not problem), "auto")


def kernel_rows(table: BenchTable, lengths: tuple[int, ...], rounds: int) -> None:
    """One row per length and way; claims for what `auto` chooses."""
    faster, share, exacter = [], [], []
    for length in lengths:
        passes = {way: kernel_pass(way, length) for way in ways()}
        found = measured(passes, rounds)
        errors = relative_errors(cuda_system(length), length, tuple(found))
        add_rows(table, "kernel", length, found, baseline="direct", errors=errors)
        if "direct" in found and length >= CLAIMED_FROM:
            faster.append(found["direct"][0] / found["auto"][0])
            share.append(found["auto"][1] / found["direct"][1])
            exacter.append(errors["direct"] / errors["auto"])
    if faster:
        what = f"kernel from {CLAIMED_FROM:,} steps on"
        table.claim(f"{what}: times faster than the direct sum (least)", min(faster), at_least=FASTER)
        table.claim(f"{what}: memory against the direct sum (most)", max(share), at_most=MEMORY)
        table.claim(f"{what}: times closer to float64 (least)", min(exacter), at_least=1.0)


def step_rows(table: BenchTable, lengths: tuple[int, ...], rounds: int) -> None:
    """One row per length and decoder; claims at `COMPARED_AT`."""
    lines: dict[str, list[tuple[int | float, float]]] = {"time": [], "memory": []}
    for length in lengths:
        found = measured({way: training_pass(way, length) for way in STEPS}, rounds)
        add_rows(table, "step", length, found, baseline="attention")
        if len(found) < len(STEPS):
            continue
        (ours, memory), (theirs, their_memory) = found["vis4mer"], found["attention"]
        lines["time"].append((length, theirs / ours))
        lines["memory"].append((length, memory / their_memory))
        if length == COMPARED_AT:
            what = f"step at {length:,}"
            table.claim(f"{what}: times faster than fused attention", theirs / ours, at_least=STEP_FASTER)
            table.claim(f"{what}: share of fused attention's memory", memory / their_memory, at_most=STEP_MEMORY)
    for name, what in (("time", "times faster than fused attention"), ("memory", "share of its memory")):
        table.panels.append(Panel(f"ViS4mer: {what}", "tokens", "ratio", {"training": lines[name]}, level=1.0))


def add_rows(
    table: BenchTable,
    what: str,
    length: int,
    found: dict[str, tuple[float, int]],
    *,
    baseline: str,
    errors: dict[str, float] | None = None,
) -> None:
    """One row per measured way."""
    for way, (milliseconds, peak) in found.items():
        against: list[Cell] = [None, None]
        if baseline in found:
            against = [found[baseline][0] / milliseconds, peak / found[baseline][1]]
        error = None if errors is None else errors[way]
        table.rows.append([what, length, way, milliseconds, against[0], peak / MEGABYTE, against[1], error])


def cuda_system(length: int) -> StateSpace:
    """The state space of the kernel bench, on the device."""
    *tensors, truncated_at = system_of(CHANNELS, length)
    w, p, q, b, c, step = (tensor.detach().cuda().requires_grad_() for tensor in tensors)
    return StateSpace(w, p, q, b, c, step, truncated_at)


def kernel_pass(way: str, length: int) -> Callable[[], None]:
    """Kernel, convolution and the gradients of all inputs."""
    system = cuda_system(length)
    u = torch.randn(BATCH, CHANNELS, length, device="cuda", requires_grad=True)

    def call() -> None:
        y: Tensor = convolved(way, system, u, length)
        torch.autograd.grad(y.square().sum(), [u, *system[:6]])

    return call


def training_pass(way: str, length: int) -> Callable[[], None]:
    """Forward and backward of one decoder under bfloat16 autocast."""
    name, options = STEPS[way]
    decoder = build_decoder(name, dim=LVU_WIDTH, outputs=10, max_length=length, **options).cuda().train()
    tokens = torch.randn(LVU_BATCH, length, LVU_WIDTH, device="cuda", dtype=torch.bfloat16)

    def call() -> None:
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = decoder(tokens).float().square().sum()
        loss.backward()
        decoder.zero_grad(set_to_none=True)

    return call


def measured(passes: dict[str, Callable[[], None]], rounds: int) -> dict[str, tuple[float, int]]:
    """(milliseconds of the fastest round, bytes added at the peak) for each way that fits in memory."""
    found: dict[str, tuple[float, int]] = {}
    for way, call in passes.items():
        try:
            call()
            torch.cuda.synchronize()
            held = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            call()
            torch.cuda.synchronize()
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            continue
        found[way] = float("inf"), torch.cuda.max_memory_allocated() - held
    for _ in range(rounds):
        for way, (best, peak) in found.items():
            found[way] = min(best, milliseconds_of(passes[way])), peak
    return found


def milliseconds_of(call: Callable[[], None]) -> float:
    """Milliseconds of the device, between two events."""
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    call()
    end.record()
    torch.cuda.synchronize()
    elapsed: float = begin.elapsed_time(end)
    return elapsed
