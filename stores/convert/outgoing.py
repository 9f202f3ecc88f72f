"""The part that all exports share: from a store to files."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from longvid.files import replacing
from longvid.stores.canonical import canonical_json
from longvid.stores.errors import ConversionError, StoreAccessError, StoreError
from longvid.stores.store import FeatureStore


def describe(store: FeatureStore) -> str:
    """The store's recipe and layout as JSON, from which an import makes an equal store."""
    return canonical_json({"recipe": store.recipe.to_dict(), "layout": asdict(store.layout)})


def refuse_partial(store: FeatureStore, keys: Sequence[str]) -> None:
    """Raises ConversionError for a video that lacks clips: other formats cannot say so, and would serve NaN."""
    lacking = store.num_damaged_clips()
    for key in keys:
        if key in lacking:
            raise ConversionError(
                f"{store.location}: video {key!r} lacks {lacking[key]} clips, because its file is damaged, which the "
                "files of an export cannot say; delete it from the store, or export the others (keys=...)"
            )


@contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """A temporary path beside `target`, renamed to `target` when the block ends, removed when it fails.

    Errors of the file system become StoreAccessError.
    """
    try:
        with replacing(target) as temporary:
            yield temporary
    except StoreError:
        raise
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        raise StoreAccessError(f"{target}: cannot be written: {reason}; the store is as it was") from error


def reserve(file: Path, num_bytes: int) -> None:
    """Allocate the file's space on the disk now. Raises OSError if there is not enough.

    On a full disk, writing it later would crash the process: a mapping with SIGBUS, HDF5 while closing.
    """
    if hasattr(os, "posix_fallocate"):
        with file.open("ab") as opened:
            os.posix_fallocate(opened.fileno(), 0, num_bytes)
