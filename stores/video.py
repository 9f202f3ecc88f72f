"""One complete video of a store, read by clips or by seconds."""

import os
from collections.abc import Iterator
from typing import Any, Literal, get_args

import numpy as np
import zarr

from longvid.notebook import Cell, clock, html_table
from longvid.stores.absent import Missing, Ranges, absent_mask, within
from longvid.stores.bounded_json import parse_json
from longvid.stores.digests import Rows, ShardDigest, misplaced, recorded_checksum
from longvid.stores.errors import AbsentClips, DamagedStore, InvalidWindow, StoreAccessError
from longvid.stores.keys import path_name
from longvid.stores.layout import (
    DOCUMENT,
    INT8_MISSING,
    SECONDS_FILE,
    Layout,
    array_documents,
    fill_value,
    shard_arrays,
    token_shape,
    video_path,
)
from longvid.stores.mapped import MappedArray
from longvid.stores.numbers import from_stored
from longvid.stores.place import Place
from longvid.stores.recipe import Recipe
from longvid.stores.records import VideoRecord, seconds_sha256
from longvid.stores.sequence import ClipSequence
from longvid.stores.shard import checksums_of, decode_seconds
from longvid.stores.shards import VideoShards

Check = Literal["always", "once", "never"]
"""How often what is read is compared with the recorded digests; see `FeatureStore.open`."""


