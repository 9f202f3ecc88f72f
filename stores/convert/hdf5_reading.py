"""Safe reading of untrusted HDF5 files.

Nothing outside the file is read, and nothing that the file only claims to hold. HDF5 lets a file point elsewhere in
four ways: external links, external storage, virtual data sets and references. The library would open whatever path the
file names. Here only hard links are followed, and each of the four is refused.
"""

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import h5py
import numpy as np

from longvid.stores.convert.bounds import MOST_CHUNK_BYTES, reading
from longvid.stores.errors import ConversionError

Item: TypeAlias = h5py.Group | h5py.Dataset
MOST_TEXT_BYTES = 64 * 2**20
TEXT_SECONDS = 20.0
"""Time for one text of variable length; reading one takes milliseconds, starting a process less than a second."""


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """The file, open for reading. Raises ConversionError where it is not an HDF5 file."""
    if not path.is_file():
        raise ConversionError(f"{path}: is not a readable HDF5 file (not a regular file)")
    with reading(str(path), "HDF5 file"):
        file = h5py.File(path, "r")
    try:
        yield file
    finally:
        with reading(str(path), "HDF5 file"):
            file.close()


def member(group: h5py.Group, name: str) -> Item | None:
    """The group or data set directly under `group`, or None; checked as in `walk`."""
    where = shown(group, name)
    with reading(where, "HDF5 object"):
        if not group.id.links.exists(name.encode("utf-8", "surrogateescape")):
            return None
        _refuse_link_out(group, name)
        item = group[name]
        if isinstance(item, h5py.Dataset):
            check_dataset(item)
        return item if isinstance(item, Item) else None


def text_of(item: Item | None, name: str) -> str:
    """The text of a scalar data set of strings. Raises ConversionError for anything else."""
    with reading(name, "text in HDF5"):
        if not isinstance(item, h5py.Dataset) or item.shape != () or h5py.check_string_dtype(item.dtype) is None:
            raise ConversionError(f"{name}: expected a single text")
        if item.dtype.itemsize > MOST_TEXT_BYTES:
            raise ConversionError(f"{name}: claims {item.dtype.itemsize:,} bytes of text")
        held = item[()] if is_fixed(item) else _text_in_another_process(item, name)
        if not isinstance(held, bytes | str) or len(held) > MOST_TEXT_BYTES:
            raise ConversionError(f"{name}: expected a text of {MOST_TEXT_BYTES:,} bytes at most")
        return held.decode("utf-8") if isinstance(held, bytes) else held


def fixed_text(text: str) -> np.ndarray:
    """A text as a scalar of fixed length, which lies in one place of the file."""
    data = text.encode("utf-8")
    return np.array(data, h5py.string_dtype("utf-8", max(1, len(data))))


def is_fixed(item: h5py.Dataset) -> bool:
    """Whether the data set holds texts of a fixed length."""
    kind = h5py.check_string_dtype(item.dtype)
    return kind is not None and kind.length is not None


