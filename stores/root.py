"""A store's own document and its copy.

They say that a place is a store, and of which recipe.
"""

from longvid.files import PARTIAL
from longvid.stores import layout as on_disk
from longvid.stores.bounded_json import parse_json_object
from longvid.stores.catalogue import video_names
from longvid.stores.errors import NotAFeatureStore
from longvid.stores.layout import Layout
from longvid.stores.place import Place
from longvid.stores.recipe import Recipe


def read_root(place: Place) -> tuple[Recipe, Layout, dict[str, str]] | None:
    """Recipe, layout and `made_with` of the store at the place; None if there is no store."""
    document = place.get(on_disk.DOCUMENT)
    if document is None:
        return None
    try:
        attributes = parse_json_object(document)["attributes"]
        return *on_disk.parse_store_attributes(attributes), on_disk.parse_made_with(attributes)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = str(error) if isinstance(error, NotAFeatureStore) else "its zarr.json is not a zarr group's"
        if root_copy(place) is not None:
            reason += "; there is a copy: run `longvid repair`"
        raise NotAFeatureStore(f"{place.location}: {reason}") from error


def root_copy(place: Place) -> tuple[Recipe, Layout, dict[str, str]] | None:
    """The same from the copy of the root's document; None without a valid copy (version 0.1.0)."""
    document = place.get(f"{on_disk.VIDEOS}/{on_disk.DOCUMENT}")
    if document is None:
        return None
    try:
        attributes = parse_json_object(document)["attributes"][on_disk.ROOT_COPY]
        return *on_disk.parse_store_attributes(attributes), on_disk.parse_made_with(attributes)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def write_root(place: Place, recipe: Recipe, layout: Layout, made_with: dict[str, str] | None) -> None:
    """Make a store, unless another process makes one there at the same time: of several, one wins."""
    copy = root_copy(place)
    if copy is not None and copy[0].digest != recipe.digest and video_names(place):
        raise NotAFeatureStore(
            f"{place.location}: holds videos of another recipe, but its zarr.json is gone; run `longvid repair`"
        )
    others = [name for name in place.sizes("") if not name.endswith(PARTIAL) and name != on_disk.VIDEOS]
    if read_root(place) is not None:
        return
    if others:
        raise NotAFeatureStore(
            f"{place.location}: holds other files ({others[0]!r}, ...); choose a new or an empty folder"
        )
    documents = on_disk.store_documents(recipe, layout, made_with)
    root = documents.pop(on_disk.DOCUMENT)
    for path, document in documents.items():
        place.put(path, document)
    # the root last: if creation is interrupted, there is no store
    place.put_new(on_disk.DOCUMENT, root)
    made = read_root(place)
    won = {} if made is None else on_disk.store_documents(*made)
    for path in documents.keys() & won.keys():
        if place.get(path) != won[path]:  # of the one that lost
            place.put(path, won[path])


def named_differences(there: Recipe, given: Recipe) -> str:
    """The fields that differ; for another encoder only its name, as the settings of two encoders are unrelated."""
    lines = there.differences(given)
    if there.encoder == given.encoder:
        return "; ".join(lines)
    of_encoder = ("encoder_config.", "weights_sha256", "preprocessing.", "num_tokens", "dim")
    return "; ".join(line for line in lines if not line.startswith(of_encoder))
