"""A module of the user's own becomes a decoder, or one line says what it lacks."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from longvid.decoders import DECODERS, Decoder, build_decoder, table
from longvid.errors import DecoderError

SIZES: dict[str, Any] = {"dim": 6, "outputs": 3, "max_length": 8}


class Masked(nn.Module):
    """A mean over the tokens that count.

    The rest of the docstring is for its readers.
    """

    def __init__(self, dim: int, outputs: int, width: int = 4, head: str = "video") -> None:
        super().__init__()
        self.first, self.last, self.head = nn.Linear(dim, width), nn.Linear(width, outputs), head

    def forward(self, tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        steps = self.first(tokens).relu()
        if self.head == "steps":
            return self.last(steps)
        there = torch.arange(tokens.shape[1])[None, :, None] < lengths[:, None, None]
        return self.last((steps * there).sum(1) / lengths[:, None])


class Unmasked(Masked):
    def forward(self, tokens: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        steps = self.last(self.first(tokens).relu())
        return steps if self.head == "steps" else steps.mean(1)


@pytest.fixture(autouse=True)
def named() -> Iterator[None]:
    own = {"masked": Masked, "unmasked": Unmasked}
    DECODERS.update(own)
    yield
    for name in own:
        DECODERS.pop(name)


@pytest.mark.parametrize("name", ["masked", "unmasked"])
@pytest.mark.parametrize("head", ["video", "steps"])
def test_a_padded_batch_gives_what_each_item_gives_alone(name: str, head: str) -> None:
    decoder = build_decoder(name, **SIZES, width=5, head=head).eval()
    tokens, lengths = torch.randn(3, 8, 6), torch.tensor([5, 8, 2])
    for item, length in enumerate(lengths.tolist()):
        tokens[item, length:] = torch.nan
    together = decoder(tokens, lengths)
    for item, length in enumerate(lengths.tolist()):
        alone = decoder(tokens[item : item + 1, :length])[0]
        shared = together[item, :length] if head == "steps" else together[item]
        torch.testing.assert_close(shared, alone)
    assert together.isfinite().all()


def test_its_size_is_an_option_and_its_parameters_are_trained() -> None:
    small, large = build_decoder("masked", **SIZES), build_decoder("masked", **SIZES, width="9")
    assert isinstance(large, Decoder)
    assert [sum(p.numel() for p in d.parameters()) for d in (small, large)] == [7 * 4 + 5 * 3, 7 * 9 + 10 * 3]
    (group,) = large.param_groups(0.1, 0.0)
    assert {id(p) for p in group["params"]} == {id(p) for p in large.parameters()}


def test_the_table_of_costs_has_a_row_for_it() -> None:
    (row,) = table.decoder_table(["masked"], lengths=(64,))
    assert row.summary == "A mean over the tokens that count."
    assert row.parameters == 1025 * 4 + 5 * 10
    assert row.gflops == pytest.approx(2 * (64 * 1024 * 4 + 4 * 10) / 1e9)


def test_a_decoder_that_needs_numbers_has_a_row_without_costs() -> None:
    class Peeking(Masked):
        def forward(self, tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
            return super().forward(tokens, lengths) * float(tokens.max())

    DECODERS["masked"] = Peeking
    (row,) = table.decoder_table(["masked"], lengths=(64,))
    assert row.gflops is row.training_bytes is None
    assert table.cells(row)[3:] == ("-", "-", "-")


class OfTheBase(Decoder):
    def __init__(self, dim: int, outputs: int, max_length: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, outputs)
        self.longest = max_length

    def forward(self, tokens: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        return self.linear(tokens[:, 0])


def test_a_decoder_of_the_base_class_is_used_as_it_is_and_gets_the_length_it_asks_for() -> None:
    DECODERS["masked"] = OfTheBase
    made = build_decoder("masked", **SIZES)
    assert type(made) is OfTheBase
    assert made.longest == 8
    assert (made.config.dim, made.config.outputs) == (6, 3)


class Short(nn.Linear):
    def __init__(self, dim: int, outputs: int) -> None:
        super().__init__(dim, outputs)

    def forward(self, tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return super().forward(tokens)


WRONG: dict[str, tuple[Any, dict[str, Any], str]] = {
    "an unknown option": (Masked, {"depth": 2}, "has no option depth; its options: width"),
    "an option of another type": (Masked, {"width": "wide"}, "option width='wide': should be a whole number"),
    "no outputs": (lambda dim: nn.Linear(dim, 2), {}, "outputs must be among its arguments"),
    "no module": (lambda dim, outputs: 3, {}, "its builder returned int, not a torch.nn.Module"),
    "no steps": (Short, {"head": "steps"}, "needs scores for every step; give it an argument `head`"),
}


@pytest.mark.parametrize(("builder", "options", "message"), WRONG.values(), ids=WRONG)
def test_what_it_lacks_is_said_in_one_line(builder: Any, options: dict[str, Any], message: str) -> None:
    DECODERS["masked"] = builder
    with pytest.raises(DecoderError, match=message) as refused:
        build_decoder("masked", **(SIZES | options))
    assert "\n" not in str(refused.value)


def test_an_output_of_another_shape_is_refused_with_both_shapes() -> None:
    DECODERS["masked"] = Short
    with pytest.raises(DecoderError, match=r"\(2, 8, 3\), not logits \(batch, outputs\) = \(2, 3\)"):
        build_decoder("masked", **SIZES)(torch.zeros(2, 8, 6))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module_here:Thing", "the module 'no_such_module_here' cannot be found here"),
        ("torch.nn:NoSuchThing", "module 'torch.nn' has no 'NoSuchThing'"),
        ("torch:pi", "is a float, not a callable that builds a decoder"),
        ("gruu", "choose one of .*, or module:callable for one of your own"),
    ],
)
def test_a_name_that_leads_nowhere_says_why(name: str, message: str) -> None:
    with pytest.raises(DecoderError, match=message):
        build_decoder(name, **SIZES)
