"""The encode bench measures every built-in encoder, and its arithmetic is right."""

import pytest

from longvid.encoders import ENCODERS
from longvid.pipelines.bench import encode
from longvid.pipelines.bench.measure import in_own_process


def test_every_built_in_encoder_is_measured_with_one_thread_and_some_every_way() -> None:
    whole = list(encode.cells(quick=False))
    assert {cell.encoder for cell in whole if cell.way == "eager"} == set(ENCODERS)
    assert all(cell.threads[0] == 1 for cell in whole)
    for name in encode.EACH_WAY:
        assert {cell.way for cell in whole if cell.encoder == name} == {"eager", "bfloat16", "compiled"}


def test_the_quick_bench_is_a_part_of_the_whole_one() -> None:
    quick = {(cell.encoder, cell.way) for cell in encode.cells(quick=True)}
    assert quick < {(cell.encoder, cell.way) for cell in encode.cells(quick=False)}


def test_the_share_of_the_limit_is_of_operations_a_second() -> None:
    found = encode.Measured(1, clip_seconds=2.0, gflops=100.0, matrix_gflops_per_second=200.0, peak_bytes=0)
    assert found.share == pytest.approx(0.25)


def test_a_cell_is_measured_in_a_process_of_its_own() -> None:
    found = in_own_process(encode.measure_cell, encode.Cell("patch-statistics", "eager", (1, 2), rounds=1))
    assert [measured.threads for measured in found] == [1, 2]
    assert all(measured.clip_seconds > 0 and 0 < measured.share < 1 for measured in found)
