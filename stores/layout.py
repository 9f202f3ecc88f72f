"""Format 1: which documents and files a feature store is made of.

    features.zarr/
      zarr.json                     group; attributes: format, recipe and its digest, layout (clips_per_shard, ...)
      videos/zarr.json              group; attributes: a copy of the root's. Not in version 0.1.0
      videos/<name>/zarr.json       group; attributes: status, key, num_clips, source, ... (`records.py`)
      videos/<name>/digests/        group; attributes: what each shard's bytes are (`digests.py`). Not in version 0.1.0
      videos/<name>/tokens/         (clips, tokens, dim), float16, float32 or int8; one file `c.<shard>.0.0` a shard
      videos/<name>/scale/          (clips, tokens) float32, for int8 only: token = number * scale; `c.<shard>.0`
      videos/<name>/seconds/        (clips, 2) float64, start and end of each clip; one file `c.0.0`
      catalogue/zarr.json           group; attributes: one row for each complete video. May be absent, can be made again

The documents are written here rather than by a zarr library, so that the same inputs give the same bytes whatever
version is installed. For the same reason nothing records when it was made: two stores of the same videos are equal
file by file, however often their making was interrupted.

A shard holds `clips_per_shard` clips in chunks of `clips_per_chunk`, each chunk followed by its crc32c; a shard file
ends with an index that has its own crc32c (codec `sharding_indexed` of the zarr v3 specification). The last shard of a
video holds only the chunks that its clips need.
"""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from longvid.stores.canonical import digest, document_bytes
from longvid.stores.errors import InvalidLayout, NotAFeatureStore
from longvid.stores.recipe import FORMAT, Recipe

VIDEOS = "videos"
CATALOGUE = "catalogue"
ROOT_COPY = "store"
DIGESTS = "digests"
RECEIPTS = "receipts"
DOCUMENT = "zarr.json"
SECONDS_FILE = "c.0.0"

DEFAULT_CLIPS_PER_SHARD = 64

_CHUNK_BYTES = 512 * 1024
"""A chunk is as many clips as fit here: small enough that a window reads little it does not need, large enough that
a shard's index and the cost a chunk stay small."""

INT8_MISSING = -128
"""What a missing int8 shard reads as: a value that no token has, as NaN is for the floats."""

ZSTD_LEVEL = 1
COMPRESSIONS = (None, "zstd")

_BYTES = {"name": "bytes", "configuration": {"endian": "little"}}
_CRC32C = {"name": "crc32c"}
_ZSTD = {"name": "zstd", "configuration": {"level": ZSTD_LEVEL, "checksum": False}}


@dataclass(frozen=True)
class Layout:
    """How the clips of a store are cut into files; the same for all its videos."""

    clips_per_shard: int
    clips_per_chunk: int
    compression: str | None = None

    def __post_init__(self) -> None:
        if self.clips_per_shard < 1 or self.clips_per_chunk < 1 or self.clips_per_shard % self.clips_per_chunk:
            raise InvalidLayout(
                f"clips_per_shard={self.clips_per_shard} and clips_per_chunk={self.clips_per_chunk}: a shard is one "
                "chunk or several whole ones, each of a clip or more"
            )
        if self.compression not in COMPRESSIONS:
            raise InvalidLayout(f"compression={self.compression!r}: choose 'zstd', or none at all")

    @property
    def chunks_per_shard(self) -> int:
        """How many entries a shard's index has."""
        return self.clips_per_shard // self.clips_per_chunk

    def num_shards(self, num_clips: int) -> int:
        """How many shards a video of `num_clips` clips has."""
        return math.ceil(num_clips / self.clips_per_shard)

    def shard_clips(self, num_clips: int, shard_index: int) -> tuple[int, int]:
        """First clip of the shard and the one after its last."""
        first_clip = shard_index * self.clips_per_shard
        return first_clip, min(first_clip + self.clips_per_shard, num_clips)


def make_layout(
    recipe: Recipe,
    *,
    clips_per_shard: int | None = None,
    clips_per_chunk: int | None = None,
    compression: str | None = None,
) -> Layout:
    """The layout of a new store, with the defaults where None is given. Raises InvalidLayout for an impossible one."""
    shard = DEFAULT_CLIPS_PER_SHARD if clips_per_shard is None else clips_per_shard
    return Layout(
        shard, default_clips_per_chunk(recipe, shard) if clips_per_chunk is None else clips_per_chunk, compression
    )


def default_clips_per_chunk(recipe: Recipe, clips_per_shard: int) -> int:
    """The largest divisor of `clips_per_shard` whose clips fit into half a megabyte, at least 1."""
    clip_bytes = recipe.num_tokens * recipe.dim * item_bytes(recipe.dtype)
    fitting = [n for n in range(1, clips_per_shard + 1) if clips_per_shard % n == 0 and n * clip_bytes <= _CHUNK_BYTES]
    return max(fitting, default=1)


def item_bytes(dtype: str) -> int:
    """Bytes of one stored number."""
    return {"float16": 2, "float32": 4, "int8": 1}[dtype]


