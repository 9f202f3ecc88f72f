"""The helper that bounds come from: it explains rounding, and nothing that is wrong."""

import numpy as np
import pytest
import torch
from rounding import assert_same_numbers, rounding, same_numbers


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("terms", [3, 100, 1000])
def test_a_sum_in_any_order_is_the_same_number_and_one_term_less_is_not(terms: int, dtype: torch.dtype) -> None:
    numbers = torch.rand(terms, generator=torch.Generator().manual_seed(terms), dtype=dtype) + 0.5
    one_by_one = torch.zeros((), dtype=dtype)
    for number in numbers:
        one_by_one = one_by_one + number
    assert same_numbers(numbers.sum(), one_by_one, terms=terms)
    assert same_numbers(numbers.flip(0).sum(), one_by_one, terms=terms)
    assert not same_numbers(numbers[1:].sum(), one_by_one, terms=terms)


def test_the_less_precise_of_the_two_sets_the_bound() -> None:
    exact = np.array([1.0, 1e-3])
    assert same_numbers(exact.astype(np.float32), exact, terms=1)
    assert not same_numbers(exact + 1e-8, exact, terms=1)
    assert rounding(np.float32, terms=2, layers=3) == 6 * np.finfo(np.float32).eps == rounding(torch.float32, terms=6)


@pytest.mark.parametrize("wrong", [[1.0, np.nan], [1.0, np.inf], [1.0, 2.1], [1.0, -2.0]])
def test_what_is_wrong_is_said_with_its_size(wrong: list[float]) -> None:
    with pytest.raises(AssertionError, match=r"the answer differs by .* of its size, rounding explains"):
        assert_same_numbers(wrong, [1.0, 2.0], terms=1000, layers=10, what="the answer")


def test_shapes_must_be_the_same_and_zeros_are_equalled_exactly() -> None:
    with pytest.raises(AssertionError, match=r"shapes \(1, 2\) and \(2,\)"):
        assert_same_numbers([[1.0, 2.0]], [1.0, 2.0], terms=1)
    assert same_numbers([0.0, 0.0], [0.0, 0.0], terms=1)
    assert not same_numbers([0.0, 1e-300], [0.0, 0.0], terms=1)
    assert same_numbers([0.0, 1e-20], [0.0, 0.0], terms=1, size=1.0), (
        "zero may be the difference of two numbers of size 1"
    )
