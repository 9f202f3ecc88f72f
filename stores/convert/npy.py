"""Import and export of folders of `.npy` files, one per video.

An export writes `key.json` beside `key.npy`, with what an array cannot hold: the key, the seconds of each clip, the
source. `_index.csv` says which file holds which key, and `_store.json` describes the store, so that importing the
folder again gives the same store, file by file. Folders of other projects (ViS4mer, MS-TCN) have none of these;
`seconds_per_clip` then gives the clips' times, and the recipe says "imported".
"""

import csv
import io
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from longvid.stores.bounded_json import MOST_BYTES, parse_json
from longvid.stores.canonical import canonical_json
from longvid.stores.convert.arrays import ArrayLayout, array_layout
from longvid.stores.convert.bounds import reading
from longvid.stores.convert.file_names import file_stems
from longvid.stores.convert.incoming import Incoming, described, imported_recipe, rows_of_seconds, write_incoming
from longvid.stores.convert.outgoing import describe, new_file, refuse_partial, reserve
from longvid.stores.convert.watching import watched
from longvid.stores.errors import ConversionError
from longvid.stores.place import Location
from longvid.stores.recipe import TokenType
from longvid.stores.store import FeatureStore
from longvid.stores.video import StoredVideo

_STORE_FILE = "_store.json"
INDEX_FILE = "_index.csv"
"""A row per video: its key, its file, and how many clips it has over which seconds."""
_FLOATS = ("float16", "float32", "float64")


def import_npy(
    folder: str | os.PathLike[str],
    location: Location,
    *,
    layout: str = "vis4mer",
    seconds_per_clip: int | float | None = None,
    dtype: TokenType | None = None,
    clips_per_shard: int | None = None,
    storage_options: dict[str, Any] | None = None,
    on_video: Callable[[str], None] | None = None,
) -> FeatureStore:
    """A store of every `.npy` file under `folder`; its key is the path in it without the suffix, or that of `key.json`.

    `dtype=None` keeps every number: float16 and float32 are stored as they are, and float64 as float32 if that is exact
    (as it is where a float32 model's output was saved as float64), else it is refused. A dtype chosen explicitly may
    round. Can be interrupted and run again. `on_video` is called with each file's path when it is in the store. Raises
    ConversionError with the name of the file.
    """
    root, order = Path(folder), array_layout(layout)
    files = sorted(root.rglob("*.npy"))
    if not files:
        raise ConversionError(f"{root}: holds no .npy file")
    description = root / _STORE_FILE
    sizes: dict[str, Any] = {"clips_per_shard": clips_per_shard, "storage_options": storage_options}
    if description.exists():
        store = described(_text(root, description), location, name=str(description), dtype=dtype, **sizes)
    else:
        recipe = imported_recipe([(str(file), _header(root, file)) for file in files], order, dtype, seconds_per_clip)
        store = FeatureStore.create(location, recipe, **sizes)
    for file in watched(files, on_video):
        write_incoming(store, _incoming(root, file, order, seconds_per_clip), exact=dtype is None)
    store.update_catalogue()
    return store


def export_npy(
    store: FeatureStore,
    folder: str | os.PathLike[str],
    *,
    layout: str = "vis4mer",
    keys: Iterable[str] | None = None,
    on_video: Callable[[str], None] | None = None,
) -> list[Path]:
    """Write each complete video (or those of `keys`) to `folder` as `key.npy` and `key.json`; returns the `.npy` paths.

    Numbers have the dtype with which they were imported, else the store's (float32 for int8). What a file cannot be
    called on every system is changed in its name (`file_names.py`); `_index.csv` lists the file of each key. `on_video`
    is called with each file's path when it is written. Raises ConversionError if a file exists already, and for a video
    that lacks clips.
    """
    root, order = Path(folder), array_layout(layout)
    order.shape(1, store.recipe.num_tokens, store.recipe.dim)
    chosen = list(store.keys() if keys is None else keys)
    refuse_partial(store, chosen)
    _write_text(root / _STORE_FILE, describe(store))
    targets = [root / f"{stem}.npy" for stem in file_stems(chosen)]
    _write_text(root / INDEX_FILE, _index(store, chosen, [path.relative_to(root).as_posix() for path in targets]))
    for key, target in zip(chosen, watched(targets, on_video), strict=True):
        if target.exists():
            raise ConversionError(f"{target}: exists already; export into an empty folder")
        _export_video(store.video(key), target, order)
    return targets


