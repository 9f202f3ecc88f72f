"""Conversion to the store's dtype and back; nothing is ever clipped."""

import numpy as np

from longvid.stores.errors import InvalidTokens
from longvid.stores.layout import INT8_MISSING
from longvid.stores.recipe import TokenType

INT8_LARGEST = 127


def to_stored(tokens: np.ndarray, dtype: TokenType, absent: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Arrays to store for `tokens` (clips, tokens, dim) of any float dtype: `tokens`, and `scale` for int8.

    `absent` (clips,) bool marks absent clips: whatever their numbers are, NaN is stored (int8: zeros with NaN scales).
    Raises InvalidTokens for other types, and in the other clips for NaN, infinity, and values that would become
    infinite in the dtype.
    """
    if absent is not None and absent.any():
        # the place of an absent clip holds zeros on the way, so that messages count the clips of the shard
        arrays = to_stored(np.where(absent[:, None, None], tokens.dtype.type(0), tokens), dtype)
        arrays["scale" if dtype == "int8" else "tokens"][absent] = np.nan
        return arrays
    if tokens.dtype.kind != "f":
        raise InvalidTokens(f"tokens of dtype {tokens.dtype}: features must be floating point")
    _refuse_not_finite(tokens)
    if dtype == "int8":
        return _quantise(_narrow(tokens, np.dtype(np.float32)))
    return {"tokens": _narrow(tokens, np.dtype(dtype))}


def check_stored(
    arrays: dict[str, np.ndarray],
    dtype: TokenType,
    clips_shape: tuple[int, int, int],
    absent: np.ndarray | None = None,
) -> None:
    """Raise InvalidTokens unless these are the arrays that a shard of `clips_shape` (clips, tokens, dim) stores.

    These are `tokens` of the store's dtype, with `scale` (clips, tokens) float32 for int8; all numbers must be finite,
    and none may be the value of a missing shard, except in clips that are `absent`, which hold NaN.
    """
    expected = {"tokens": (clips_shape, np.dtype(dtype))}
    if dtype == "int8":
        expected["scale"] = (clips_shape[:2], np.dtype(np.float32))  # type: ignore[assignment]
    if arrays.keys() != expected.keys():
        raise InvalidTokens(f"arrays {', '.join(sorted(arrays))}; a shard stores {', '.join(sorted(expected))}")
    for name, (shape, kind) in expected.items():
        array = arrays[name]
        if array.shape != shape:
            raise InvalidTokens(f"`{name}` of shape {array.shape}, expected {shape}")
        if array.dtype.newbyteorder("=") != kind:
            raise InvalidTokens(f"`{name}` of dtype {array.dtype}, expected {kind}")
        fault = stored_fault(name, array, absent)
        if fault is not None:
            raise InvalidTokens(fault)


def stored_fault(name: str, clips: np.ndarray, absent: np.ndarray | None = None) -> str | None:
    """Why these numbers cannot be a shard of the array `name`; None if they can.

    `absent` (clips,) bool marks the absent clips, which must hold NaN (integers: 0).
    """
    if absent is not None and absent.any():
        there = np.isnan(clips) if clips.dtype.kind == "f" else clips == 0
        wrong = absent.reshape(-1, *[1] * (clips.ndim - 1)) & ~there
        if wrong.any():
            where = _first(wrong)
            return (
                f"clip {where[0]} of the shard, token {where[1]}: `{name}` holds {clips[where]}; an absent clip holds "
                f"{'NaN' if clips.dtype.kind == 'f' else '0'}"
            )
        clips = np.where(absent.reshape(wrong.shape[:1] + (1,) * (clips.ndim - 1)), clips.dtype.type(0), clips)
    if clips.dtype.kind != "f":
        wrong = clips == INT8_MISSING
    elif _all_finite(clips) and (name != "scale" or (clips >= 0).all()):
        return None
    else:
        wrong = ~np.isfinite(clips) | ((clips < 0) if name == "scale" else False)
    if not wrong.any():
        return None
    where = _first(wrong)
    allowed = "a scale is finite and not negative" if name == "scale" else "a feature is finite"
    if clips.dtype.kind != "f":
        allowed = f"{INT8_MISSING} stands for a shard that is not there"
    return f"clip {where[0]} of the shard, token {where[1]}: `{name}` holds {clips[where]}; {allowed}"


def from_stored(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Tokens (clips, tokens, dim) for computations: int8 becomes float32, other dtypes stay."""
    if "scale" not in arrays:
        return arrays["tokens"]
    tokens: np.ndarray = arrays["tokens"].astype(np.float32) * arrays["scale"][..., None]
    return tokens


def _narrow(tokens: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if tokens.dtype == dtype:
        return tokens
    with np.errstate(over="ignore", under="ignore"):
        narrowed = tokens.astype(dtype)
    overflowed = np.isinf(narrowed)
    if overflowed.any():
        where = _first(overflowed)
        raise InvalidTokens(
            f"clip {where[0]} of the shard, token {where[1]}: {tokens[where]:g} is beyond the largest {dtype} "
            f"({np.finfo(dtype).max:g}); make the store with dtype='float32', or scale the features"
        )
    return narrowed


def _refuse_not_finite(tokens: np.ndarray) -> None:
    if _all_finite(tokens):
        return
    wrong = ~np.isfinite(tokens)
    if wrong.any():
        where = _first(wrong)
        raise InvalidTokens(
            f"clip {where[0]} of the shard, token {where[1]}: the encoder gave {tokens[where]}; "
            "a feature must be finite (a broken input, or half precision that overflowed inside the encoder)"
        )


def _all_finite(tokens: np.ndarray) -> bool:
    """False if a number is not finite, and rarely even if all are."""
    # a sum is finite unless a term is not (or it overflows), and is much cheaper than isfinite of the whole array
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(tokens.sum(dtype=np.float32 if tokens.dtype == np.float16 else tokens.dtype)))


def _first(mask: np.ndarray) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(int(mask.argmax()), mask.shape))


def _quantise(tokens: np.ndarray) -> dict[str, np.ndarray]:
    """Symmetric int8, one scale per token: scale = largest magnitude / 127, so the error is at most half a scale."""
    scale = np.abs(tokens).max(axis=-1) / np.float32(INT8_LARGEST)
    divisor = np.where(scale > 0, scale, np.float32(1))[..., None]  # a token of zeros keeps scale 0
    # clipped: for subnormal scales the division can round to 128
    quantised = np.clip(np.rint(tokens / divisor), -INT8_LARGEST, INT8_LARGEST).astype(np.int8)
    return {"scale": scale.astype(np.float32), "tokens": quantised}
