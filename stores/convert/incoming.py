"""The part that all imports share: from arrays to a store."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from longvid.stores.bounded_json import parse_json_object
from longvid.stores.convert.arrays import ArrayLayout, ArrayLike
from longvid.stores.convert.bounds import check_described, reading
from longvid.stores.errors import ConversionError, InvalidTokens
from longvid.stores.layout import Layout
from longvid.stores.place import Location
from longvid.stores.recipe import Recipe, TokenType
from longvid.stores.store import FeatureStore


@dataclass(frozen=True)
class Incoming:
    """One video to be imported."""

    key: str
    name: str
    """The file or data set that it comes from, for messages."""
    seconds: np.ndarray
    """(clips, 2)"""
    source: dict[str, Any]
    array: ArrayLike
    layout: ArrayLayout


def described(
    description: str | bytes,
    location: Location,
    *,
    name: str,
    dtype: TokenType | None,
    clips_per_shard: int | None,
    storage_options: dict[str, Any] | None,
) -> FeatureStore:
    """A store with the recipe and layout that `outgoing.describe` wrote to `name`; arguments that are given win."""
    try:
        fields = parse_json_object(description)
        if not (isinstance(fields["recipe"], dict) and isinstance(fields["layout"], dict)):
            raise ValueError("its recipe and its layout must be JSON objects")
        recipe, layout = Recipe.from_dict(fields["recipe"]), _layout_of(fields["layout"], name=name)
    except ConversionError:
        raise
    except (ValueError, TypeError, KeyError) as error:
        raise ConversionError(f"{name}: does not describe a store ({error})") from error
    check_described(recipe, layout, name=name)
    return FeatureStore.create(
        location,
        recipe if dtype is None else Recipe.from_dict(recipe.to_dict() | {"dtype": dtype}),
        clips_per_shard=clips_per_shard or layout.clips_per_shard,
        clips_per_chunk=None if clips_per_shard else layout.clips_per_chunk,
        compression=layout.compression,
        storage_options=storage_options,
    )


def _layout_of(values: dict[str, Any], *, name: str) -> Layout:
    sizes = values.get("clips_per_shard", 1), values.get("clips_per_chunk", 1)
    if any(type(size) is not int for size in sizes):
        raise ConversionError(f"{name}: describes shards of {sizes[0]!r} clips in chunks of {sizes[1]!r}")
    return Layout(**values)


def imported_recipe(
    arrays: Sequence[tuple[str, ArrayLike]],
    layout: ArrayLayout,
    dtype: TokenType | None,
    seconds_per_clip: int | float | None,
) -> Recipe:
    """The recipe for named arrays without further description; they must agree in tokens and dim.

    `dtype=None` takes the narrowest that can hold all of them; float64 counts as float32 (see `write_incoming`).
    """
    shapes = {name: layout.check(array, name=name)[1:] for name, array in arrays}
    num_tokens, dim = next(iter(shapes.values()))
    for name, shape in shapes.items():
        if shape != (num_tokens, dim):
            raise ConversionError(
                f"{name}: clips of {shape} (tokens, dim), but the first array's are {num_tokens, dim}"
            )
    narrow = all(array.dtype.itemsize <= 2 for _, array in arrays)
    return Recipe.from_dict(
        {
            "encoder": "imported",
            "encoder_config": {"axes": list(layout.axes)},
            "weights_sha256": "",
            "sampling": {"seconds_per_clip": seconds_per_clip},
            "preprocessing": {},
            "pooling": "imported",
            "num_tokens": num_tokens,
            "dim": dim,
            "dtype": dtype or ("float16" if narrow else "float32"),
        }
    )


def rows_of_seconds(num_clips: int, seconds_per_clip: int | float | None, *, name: str) -> np.ndarray:
    """(clips, 2): clip i lasts from i to i + 1 times `seconds_per_clip`."""
    if seconds_per_clip is None:
        raise ConversionError(
            f"{name}: nothing says how long a clip lasts; give seconds_per_clip (1 for ViS4mer's LVU features, 1/15 "
            "for MS-TCN's Breakfast)"
        )
    edges = np.arange(num_clips + 1) * np.float64(seconds_per_clip)
    return np.stack([edges[:-1], edges[1:]], axis=1)


def write_incoming(store: FeatureStore, video: Incoming, *, exact: bool) -> None:
    """Write the shards that the store does not have yet, with one in memory at a time, and complete the video.

    With `exact`, raises ConversionError for the first number that the store's dtype would round.
    """
    dtype = store.recipe.dtype
    shape = video.layout.check(video.array, name=video.name)
    expected = (len(video.seconds), store.recipe.num_tokens, store.recipe.dim)
    if shape != expected:
        raise ConversionError(f"{video.name}: (clips, tokens, dim) = {shape}, but {expected} were expected")
    store.plan(video.key, video.seconds, video.source)
    for shard_index in store.missing(video.key):
        start_clip, stop_clip = store.shard_clips(video.key, shard_index)
        with reading(video.name, "array of features"):
            clips = np.ascontiguousarray(video.layout.read(video.array, start_clip, stop_clip))
        if exact and not _survives(clips, np.dtype(dtype)):
            raise ConversionError(
                f"{video.name}: {dtype} would round its {clips.dtype} numbers (clips {start_clip} to {stop_clip}); to "
                f"accept that, choose dtype={dtype!r} yourself"
            )
        try:
            store.write_shard(video.key, shard_index, clips)
        except InvalidTokens as error:
            raise InvalidTokens(f"{video.name}: {error}") from error
    store.complete(video.key)


def _survives(clips: np.ndarray, dtype: np.dtype) -> bool:
    """Whether every finite number is unchanged by a round trip through `dtype`."""
    if dtype.kind == "f" and clips.dtype.itemsize <= dtype.itemsize:
        return True
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return bool(((clips.astype(dtype) == clips) | ~np.isfinite(clips)).all())
