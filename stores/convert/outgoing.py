"""From a store to files of others: the part that every export shares."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from longvid.stores.canonical import canonical_json
from longvid.stores.errors import ConversionError, StoreAccessError, StoreError
from longvid.stores.place import PARTIAL
from longvid.stores.store import FeatureStore


def describe(store: FeatureStore) -> str:
    """The store's recipe and layout as JSON, from which an import makes an equal one."""
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
    """A temporary path beside `target` that becomes `target` when the block ends, and is removed when it fails.

    Failures of the file system become StoreAccessError.
    """
    partial = target.with_name(target.name + PARTIAL)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(target)
    except StoreError:
        raise
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        raise StoreAccessError(f"{target}: cannot be written: {reason}; the store is as it was") from error
    finally:
        partial.unlink(missing_ok=True)


def reserve(file: Path, num_bytes: int) -> None:
    """Take the file's space on the disk now. Raises OSError if there is not enough.

    What writes it afterwards would crash the process on a full disk: a mapping with SIGBUS, HDF5 while closing.
    """
    if hasattr(os, "posix_fallocate"):
        with file.open("ab") as opened:
            os.posix_fallocate(opened.fileno(), 0, num_bytes)
