"""How far apart two computations of the same numbers may be on any processor: a bound from precision and depth.

Processors add the terms of a sum in different orders, some with fused multiply-adds. Whatever the order, a sum of n
rounded terms is off by at most n u times the sum of their magnitudes, u being half the gap between 1 and the next
number (N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, section 4.2). The errors of layers
that feed each other add up, to first order; two computations are apart by twice the error of one. Hence

    bound = layers * terms * 2u * size

`terms`: numbers in the longest sum of a layer. `layers`: such sums after each other, each normalisation counted as one.
`size`: the largest magnitude that is added up, usually that of the result. A claim about mathematics is better tested
in float64, where a mistake and a rounding error are nine orders of magnitude apart.

Equal to the bit is what the same kernel gives for the same numbers in the same shapes on one machine, and nothing else.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

Numbers = Tensor | ArrayLike


def rounding(dtype: torch.dtype | np.dtype[Any] | type, *, terms: int, layers: int = 1) -> float:
    """The bound for numbers of size 1."""
    eps = torch.finfo(dtype).eps if isinstance(dtype, torch.dtype) else float(np.finfo(dtype).eps)
    return layers * terms * eps


def largest_difference(found: Numbers, expected: Numbers, *, size: float | None = None) -> float:
    """Largest difference of two arrays of one shape over `size`, or over the largest number expected."""
    here, there = as_array(found), as_array(expected)
    assert here.shape == there.shape, f"shapes {here.shape} and {there.shape}"
    assert np.isfinite(there).all(), "what is expected is not finite"
    if size is None:
        size = float(np.abs(there).max(initial=0))
    difference = float(np.abs(here - there).max(initial=0)) if np.isfinite(here).all() else float("inf")
    return 0.0 if difference == 0 else difference / size if size else float("inf")


def same_numbers(found: Numbers, expected: Numbers, *, terms: int, layers: int = 1, size: float | None = None) -> bool:
    """Whether two arrays are equal but for the rounding of the less precise one."""
    return largest_difference(found, expected, size=size) <= rounding(
        coarser(found, expected), terms=terms, layers=layers
    )


def assert_same_numbers(
    found: Numbers, expected: Numbers, *, terms: int, layers: int = 1, size: float | None = None, what: str = "it"
) -> None:
    """`same_numbers`, and by how much they differ where they are not."""
    apart = largest_difference(found, expected, size=size)
    limit = rounding(coarser(found, expected), terms=terms, layers=layers)
    assert apart <= limit, f"{what} differs by {apart:.3g} of its size, rounding explains {limit:.3g}"


def coarser(found: Numbers, expected: Numbers) -> np.dtype[Any]:
    """The less precise of two real or complex types."""
    return max((as_array(array).dtype for array in (found, expected)), key=lambda dtype: float(np.finfo(dtype).eps))


def as_array(numbers: Numbers) -> np.ndarray:
    if isinstance(numbers, Tensor):
        return numbers.detach().cpu().resolve_conj().numpy()
    array = np.asarray(numbers)
    return array if np.issubdtype(array.dtype, np.inexact) else array.astype(np.float64)