def _text_in_another_process(item: h5py.Dataset, name: str) -> bytes:
    """A text of variable length. In a damaged file the library can look for it for ever, which nothing else ends."""
    command = [sys.executable, "-c", _READ_TEXT, item.file.filename, item.name]
    try:
        read = subprocess.run(command, capture_output=True, timeout=TEXT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise ConversionError(f"{name}: cannot be read in {TEXT_SECONDS} s; the file is damaged") from None
    if read.returncode:
        told = (read.stderr.decode("utf-8", "replace").strip().splitlines() or ["the process died"])[-1]
        raise ConversionError(f"{name}: cannot be read ({told[:200]}); the file is damaged")
    return read.stdout


_READ_TEXT = """
import sys, h5py
with h5py.File(sys.argv[1], "r") as file:
    held = file[sys.argv[2]][()]
sys.stdout.buffer.write(held if isinstance(held, bytes) else held.encode("utf-8"))
"""


def walk(group: h5py.Group) -> Iterator[tuple[str, Item]]:
    """Every group and data set below, each once, with its path; soft links are skipped, as their targets come too.

    Raises ConversionError, with the name, for a link to another file, and for what `check_dataset` refuses.
    """
    with reading(shown(group, ""), "HDF5 object"):
        seen = {_address(group)}
    waiting = [("", group)]
    while waiting:
        prefix, parent = waiting.pop()
        for name in _names(parent):
            path = f"{prefix}{name}"
            with reading(shown(parent, name), "HDF5 object"):
                if isinstance(_refuse_link_out(parent, name), h5py.SoftLink):
                    continue
                item = parent[name]
                if not isinstance(item, Item) or _address(item) in seen:  # a named type, or hard links in a circle
                    continue
                seen.add(_address(item))
                if isinstance(item, h5py.Dataset):
                    check_dataset(item)
                else:
                    waiting.append((f"{path}/", item))
            yield path, item


def check_dataset(dataset: h5py.Dataset) -> None:
    """Raises ConversionError, with the name, for a data set whose numbers are not all in this file.

    A chunk that was never written would read as zeros, so a few bytes could claim to be terabytes.
    """
    name = f"{dataset.file.filename}: {dataset.name}"
    if h5py.check_ref_dtype(dataset.dtype) is not None:
        raise ConversionError(f"{name}: holds references to other objects, not numbers; save the numbers themselves")
    if dataset.is_virtual:
        raise ConversionError(f"{name}: is a virtual data set, with numbers that lie elsewhere; save an ordinary one")
    if dataset.external:
        raise ConversionError(f"{name}: keeps its numbers in other files; save them in the HDF5 file itself")
    if dataset.shape is None or dataset.dtype.kind not in "fiu":
        return
    claimed = math.prod(dataset.shape) * dataset.dtype.itemsize
    if dataset.chunks is None:
        held = min(dataset.id.get_storage_size(), os.path.getsize(dataset.file.filename))
        if claimed > held:
            raise ConversionError(f"{name}: claims {claimed:,} bytes of shape {dataset.shape}, but holds {held:,}")
        return
    chunk_bytes = math.prod(dataset.chunks) * dataset.dtype.itemsize
    if chunk_bytes > MOST_CHUNK_BYTES:
        raise ConversionError(
            f"{name}: its chunks have {chunk_bytes:,} bytes, at most {MOST_CHUNK_BYTES:,} are allowed; "
            "`h5repack -l CHUNK=...` makes smaller ones"
        )
    expected = math.prod(-(-size // chunk) for size, chunk in zip(dataset.shape, dataset.chunks, strict=True))
    held = dataset.id.get_num_chunks()
    if held < expected:
        raise ConversionError(f"{name}: holds {held:,} of {expected:,} chunks; the others were never written")


def shown(group: h5py.Group, name: str) -> str:
    """The name of a member in messages."""
    return f"{group.file.filename}: {(group.name or '').rstrip('/')}/{name}"


def _names(group: h5py.Group) -> list[str]:
    with reading(f"{group.file.filename}: {group.name}", "HDF5 group"):
        names = list(group)
    for name in names:
        if not isinstance(name, str):  # h5py gives the bytes of a name that is not UTF-8
            raise ConversionError(f"{group.file.filename}: {group.name}: {name!r} is not a name in UTF-8; rename it")
    return names


def _refuse_link_out(group: h5py.Group, name: str) -> h5py.HardLink | h5py.SoftLink:
    link = group.get(name, getlink=True)
    if isinstance(link, h5py.HardLink | h5py.SoftLink):
        return link
    raise ConversionError(
        f"{shown(group, name)}: is a link to another file, which an import does not open; import that file itself"
    )


def _address(item: h5py.HLObject) -> int:
    return int(h5py.h5o.get_info(item.id).addr)