class StoredVideo(ClipSequence):
    """The tokens and times of one video. Files are opened only when read; can be pickled, and used after a fork.

    `video[3:5]`, `len(video)`, `for clip in video` and `np.asarray(video)` work as on an array (`ClipSequence`).
    """

    def __init__(
        self, place: Place, recipe: Recipe, layout: Layout, record: VideoRecord, *, check: Check = "once"
    ) -> None:
        self._place = place
        self._recipe = recipe
        self._layout = layout
        self._record = record
        self._arrays = shard_arrays(recipe)
        self._path = video_path(path_name(record.key))
        self._seconds: np.ndarray | None = None
        self._mapped: dict[str, MappedArray] | None = None
        self._opened: dict[tuple[int, str], zarr.Array[Any]] = {}
        self._check: Check = check
        self._expected: Rows | None = None
        self._checked: dict[str, set[int]] = {}
        """Chunks of each array that were already compared; without those of mapped shards."""

    @property
    def key(self) -> str:
        """The id with which it was planned."""
        return self._record.key

    @property
    def group(self) -> str:
        """Its zarr group within the store, for other readers: `xarray.open_zarr(store.location, group=video.group)`."""
        return self._path

    @property
    def num_clips(self) -> int:
        """Number of clips: rows of `tokens` and `seconds`."""
        return self._record.num_clips

    @property
    def num_tokens(self) -> int:
        """Number of tokens per clip."""
        return self._recipe.num_tokens

    @property
    def dim(self) -> int:
        """Number of features per token."""
        return self._recipe.dim

    @property
    def dtype(self) -> np.dtype:
        """Dtype of what `read` returns: the store's, or float32 where that is int8."""
        return np.dtype("float32" if self._recipe.dtype == "int8" else self._recipe.dtype)

    @property
    def source(self) -> dict[str, Any]:
        """The source that was given to `FeatureStore.plan`."""
        return self._record.source

    @property
    def seconds(self) -> np.ndarray:
        """(clips, 2) float64, read-only: start and end of each clip."""
        if self._seconds is None:
            data = self._place.get(f"{self._path}/seconds/{SECONDS_FILE}")
            seconds = None if data is None else decode_seconds(data)
            if seconds is None or seconds_sha256(seconds) != self._record.seconds_sha256:
                raise self._damaged("the array `seconds` is not the one that was planned")
            self._seconds = seconds
        return self._seconds

    @property
    def damaged(self) -> Ranges:
        """Ranges of clips that are not there, because the file is damaged where they lie; mostly none."""
        return self._record.damaged

    @property
    def present(self) -> np.ndarray:
        """(clips,) bool: which of the clips are there."""
        return ~absent_mask(self.damaged, 0, self.num_clips)

    def read(self, start_clip: int, stop_clip: int, *, missing: Missing = "refuse") -> np.ndarray:
        """Tokens (stop_clip - start_clip, tokens, dim) of the clips [start_clip, stop_clip), a copy.

        In the store's dtype, or float32 from an int8 store. `missing` says what becomes of absent clips: they are
        refused with AbsentClips, they are NaN ("nan"), or they are left out ("drop"), so that fewer rows come. Raises
        InvalidWindow unless 0 <= start_clip < stop_clip <= num_clips, DamagedStore if a shard is missing or broken.
        """
        if missing not in get_args(Missing):
            raise ValueError(f"missing={missing!r}: choose {', '.join(get_args(Missing))}")
        self._refuse_outside(start_clip, stop_clip)
        if missing == "refuse":
            self._refuse_absent(start_clip, stop_clip)
        tokens = from_stored(self._read_stored(start_clip, stop_clip))
        return tokens[~absent_mask(self.damaged, start_clip, stop_clip)] if missing == "drop" else tokens

    def _read(self, start_clip: int, stop_clip: int) -> np.ndarray:
        return self.read(start_clip, stop_clip)

    def _none(self) -> np.ndarray:
        return np.zeros((0, self.num_tokens, self.dim), self.dtype)

    def _refuse_outside(self, start_clip: int, stop_clip: int) -> None:
        if not 0 <= start_clip < stop_clip <= self.num_clips:
            raise InvalidWindow(
                f"{self._place.location}: video {self.key!r} has clips 0 to {self.num_clips}, but [{start_clip}, "
                f"{stop_clip}) was asked"
            )

    def _refuse_absent(self, start_clip: int, stop_clip: int) -> None:
        absent = within(self.damaged, start_clip, stop_clip)
        if absent:
            raise AbsentClips(
                f"{self._place.location}: video {self.key!r}: {'; '.join(map(str, absent))}; these clips are not "
                "there: read with missing='nan' or 'drop', or get a sound file, delete the video and extract it again"
            )

    def read_seconds(
        self, start_seconds: int | float, stop_seconds: int | float, *, missing: Missing = "refuse"
    ) -> tuple[np.ndarray, np.ndarray]:
        """Tokens and seconds of the clips that overlap [start_seconds, stop_seconds).

        A clip without duration counts as an instant. `missing` is as for `read`. Raises InvalidWindow if the range is
        empty or holds no clip.
        """
        starts, ends = self.seconds[:, 0], self.seconds[:, 1]
        shares = (starts < stop_seconds) & ((ends > start_seconds) | ((ends == starts) & (starts >= start_seconds)))
        clips = np.flatnonzero(shares)
        if not start_seconds < stop_seconds or not len(clips):
            raise InvalidWindow(
                f"{self._place.location}: video {self.key!r} has clips from {starts[0]:g} to {ends[-1]:g} s, none in "
                f"[{start_seconds:g}, {stop_seconds:g}) s"
            )
        start_clip, stop_clip = int(clips[0]), int(clips[-1]) + 1
        tokens, seconds = self.read(start_clip, stop_clip, missing=missing), self.seconds[start_clip:stop_clip]
        absent = absent_mask(self.damaged, start_clip, stop_clip)
        return tokens, seconds[~absent] if missing == "drop" else seconds.copy()

    def iter_shards(self, *, missing: Missing = "refuse") -> Iterator[np.ndarray]:
        """Yields the tokens shard by shard, for reading a video of any length in little memory."""
        for shard_index in range(self._layout.num_shards(self.num_clips)):
            yield self.read(*self._layout.shard_clips(self.num_clips, shard_index), missing=missing)

    def read_stored(
        self, start_clip: int, stop_clip: int, *, missing: Literal["refuse", "nan"] = "refuse"
    ) -> dict[str, np.ndarray]:
        """The arrays as they are stored: `tokens`, and `scale` for int8. `missing` is as for `read`."""
        if missing != "nan":
            self._refuse_absent(start_clip, stop_clip)
        return self._read_stored(start_clip, stop_clip)

    def iter_chunks(self) -> Iterator[dict[str, np.ndarray]]:
        """Yields the arrays chunk by chunk as they are stored, for one pass in flat memory; NaN where clips are absent.

        Local, uncompressed shards are mapped and neither copied nor compared with a checksum, so that a pass takes
        little longer than reading memory: compare what matters by `read`. A file that is truncated meanwhile ends the
        process (see `longvid.stores.mapped`). Others are read as by `read_stored`. Raises DamagedStore.
        """
        if self._mapped is None:
            self._mapped = self._map_arrays()
        for shard_index in range(self._layout.num_shards(self.num_clips)):
            views = {name: mapped.chunks(shard_index) for name, mapped in self._mapped.items()}
            found = [views.get(name) for name in self._arrays]
            if any(chunks is None for chunks in found):
                yield self._read_stored(*self._layout.shard_clips(self.num_clips, shard_index))
                continue
            for arrays in zip(*(chunks for chunks in found if chunks is not None), strict=True):
                yield dict(zip(self._arrays, arrays, strict=True))

    def _read_stored(self, start_clip: int, stop_clip: int) -> dict[str, np.ndarray]:
        return {name: self._read_array(name, start_clip, stop_clip) for name in self._arrays}

    def _recorded(self) -> Rows | None:
        """The digests to compare chunks with, read once; None where nothing is compared, or none are recorded."""
        if self._check != "never" and self._expected is None:
            shards = VideoShards(self._place, self._recipe, self._layout, self._record)
            try:
                self._expected = shards.recorded()
            except DamagedStore as error:
                raise self._damaged(str(error)) from error
        return self._expected

    def _read_array(self, name: str, start_clip: int, stop_clip: int) -> np.ndarray:
        if self._mapped is None:
            self._mapped = self._map_arrays()
        try:
            window = self._mapped[name].read(start_clip, stop_clip) if name in self._mapped else None
        except DamagedStore as error:
            raise self._damaged(str(error)) from error
        return self._read_ordinarily(name, start_clip, stop_clip) if window is None else window

    def _map_arrays(self) -> dict[str, MappedArray]:
        """The arrays whose shards can be mapped: local, uncompressed, with exactly the documents of this version."""
        if self._place.folder is None or self._layout.compression is not None:
            return {}
        documents = array_documents(self._recipe, self._layout, self.num_clips)
        mapped = {}
        for name in self._arrays:
            shape, data_type = documents[name]["shape"], documents[name]["data_type"]
            document = self._place.get(f"{self._path}/{name}/{DOCUMENT}")
            if document is not None and _parsed(document) == documents[name]:
                dtype = np.dtype(data_type).newbyteorder("<")
                folder = self._place.folder / self._path
                recorded = self._recorded()
                expected = None if recorded is None else [digest.chunks for digest in recorded[name]]
                mapped[name] = MappedArray(
                    folder,
                    name,
                    dtype,
                    tuple(shape[1:]),
                    self._layout,
                    self.num_clips,
                    expected=expected,
                    always=self._check == "always",
                )
        return mapped

    def _read_ordinarily(self, name: str, start: int, stop: int) -> np.ndarray:
        """The clips read through zarr, which works for every place and codec."""
        recorded = self._recorded()
        if recorded is None:
            return self._read_by_zarr(name, start, stop)
        size = self._layout.clips_per_chunk
        chunks = range(start // size, -(-stop // size))
        checked = self._checked.setdefault(name, set())
        if self._check == "once" and checked.issuperset(chunks):
            return self._read_by_zarr(name, start, stop)
        # whole chunks, as zarr reads them in any case
        first_clip = chunks.start * size
        window = self._read_by_zarr(name, first_clip, min(chunks.stop * size, self.num_clips))
        self._compare(name, window, chunks.start, recorded[name])
        checked.update(chunks)
        return window[start - first_clip : stop - first_clip]

    def _compare(self, name: str, window: np.ndarray, first_chunk: int, recorded: list[ShardDigest]) -> None:
        """Raise DamagedStore unless the chunks of `window` are those that were recorded for their places."""
        fill = fill_value(window.dtype)
        for offset, found in enumerate(checksums_of(window, self._layout, fill_value=fill)):
            shard_index, chunk = divmod(first_chunk + offset, self._layout.chunks_per_shard)
            if recorded_checksum(recorded[shard_index].chunks, chunk) != found:
                raise self._damaged(f"shard {shard_index} of `{name}`: {misplaced(chunk)}")

    def _read_by_zarr(self, name: str, start: int, stop: int) -> np.ndarray:
        try:
            window = np.asarray(self._array(name)[start:stop])
        except StoreAccessError:  # the server or the network, which says nothing about the numbers
            raise
        except Exception as error:  # a forged document makes zarr raise anything
            raise self._damaged(f"clips {start} to {stop} of `{name}` cannot be read ({error})") from error
        # a missing shard is read as a value that is never written, so one number per clip shows it
        witness = window.reshape(len(window), -1)[:, 0]
        missing = witness == INT8_MISSING if window.dtype == np.int8 else np.isnan(witness)
        missing &= ~absent_mask(self.damaged, start, stop)
        if missing.any():
            shard_index = (start + int(missing.argmax())) // self._layout.clips_per_shard
            raise self._damaged(f"shard {shard_index} of `{name}` is missing")
        return window

    def _array(self, name: str) -> "zarr.Array[Any]":  # in quotes: zarr 3.1.3 lacks `Array[...]` at run time
        opened = (os.getpid(), name)  # a connection does not survive a fork
        if opened not in self._opened:
            # format 3 only: an array of format 2 may name filters that unpickle what they read
            array = zarr.open_array(self._place.zarr_store(), path=f"{self._path}/{name}", mode="r", zarr_format=3)
            self._refuse_other_shape(name, array)
            self._opened[opened] = array
        return self._opened[opened]

    def _refuse_other_shape(self, name: str, array: "zarr.Array[Any]") -> None:
        """Raise DamagedStore where the array's document claims a shape that was not planned: zarr would allocate it."""
        planned = array_documents(self._recipe, self._layout, self.num_clips)[name]
        shape = tuple(planned["shape"])
        chunks = (self._layout.clips_per_chunk, *shape[1:])
        shards = (self._layout.clips_per_shard, *shape[1:])
        claimed = (array.shape, array.chunks, array.shards, array.dtype.name)
        if claimed != (shape, chunks, shards, planned["data_type"]):
            raise self._damaged(f"the document of `{name}` claims an array of {array.shape}, which was not planned")

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": {}}

    def _damaged(self, reason: str) -> DamagedStore:
        return DamagedStore(
            f"{self._place.location}: video {self.key!r}: {reason}; run `longvid repair`, then extract it again"
        )

    def _repr_html_(self) -> str:
        record, absent = self._record, int((~self.present).sum())
        facts: list[tuple[str, Cell]] = [
            ("clips", self.num_clips),
            ("tokens per clip", f"{self.num_tokens} of {self.dim}, {self.dtype}"),
            ("time", f"{clock(record.start_seconds)} to {clock(record.end_seconds)}"),
            *([("not there (damaged)", absent)] if absent else []),
        ]
        return html_table(f"video {self.key}", facts)

    def __repr__(self) -> str:
        return f"StoredVideo({self.key!r}, {self.num_clips} clips of {token_shape(self._recipe)})"


def _parsed(document: bytes) -> Any:
    try:
        return parse_json(document)
    except ValueError:
        return None
