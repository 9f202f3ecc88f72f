"""Readers and writers of tokens equal their slow, obvious forms; decoders and encoders share them."""

import ast
from pathlib import Path

import pytest
import torch
from torch import Tensor

from longvid.layers.tokens import Read, Write, attend, rms

LONGVID = Path(__file__).parents[3] / "longvid"


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def slow_attention(queries: Tensor, keys: Tensor, values: Tensor, heads: int) -> Tensor:
    q, k, v = (part.unflatten(-1, (heads, -1)) for part in (queries, keys, values))
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / q.shape[-1] ** 0.5
    return torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), v).flatten(2)


def test_attention_by_head_equals_the_textbook_form(generator: torch.Generator) -> None:
    queries = torch.randn(2, 3, 12, dtype=torch.float64, generator=generator)
    rows = torch.randn(2, 40, 12, dtype=torch.float64, generator=generator)
    torch.testing.assert_close(attend(queries / 4**0.5, rows, heads=3), slow_attention(queries, rows, rows, heads=3))


@pytest.mark.parametrize("normalised", [False, True])
def test_write_adds_textbook_attention_of_rows_to_tokens(normalised: bool, generator: torch.Generator) -> None:
    write = Write(12, 16, heads=2, normalised=normalised).double()
    rows = 3 * torch.randn(2, 60, 12, dtype=torch.float64, generator=generator)
    tokens = torch.randn(2, 3, 16, dtype=torch.float64, generator=generator)
    queries = rms(rows) if normalised else rows
    expected = rows + slow_attention(queries, write.key(tokens), write.value(tokens), heads=2)
    torch.testing.assert_close(write(rows, tokens), expected)


def test_under_autocast_write_leaves_wide_rows_wide(generator: torch.Generator) -> None:
    write = Write(12, 16, heads=2, normalised=True)
    rows, tokens = torch.randn(2, 60, 12, generator=generator), torch.zeros(2, 3, 16)
    torch.nn.init.zeros_(write.value.bias)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(write(rows, tokens), rows), "what is not written to is not rounded either"


@pytest.mark.parametrize("options", [{}, {"gated": False}, {"own_queries": 3, "focused": True}], ids=str)
def test_read_ignores_the_order_of_rows_and_write_follows_it(
    options: dict[str, int], generator: torch.Generator
) -> None:
    read, write = Read(8, 16, heads=2, **options).double(), Write(8, 16, heads=2).double()
    rows = torch.randn(1, 60, 8, dtype=torch.float64, generator=generator)
    tokens = torch.randn(1, 3, 16, dtype=torch.float64, generator=generator)
    order = torch.randperm(60, generator=generator)
    torch.testing.assert_close(read(tokens, rows[:, order]), read(tokens, rows))
    torch.testing.assert_close(write(rows[:, order], tokens), write(rows, tokens)[:, order])


def test_own_queries_read_the_same_whatever_the_tokens_are() -> None:
    read = Read(8, 16, heads=2, own_queries=3, focused=True)
    assert torch.equal(read.queries(torch.zeros(2, 3, 16)), read.queries(torch.ones(2, 3, 16)))


def test_no_decoder_and_no_layer_imports_an_encoder() -> None:
    for room in ("decoders", "layers", "ssm"):
        for source in sorted((LONGVID / room).rglob("*.py")):
            for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom) and node.module:
                    assert not node.module.startswith("longvid.encoders"), source
