"""The truth table counts what the published figures count, and says so where they do not."""

import pytest

from longvid.encoders import ENCODERS, table
from longvid.encoders.base import PublishedFigures
from longvid.encoders.table import TruthRow, markdown, truth_table
from longvid.errors import EncoderError

ONE_OF_EACH = ("dualformer-tiny", "mobile-former-294m", "xvit-b16-8f", "xvit-ssv2-b16-16f")


@pytest.fixture(scope="module")
def rows() -> dict[str, TruthRow]:
    return {row.name: row for row in truth_table(ONE_OF_EACH)}


def agrees_with_published(row: TruthRow) -> bool:
    parameters, gflops = row.parameters_ratio, row.gflops_ratio
    # published figures of the small nets include norms and activations, up to a seventh of their operations
    return (parameters is None or abs(parameters - 1) < 0.02) and (gflops is None or 0.85 < gflops < 1.02)


def test_counted_parameters_and_operations_agree_with_the_published_ones(rows: dict[str, TruthRow]) -> None:
    assert all(agrees_with_published(row) for row in rows.values())
    assert rows["dualformer-tiny"].gflops_ratio == pytest.approx(1, abs=0.01)
    assert rows["xvit-b16-8f"].gflops_ratio == pytest.approx(1, abs=0.01)


@pytest.mark.slow
def test_every_built_in_encoder_agrees_with_its_published_figures() -> None:
    everything = list(truth_table())
    assert [row.name for row in everything] == list(ENCODERS)
    assert [row.name for row in everything if not agrees_with_published(row)] == []


def test_the_operations_of_xvit_are_those_of_its_closed_form(rows: dict[str, TruthRow]) -> None:
    patches, places, dim, depth = 196, 197, 768, 12
    a_frame = patches * dim * 3 * 16**2 + depth * (12 * places * dim**2 + 2 * places**2 * dim)
    assert rows["xvit-b16-8f"].gflops == pytest.approx(2 * 8 * a_frame / 1e9, rel=1e-3)
    assert rows["xvit-ssv2-b16-16f"].gflops == pytest.approx(2 * 16 * a_frame / 1e9, rel=1e-3)


def test_a_ratio_is_taken_after_bringing_the_published_figure_to_operations_of_one_clip() -> None:
    of_three_crops = PublishedFigures(2e6, 30.0, "somewhere", "multiply-adds of three crops", 2 / 3)
    row = TruthRow("x", 8, 224, 224, 1_000_000, 20.0, "8 x 49 of 64", of_three_crops)
    assert row.gflops_ratio == pytest.approx(1.0)
    assert row.parameters_ratio == pytest.approx(0.5)
    silent = TruthRow("x", 8, 224, 224, 1_000_000, 20.0, "8 x 49 of 64", PublishedFigures(None, None, "nowhere"))
    assert silent.gflops_ratio is None
    assert silent.parameters_ratio is None


def test_the_markdown_table_has_a_whole_row_for_each_encoder_and_a_note_for_each_mark(
    rows: dict[str, TruthRow],
) -> None:
    text = markdown(rows.values())
    lines = text.splitlines()
    table_lines = [line for line in lines if line.startswith("|")]
    assert {line.count("|") for line in table_lines} == {len(table.COLUMNS) + 1}
    assert len(table_lines) == 2 + len(rows)
    for line in table_lines[2:]:
        mark = line.split("|")[-2].strip()
        assert sum(other.startswith(f"{mark} ") for other in lines) == 1
    assert "| 8 x 196 of 768, class 8 of 768, clip 768 | 93.79 M | 94.1 M | 0.997 | 281 | 425 | 0.992 | [" in text


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(EncoderError, match="'swin9000' is not a built-in encoder"):
        list(truth_table(["swin9000"]))


def test_an_encoder_added_by_a_user_has_no_row_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "ENCODERS", {"mine": lambda: None})
    assert list(truth_table()) == []
