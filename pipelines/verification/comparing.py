"""Comparison of stored features with newly made ones, clip by clip."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64

from longvid.stores import Recipe
from longvid.stores.numbers import from_stored

Arrays = dict[str, np.ndarray]
"""The arrays of some clips as a store holds them: `tokens`, and `scale` for int8."""

OF_ARITHMETIC = {"float32": 1e-3, "float16": 3e-2, "bfloat16": 1e-1}
OF_STORING = {"float32": 0.0, "float16": 1e-3, "int8": 2e-2}


def tolerance_of(recipe: Recipe) -> float:
    """The relative error that another machine may cause, by the arithmetic of the encoder and the stored dtype.

    A relative error is |stored - made| / |stored| over a clip's numbers. Sums in another order change float32 features
    by 1e-6 to 1e-4; the rounding of float16 adds up to 2^-11 (5e-4), that of int8 about 1e-2. Each bound is at least
    twice that. Frames that are scaled by another library, or are others, change them by more.
    """
    precision = str(recipe.encoder_config.get("dtype", "float32"))
    return OF_ARITHMETIC.get(precision, OF_ARITHMETIC["float32"]) + OF_STORING[recipe.dtype]


@dataclass(frozen=True, eq=False)
class Compared:
    """How clips agree."""

    equal: Bool[np.ndarray, "clips"]
    """Whether all bytes of a clip are equal."""
    cosine: Float64[np.ndarray, "clips"]
    error: Float64[np.ndarray, "clips"]
    """|stored - made| / |stored|; infinite where only the stored clip is zero."""


def compare(stored: Arrays, made: Arrays) -> Compared:
    """Compare the same clips (clips, tokens, dim) of a store with those made again; neither may hold absent clips."""
    same = [
        (_bytes(stored[name]) == _bytes(made[name].astype(stored[name].dtype, copy=False))).all(axis=1)
        for name in stored
    ]
    here, there = (_rows(arrays) for arrays in (made, stored))
    sizes = np.linalg.norm(there, axis=1)
    difference = np.linalg.norm(there - here, axis=1)
    error = np.divide(difference, sizes, out=np.where(difference > 0, np.inf, 0.0), where=sizes > 0)
    return Compared(np.all(same, axis=0), _cosine(there, here), error)


def nearest(stored: Arrays, made: Arrays) -> np.ndarray:
    """For each stored clip, the index of the made one with the highest cosine."""
    there, here = _rows(stored), _rows(made)
    scale = np.linalg.norm(here, axis=1)
    found: np.ndarray = ((there @ here.T) / np.where(scale > 0, scale, 1)).argmax(axis=1)
    return found


def _bytes(array: np.ndarray) -> np.ndarray:
    """The bytes (clips, n) of an array, of no clip too."""
    return np.ascontiguousarray(array).reshape(len(array), math.prod(array.shape[1:])).view(np.uint8)


def _rows(arrays: Arrays) -> Float64[np.ndarray, "clips _numbers"]:
    tokens = from_stored(arrays)
    return tokens.reshape(len(tokens), math.prod(tokens.shape[1:])).astype(np.float64)


def _cosine(one: Float[np.ndarray, "clips n"], other: Float[np.ndarray, "clips n"]) -> Float64[np.ndarray, "clips"]:
    """Cosine of each pair of rows: 1 for two rows of zeros, 0 where only one is."""
    sizes = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    both_zero = ~one.any(axis=1) & ~other.any(axis=1)
    cosine = np.divide((one * other).sum(axis=1), sizes, out=np.zeros(len(one)), where=sizes > 0)
    return np.where(both_zero, 1.0, np.clip(cosine, -1.0, 1.0))