def fill_value(dtype: np.dtype) -> int | float:
    """What a missing number of an array reads as, and what fills the last chunk of a shard."""
    return INT8_MISSING if dtype == np.int8 else math.nan


def token_shape(recipe: Recipe) -> tuple[int, int]:
    """(tokens, dim): one clip of the array `tokens`."""
    return recipe.num_tokens, recipe.dim


def video_path(name: str) -> str:
    """Where the video of this path name lies in the store."""
    return f"{VIDEOS}/{name}"


def shard_file(array: str, shard_index: int) -> str:
    """File name of a shard within its array `tokens` or `scale`."""
    return f"c.{shard_index}" + {"tokens": ".0.0", "scale": ".0"}[array]


def shard_arrays(recipe: Recipe) -> tuple[str, ...]:
    """The sharded arrays of a video, in the order in which a shard's files are put.

    The scale comes first: tokens without a scale cannot occur, and a shard counts as there only when both are.
    """
    return ("scale", "tokens") if recipe.dtype == "int8" else ("tokens",)


def group_document(attributes: dict[str, Any]) -> dict[str, Any]:
    """zarr.json of a group."""
    return {"zarr_format": 3, "node_type": "group", "attributes": attributes}


def store_attributes(recipe: Recipe, layout: Layout, made_with: Any = None) -> dict[str, Any]:
    """Attributes of the store's root group; `made_with` says where the encoder was, and is no part of the recipe."""
    attributes = {"format": FORMAT, "recipe": recipe.to_dict(), "digest": recipe.digest, **asdict(layout)}
    if made_with is not None:
        attributes["made_with"] = made_with
    return attributes | {"checksum": digest(attributes)}


def store_documents(recipe: Recipe, layout: Layout, made_with: dict[str, str] | None = None) -> dict[str, bytes]:
    """The documents that belong to no video, by path: the root's, and the one that holds a copy of its attributes."""
    attributes = store_attributes(recipe, layout, made_with or None)
    documents = {DOCUMENT: attributes, f"{VIDEOS}/{DOCUMENT}": {ROOT_COPY: attributes}}
    return {path: document_bytes(group_document(given)) for path, given in documents.items()}


def parse_store_attributes(attributes: dict[str, Any]) -> tuple[Recipe, Layout]:
    """The recipe and layout that `store_attributes` wrote. Raises NotAFeatureStore for anything else."""
    if not {"format", "recipe", "digest"} <= attributes.keys():
        raise NotAFeatureStore("a zarr group, but not a feature store: its attributes hold no recipe")
    if attributes["format"] != FORMAT:
        raise NotAFeatureStore(
            f"format {attributes['format']!r}, but this version of longvid reads format {FORMAT} only"
        )
    recipe = Recipe.from_dict(attributes["recipe"])
    try:
        layout = Layout(*(attributes[field.name] for field in fields(Layout)))
    except (KeyError, TypeError, ValueError) as error:
        raise NotAFeatureStore(f"its attributes describe no layout of shards ({error})") from error
    if store_attributes(recipe, layout, attributes.get("made_with")) != attributes:
        raise NotAFeatureStore(
            "its zarr.json was changed or damaged; a new store made with the same settings elsewhere has the right one"
        )
    return recipe, layout


def parse_made_with(attributes: dict[str, Any]) -> dict[str, str]:
    """Where the encoder was, as far as that is text by name."""
    said = attributes.get("made_with")
    return {name: text for name, text in said.items() if isinstance(text, str)} if isinstance(said, dict) else {}


def array_documents(recipe: Recipe, layout: Layout, num_clips: int) -> dict[str, dict[str, Any]]:
    """zarr.json of each array of a video, by the array's name."""
    tokens, dim = token_shape(recipe)
    documents = {
        "tokens": _array(
            (num_clips, tokens, dim), recipe.dtype, ("clip", "token", "dim"), _sharding(layout, (tokens, dim)), layout
        ),
        "seconds": _array((num_clips, 2), "float64", ("clip", "edge"), [_BYTES, _CRC32C], None),
    }
    if recipe.dtype == "int8":
        codecs = _sharding(layout, (tokens,))
        documents["scale"] = _array((num_clips, tokens), "float32", ("clip", "token"), codecs, layout)
    return documents


def _array(
    shape: tuple[int, ...], dtype: str, dimensions: tuple[str, ...], codecs: list[Any], layout: Layout | None
) -> dict[str, Any]:
    """The zarr v3 document of one array; without a layout it is a single file."""
    rows = shape[0] if layout is None else layout.clips_per_shard
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [rows, *shape[1:]]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": INT8_MISSING if dtype == "int8" else "NaN",
        "codecs": codecs,
        "dimension_names": list(dimensions),
        "attributes": {},
    }


def _sharding(layout: Layout, inner_shape: tuple[int, ...]) -> list[Any]:
    compress = [_ZSTD] if layout.compression == "zstd" else []
    configuration = {
        "chunk_shape": [layout.clips_per_chunk, *inner_shape],
        "codecs": [_BYTES, *compress, _CRC32C],
        "index_codecs": [_BYTES, _CRC32C],
        "index_location": "end",
    }
    return [{"name": "sharding_indexed", "configuration": configuration}]
