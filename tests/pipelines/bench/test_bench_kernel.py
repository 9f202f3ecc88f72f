"""The kernel and decoder benches compare things that compute the same."""

import pytest
import torch
from rounding import assert_same_numbers, rounding

from longvid.pipelines.bench import decoder, gpu, kernel
from longvid.pipelines.bench.decoder import Size, add_panels, note_crossing
from longvid.pipelines.bench.table import BenchTable
from longvid.ssm import s4_kernel

NAIVE = 64 * 1000
"""The naive form adds up 64 states, and loses three digits where a frequency meets an eigenvalue."""


@pytest.mark.parametrize("length", [64, 1024])
def test_the_direct_sum_is_the_kernel(length: int):
    system = kernel.system_of(4, length)
    with torch.no_grad():
        expected = s4_kernel(system.double(), length, backend="recurrence").float()
        assert_same_numbers(kernel.direct_kernel(system, length), expected, terms=NAIVE)


def test_every_way_of_the_kernel_bench_gives_the_same_gradients():
    def gradients(way: str) -> list[torch.Tensor]:
        torch.manual_seed(1)
        leaves = list(kernel.system_of(3, 128)[:6])
        u = torch.randn(2, 3, 128)
        system = kernel.StateSpace(*leaves, 128)
        y = kernel.convolved(way, system, u, 128)
        return list(torch.autograd.grad(y.square().sum(), leaves))

    expected = gradients("direct")
    for way in kernel.WAYS[1:]:
        for found, wanted in zip(gradients(way), expected, strict=True):
            assert (found - wanted).norm() < rounding(torch.float32, terms=NAIVE) * wanted.norm()


def test_the_contenders_of_the_decoder_bench_differ_in_what_mixes_time_alone():
    size = Size(1, 64)
    fused, stored = (decoder.decoder_of(way, size.length).double().eval() for way in ("fused", "stored"))
    stored.load_state_dict(fused.state_dict())
    tokens = torch.randn(1, 64, decoder.WIDTH, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(fused(tokens), stored(tokens))
    ours = decoder.decoder_of("vis4mer", size.length)
    mixers = {name.split(".")[3] for name, _ in ours.named_parameters() if ".mix." in name}
    shared = {name for name, _ in fused.named_parameters() if ".mix." not in name}
    assert {name for name, _ in ours.named_parameters() if ".mix." not in name} == shared
    assert "mixer" in mixers


def test_where_attention_stops_winning_is_said_and_drawn():
    rows = [[length, "training", 1.0, 1.0, faster, 1.0, 1.0, 0.5] for length, faster in ((512, 0.7), (1024, 1.5))]
    rows += [[length, "forward", 1.0, 1.0, 2.0, 1.0, 1.0, 0.5] for length in (512, 1024)]
    table = BenchTable("t", [], rows=rows)
    note_crossing(table)
    add_panels(table)
    assert "training: fused attention falls behind between 512 and 1024 tokens" in table.notes
    assert table.panels[0].lines["training"] == [(512, 0.7), (1024, 1.5)]
    assert table.panels[1].lines["forward"] == [(512, 0.5), (1024, 0.5)]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_its_bench_says_what_is_missing(command):
    status, out, err = command("bench", "gpu")
    assert (status, out) == (2, "")
    assert err == "error: bench gpu needs a CUDA device, and torch sees none; `longvid doctor` says more\n"


@pytest.mark.gpu
def test_the_quick_gpu_bench_has_a_row_for_every_way_and_an_error_for_every_kernel():
    table = gpu.run(quick=True)
    ways = [row[2] for row in table.rows if row[0] == "kernel"]
    assert ways == list(gpu.ways())
    assert all(
        row[7] < rounding(torch.float32, terms=64, layers=4)
        for row in table.rows
        if row[0] == "kernel" and row[2] != "direct"
    )
    assert [row[2] for row in table.rows if row[0] == "step"] == list(gpu.STEPS)


@pytest.mark.slow
def test_the_quick_kernel_bench_reaches_its_goals_of_memory_and_precision():
    table = kernel.run(quick=True)
    claims = {claim.what.split(" (")[0]: claim for claim in table.claims}
    assert claims["memory against the direct sum"].reached
    assert claims["times closer to float64"].reached
