"""Export to one HDF5 file, and import from any HDF5 file.

    features.h5
      longvid_store              scalar string: JSON with recipe and layout
      videos/<name>              attributes `key` and `clips`, for whoever looks for a video
      videos/<name>/about        scalar string: JSON with key and source, as an import reads them
      videos/<name>/tokens       as in the store, chunked along clips, with Fletcher checksums
      videos/<name>/scale        for int8
      videos/<name>/seconds      (clips, 2) float64

Importing such a file gives the same store again, file by file. In any other HDF5 file, every floating-point data set
with the layout's number of axes becomes a video whose key is its path.
"""

import os
from collections.abc import Callable, Iterable
from operator import itemgetter
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from longvid.stores.bounded_json import parse_json_object
from longvid.stores.canonical import canonical_json
from longvid.stores.convert.arrays import ArrayLayout, array_layout
from longvid.stores.convert.bounds import check_claim, reading
from longvid.stores.convert.hdf5_reading import fixed_text, member, open_hdf5, shown, text_of, walk
from longvid.stores.convert.incoming import Incoming, described, imported_recipe, rows_of_seconds, write_incoming
from longvid.stores.convert.outgoing import describe, new_file, refuse_partial, reserve
from longvid.stores.convert.watching import watched
from longvid.stores.errors import ConversionError
from longvid.stores.info import clip_bytes
from longvid.stores.keys import path_name
from longvid.stores.numbers import from_stored
from longvid.stores.place import Location
from longvid.stores.recipe import TokenType
from longvid.stores.store import FeatureStore
from longvid.stores.video import StoredVideo

_STORE = "longvid_store"
MOST_ATTRIBUTE_BYTES = 32_000


def export_hdf5(
    store: FeatureStore,
    path: str | os.PathLike[str],
    *,
    keys: Iterable[str] | None = None,
    on_video: Callable[[str], None] | None = None,
) -> Path:
    """Write each complete video (or those of `keys`) to one new HDF5 file, with one shard in memory at a time.

    `on_video` is called with each key when its video is written. Raises ConversionError if the file exists already,
    and for a video that lacks clips; StoreAccessError if the file cannot be written.
    """
    target = Path(path)
    if target.exists():
        raise ConversionError(f"{target}: exists already; choose another name")
    chosen = list(store.keys() if keys is None else keys)
    refuse_partial(store, chosen)
    with new_file(target) as partial:
        partial.touch()
        needed = _file_bytes(store, chosen)
        reserve(partial, needed)
        with h5py.File(partial, "w") as file:  # which truncates it
            reserve(partial, needed)
            file[_STORE] = fixed_text(describe(store))
            for key in watched(chosen, on_video):
                _export_video(store, store.video(key), file.create_group(f"videos/{path_name(key)}"))
    return target


def _file_bytes(store: FeatureStore, keys: list[str]) -> int:
    """An upper limit of the file's size: whole chunks, and a generous amount for HDF5's own structures."""
    total = 1_000_000
    for key in keys:
        num_clips = store.video(key).num_clips
        num_chunks = num_clips // store.layout.clips_per_chunk + 1
        filled = num_chunks * store.layout.clips_per_chunk
        total += filled * clip_bytes(store.recipe) + 200 * num_chunks + 16 * num_clips + 64_000
    return total


def _export_video(store: FeatureStore, video: StoredVideo, group: h5py.Group) -> None:
    group.attrs["key"], group.attrs["clips"] = _attribute(video.key), video.num_clips
    group["about"] = fixed_text(canonical_json({"key": video.key, "source": video.source}))
    group["seconds"] = video.seconds
    for shard_index in range(store.layout.num_shards(video.num_clips)):
        start_clip, stop_clip = store.layout.shard_clips(video.num_clips, shard_index)
        for name, clips in video.read_stored(start_clip, stop_clip).items():
            if name not in group:
                chunks = (min(store.layout.clips_per_chunk, video.num_clips), *clips.shape[1:])
                shape = (video.num_clips, *clips.shape[1:])
                group.create_dataset(name, shape, clips.dtype, chunks=chunks, fletcher32=True)
            group[name][start_clip:stop_clip] = clips


def _attribute(key: str) -> str:
    """The key as an attribute holds it: whole where it is text of at most `MOST_ATTRIBUTE_BYTES`.

    HDF5 has 64 kB for all attributes of a group; `about` holds a longer key, and one that is not text, exactly.
    """
    return (
        key.replace("\0", "\\x00").encode("utf-8", "backslashreplace")[:MOST_ATTRIBUTE_BYTES].decode("utf-8", "ignore")
    )


