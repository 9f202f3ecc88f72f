"""The ways in which projects lay out one video's features in an array."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from longvid.stores.convert.bounds import check_claim
from longvid.stores.errors import ConversionError


@runtime_checkable
class ArrayLike(Protocol):
    """A numpy array, mapped or not, or an HDF5 data set."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype: ...

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray: ...


@dataclass(frozen=True)
class ArrayLayout:
    """The order of an array's axes, from clip, token and dim; without a token axis a clip has one token."""

    axes: tuple[str, ...]

    def check(self, array: ArrayLike, *, name: str) -> tuple[int, int, int]:
        """(clips, tokens, dim) of the array. Raises ConversionError, with its name, if it is not of this layout."""
        if len(array.shape) != len(self.axes) or 0 in array.shape:
            raise ConversionError(f"{name}: an array of shape {array.shape}, expected ({', '.join(self.axes)})")
        if array.dtype.kind != "f":
            raise ConversionError(f"{name}: numbers of type {array.dtype}; features must be floating point")
        sizes = dict(zip(self.axes, array.shape, strict=True))
        check_claim(sizes["clip"], array.dtype.itemsize * sizes.get("token", 1) * sizes["dim"], name=name)
        return sizes["clip"], sizes.get("token", 1), sizes["dim"]

    def shape(self, num_clips: int, num_tokens: int, dim: int) -> tuple[int, ...]:
        """Shape of the array for this many clips. Raises ConversionError if it has no axis for several tokens."""
        if num_tokens > 1 and "token" not in self.axes:
            raise ConversionError(
                f"{num_tokens} tokens per clip do not fit an array of ({', '.join(self.axes)}); use layout='vis4mer', "
                "or extract with a pooling that leaves one token"
            )
        sizes = {"clip": num_clips, "token": num_tokens, "dim": dim}
        return tuple(sizes[axis] for axis in self.axes)

    def read(self, array: ArrayLike, start_clip: int, stop_clip: int) -> np.ndarray:
        """The clips [start_clip, stop_clip) as (clips, tokens, dim) in the machine's byte order.

        For an array in memory it is a view, unless its byte order is the other one.
        """
        span = {"clip": slice(start_clip, stop_clip)}
        part = array[tuple(span.get(axis, slice(None)) for axis in self.axes)]
        part = part.astype(part.dtype.newbyteorder("="), copy=False)
        if self.axes == ("dim", "clip"):
            part = part.T
        return part if part.ndim == 3 else part[:, None, :]


ARRAY_LAYOUTS = {
    "vis4mer": ArrayLayout(("clip", "token", "dim")),
    "mstcn": ArrayLayout(("dim", "clip")),
    "rows": ArrayLayout(("clip", "dim")),
}
"""vis4mer: (T, 197, 1024), the patch tokens of one second per row. mstcn: (2048, T), channels first, as MS-TCN and its
successors publish Breakfast. rows: (T, dim)."""


def array_layout(name: str) -> ArrayLayout:
    """The layout called `name`. Raises ConversionError with the known names for another one."""
    if name not in ARRAY_LAYOUTS:
        raise ConversionError(f"layout {name!r}: choose one of {', '.join(ARRAY_LAYOUTS)}")
    return ARRAY_LAYOUTS[name]