def _write_text(target: Path, text: str) -> None:
    with new_file(target) as file:
        # only an index can hold what no UTF-8 is: the key of a file with such a name, exact in its `key.json`
        file.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def _index(store: FeatureStore, keys: list[str], files: list[str]) -> str:
    """The CSV text of the index."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["key", "file", "clips", "start_seconds", "end_seconds"])
    for key, file in zip(keys, files, strict=True):
        seconds = store.video(key).seconds
        writer.writerow([key, file, len(seconds), seconds[0, 0].item(), seconds[-1, 1].item()])
    return out.getvalue().rstrip("\n")


def _load(root: Path, file: Path) -> np.ndarray:
    """The array, memory-mapped, so nothing is read yet. Pickled objects are never loaded."""
    _refuse_irregular(root, file)
    with reading(str(file), ".npy file"):
        return np.lib.format.open_memmap(file, mode="r")


def _refuse_irregular(root: Path, file: Path) -> None:
    """Raises ConversionError unless it is a regular file (a pipe would wait for ever) that lies within `root`."""
    if not file.is_file():
        raise ConversionError(f"{file}: is not a regular file; move it out of the folder")
    if not file.resolve().is_relative_to(root.resolve()):
        raise ConversionError(f"{file}: is a link to a file outside {root}; put the file itself there")


def _header(root: Path, file: Path) -> np.ndarray:
    """An array of zeros with the file's shape and dtype: it keeps no file open, of which there may be thousands."""
    array = _load(root, file)
    return np.broadcast_to(np.zeros((), array.dtype), array.shape)


def _incoming(root: Path, file: Path, layout: ArrayLayout, seconds_per_clip: int | float | None) -> Incoming:
    array = _load(root, file)
    num_clips = layout.check(array, name=str(file))[0]
    relative = file.relative_to(root).as_posix()
    sidecar = file.with_suffix(".json")
    about = _read_sidecar(root, sidecar)
    source = about.get("source", {"imported": {"file": relative, "dtype": array.dtype.name}})
    if not isinstance(source, dict):
        raise ConversionError(f"{sidecar}: its source must be a JSON object, not {type(source).__name__}")
    with reading(str(sidecar), "list of seconds"):
        given = about.get("seconds")
        if given is None:
            seconds = rows_of_seconds(num_clips, seconds_per_clip, name=str(file))
        else:
            seconds = np.asarray(given, np.float64)
    key = about.get("key", relative.removesuffix(".npy"))
    if not isinstance(key, str):
        raise ConversionError(f"{sidecar}: a key must be a string, not {type(key).__name__}")
    return Incoming(
        key=key,
        name=str(file),
        seconds=seconds,
        source=source,
        array=array,
        layout=layout,
    )


def _read_sidecar(root: Path, file: Path) -> dict[str, Any]:
    if not os.path.lexists(file):
        return {}
    try:
        about = parse_json(_text(root, file))
    except ConversionError:
        raise
    except ValueError as error:
        raise ConversionError(f"{file}: is not JSON with key, seconds and source ({error})") from error
    if not isinstance(about, dict):
        raise ConversionError(f"{file}: expected a JSON object with key, seconds and source")
    return about


def _text(root: Path, file: Path) -> str:
    """The text of a JSON file in the folder."""
    _refuse_irregular(root, file)
    with reading(str(file), "JSON file"):
        if file.stat().st_size > MOST_BYTES:
            raise ConversionError(f"{file}: is longer than the {MOST_BYTES:,} bytes that such a file can have")
        return file.read_text(encoding="utf-8")


def _export_video(video: StoredVideo, target: Path, layout: ArrayLayout) -> None:
    """Write `target` and its sidecar, with one shard in memory at a time."""
    about = {"key": video.key, "seconds": video.seconds.tolist(), "source": video.source}
    _write_text(target.with_suffix(".json"), canonical_json(about))
    shape = layout.shape(video.num_clips, video.num_tokens, video.dim)
    dtype = _imported_dtype(video)
    with new_file(target) as file:
        array = np.lib.format.open_memmap(file, mode="w+", dtype=dtype, shape=shape)
        reserve(file, file.stat().st_size)
        start_clip = 0
        for shard in video.iter_shards():
            layout.read(array, start_clip, start_clip + len(shard))[...] = shard
            start_clip += len(shard)
        array.flush()


def _imported_dtype(video: StoredVideo) -> np.dtype:
    """The floating-point dtype with which the video was imported, if its source names one; else the store's."""
    imported = video.source.get("imported")
    name = imported.get("dtype") if isinstance(imported, dict) else None
    return np.dtype(name if name in _FLOATS else video.dtype)