def import_hdf5(
    path: str | os.PathLike[str],
    location: Location,
    *,
    layout: str = "vis4mer",
    seconds_per_clip: int | float | None = None,
    dtype: TokenType | None = None,
    clips_per_shard: int | None = None,
    storage_options: dict[str, Any] | None = None,
    on_video: Callable[[str], None] | None = None,
) -> FeatureStore:
    """A store of the file's videos. A file that `export_hdf5` wrote describes itself; for any other, `layout`,
    `seconds_per_clip` and `dtype` are used as by `import_npy`. Can be interrupted and run again.

    `on_video` is called with each data set's name when it is in the store. Raises ConversionError with that name.
    """
    order = array_layout(layout)
    with open_hdf5(Path(path)) as file:
        description = member(file, _STORE)
        if description is not None:
            store = described(
                text_of(description, f"{path}: {_STORE}"),
                location,
                name=str(path),
                dtype=dtype,
                clips_per_shard=clips_per_shard,
                storage_options=storage_options,
            )
            for group in watched(_groups(file), on_video, lambda group: str(group.name)):
                _import_video(store, group)
            store.update_catalogue()
            return store
        arrays = _arrays(file, order)
        recipe = imported_recipe([(f"{path}: {name}", array) for name, array in arrays], order, dtype, seconds_per_clip)
        store = FeatureStore.create(location, recipe, clips_per_shard=clips_per_shard, storage_options=storage_options)
        for name, array in watched(arrays, on_video, itemgetter(0)):
            shown = f"{path}: {name}"
            seconds = rows_of_seconds(order.check(array, name=shown)[0], seconds_per_clip, name=shown)
            source = {"imported": {"file": Path(path).name, "dtype": array.dtype.name}}
            write_incoming(store, Incoming(name, shown, seconds, source, array, order), exact=dtype is None)
        store.update_catalogue()
        return store


def _groups(file: h5py.File) -> list[h5py.Group]:
    """The videos of a file that `export_hdf5` wrote."""
    videos = member(file, "videos")
    if videos is None:
        return []
    if not isinstance(videos, h5py.Group):
        raise ConversionError(f"{file.filename}: videos is not a group")
    with reading(f"{file.filename}: videos", "HDF5 group"):
        names = list(videos)
    groups = [member(videos, name) for name in names]
    for name, group in zip(names, groups, strict=True):
        if not isinstance(group, h5py.Group):
            raise ConversionError(f"{shown(videos, name)}: is not a group of one video's data sets")
    return groups


def _arrays(file: h5py.File, layout: ArrayLayout) -> list[tuple[str, h5py.Dataset]]:
    """Every floating-point data set with the layout's number of axes, by path."""
    found = [
        (name, item)
        for name, item in walk(file)
        if isinstance(item, h5py.Dataset) and item.dtype.kind == "f" and item.ndim == len(layout.axes)
    ]
    if not found:
        raise ConversionError(f"{file.filename}: holds no floating-point data set of ({', '.join(layout.axes)})")
    return sorted(found, key=lambda pair: pair[0])


def _import_video(store: FeatureStore, group: h5py.Group) -> None:
    key, source, seconds = _about(group)
    stored = _stored_arrays(store, group, len(seconds))
    store.plan(key, seconds, source)
    for shard_index in store.missing(key):
        start_clip, stop_clip = store.shard_clips(key, shard_index)
        with reading(f"{group.file.filename}: {group.name}", "set of features"):
            clips = {name: _in_native_order(array[start_clip:stop_clip]) for name, array in stored.items()}
        if "scale" in clips and not (np.isfinite(clips["scale"]) & (clips["scale"] >= 0)).all():
            raise ConversionError(
                f"{shown(group, 'scale')}: a scale of the clips {start_clip} to {stop_clip} is not finite, or below 0; "
                "write the file again from its store"
            )
        if store.recipe.dtype == "int8" and "scale" in clips:
            store.put_stored(key, shard_index, clips)  # quantising again could change the last bit of a scale
        else:
            store.write_shard(key, shard_index, from_stored(clips))
    store.complete(key)


def _about(group: h5py.Group) -> tuple[str, dict[str, Any], np.ndarray]:
    """Key, source and seconds of a video. Raises ConversionError, with its name, where one of them is wrong."""
    where = shown(group, "about")
    try:
        about = parse_json_object(text_of(member(group, "about"), where))
    except ValueError as error:
        reason = str(error) if isinstance(error, ConversionError) else f"{where}: is not JSON ({error})"
        raise ConversionError(reason) from error
    key, source = about.get("key"), about.get("source")
    if not isinstance(key, str) or not isinstance(source, dict):
        raise ConversionError(f"{where}: expected a JSON object with the video's key and source")
    seconds, where = member(group, "seconds"), shown(group, "seconds")
    if not isinstance(seconds, h5py.Dataset) or seconds.dtype.kind != "f" or (seconds.shape or ())[1:] != (2,):
        raise ConversionError(f"{where}: expected the start and end of every clip, floating-point numbers (clips, 2)")
    check_claim(len(seconds), 1, name=where)
    with reading(where, "data set"):
        return key, source, np.asarray(seconds[()], np.float64)


def _stored_arrays(store: FeatureStore, group: h5py.Group, num_clips: int) -> dict[str, h5py.Dataset]:
    """The data sets that hold the video as a store does, with the shapes and types of the store's recipe."""
    shape = (num_clips, store.recipe.num_tokens, store.recipe.dim)
    found = {name: item for name in ("scale", "tokens") if (item := member(group, name)) is not None}
    wanted = {"tokens": (shape, "i" if "scale" in found else "f"), "scale": (shape[:2], "f")}
    for name in {"tokens", *found}:
        item, (expected, kind) = found.get(name), wanted[name]
        if not isinstance(item, h5py.Dataset) or item.shape != expected or item.dtype.kind != kind:
            described_as = {"f": "floating-point", "i": "int8"}[kind]
            raise ConversionError(f"{shown(group, name)}: expected {described_as} numbers of shape {expected}")
        if (kind == "i" and item.dtype.itemsize != 1) or (name == "scale" and item.dtype.itemsize != 4):
            raise ConversionError(f"{shown(group, name)}: numbers of type {item.dtype}; expected int8, float32 scales")
    return found


def _in_native_order(array: np.ndarray) -> np.ndarray:
    return array.astype(array.dtype.newbyteorder("="), copy=False)
