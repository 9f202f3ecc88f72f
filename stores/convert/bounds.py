"""Limits on what an imported file may claim, and its read errors.

A header of a few bytes can claim any shape. What an import holds in memory (times of clips, one shard, one chunk) is
limited here before anything is allocated for it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from longvid.stores.errors import ConversionError, StoreError
from longvid.stores.layout import Layout
from longvid.stores.recipe import Recipe
from longvid.stores.shard import clip_bytes_of

MOST_CLIPS = 10_000_000
"""Most clips of one video: more than a week at fifteen clips per second."""
MOST_CLIP_BYTES = 64 * 2**20
"""Most bytes of one clip: several times the largest token grid of any known encoder."""
MOST_CHUNK_BYTES = 2**30
"""Most bytes of one chunk, which is read and checked as a whole."""


@contextmanager
def reading(name: str, what: str) -> Iterator[None]:
    """Turns whatever a parser raises for the bytes of `name` into a ConversionError; a StoreError is passed on."""
    try:
        yield
    except StoreError:
        raise
    except Exception as error:  # damaged bytes make a parser raise anything, MemoryError included
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ConversionError(f"{name}: is not a readable {what} ({reason}); fetch or write the file again") from error


def check_claim(num_clips: int, clip_bytes: int, *, name: str) -> None:
    """Raises ConversionError for more clips, or larger ones, than any video has."""
    if num_clips > MOST_CLIPS:
        raise ConversionError(
            f"{name}: claims {num_clips:,} clips, more than the {MOST_CLIPS:,} that one video can have; see that "
            "`layout` says which axis is which"
        )
    if clip_bytes > MOST_CLIP_BYTES:
        raise ConversionError(
            f"{name}: claims {clip_bytes:,} bytes per clip, more than the {MOST_CLIP_BYTES:,} that a clip can have; "
            "see that `layout` says which axis is which"
        )


def check_described(recipe: Recipe, layout: Layout, *, name: str) -> None:
    """Raises ConversionError for a description of a store whose clips or chunks are too large for memory."""
    clip_bytes = clip_bytes_of(recipe, "tokens")
    check_claim(1, clip_bytes, name=name)
    if layout.clips_per_shard > MOST_CLIPS:
        raise ConversionError(
            f"{name}: describes shards of {layout.clips_per_shard} clips in chunks of {layout.clips_per_chunk}"
        )
    chunk_bytes = layout.clips_per_chunk * clip_bytes
    if chunk_bytes > MOST_CHUNK_BYTES:
        raise ConversionError(
            f"{name}: describes chunks of {chunk_bytes:,} bytes; at most {MOST_CHUNK_BYTES:,} are allowed"
        )
