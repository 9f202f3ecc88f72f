"""From a recipe's list of stores to one source of windows, and its record."""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from pathlib import Path

from longvid.decoders.joined import StreamLayout
from longvid.pipelines.training.config import TrainConfig
from longvid.pipelines.training.run_folder import JoinRecord, StoreRecord
from longvid.pipelines.training.sections import JoinSettings
from longvid.stores import FeatureStore
from longvid.tasks import Manifest
from longvid.windows import Join, JoinedStores
from longvid.windows.dataset import Features
from longvid.windows.joined import clips_per_step

SHOWN_MISSING = 5
COUNTED_VIDEOS = 100
"""Videos whose clocks decide how many clips of each store a step of token streams holds."""


def joined_stores(stores: Sequence[FeatureStore], settings: JoinSettings, manifest: Manifest) -> Features:
    """The only store, or several as one.

    Raises `ConfigError` for stores whose tokens cannot be joined in that way.
    """
    if len(stores) == 1:
        return stores[0]
    join = Join(how=settings.how, rate=settings.rate)
    there = set.intersection(*(set(store.keys()) for store in stores))
    keys = [row.key for row in manifest if row.key in there]
    return JoinedStores(stores, join, clips_per_step(stores, join, keys[:COUNTED_VIDEOS]))


def opened_again(stores: Sequence[FeatureStore], record: JoinRecord | None) -> Features:
    """The stores of a run, joined as in its training."""
    return stores[0] if record is None else JoinedStores(stores, record.the_join(), record.per_step)


def store_record(store: FeatureStore) -> StoreRecord:
    """What a run keeps of a store."""
    location = store.location if "://" in store.location else str(Path(store.location).absolute())
    return StoreRecord(location, store.recipe.to_dict(), store.made_with)


def join_record(store: Features, others: Sequence[StoreRecord]) -> JoinRecord | None:
    """What a run keeps of how its stores were joined; None for one store."""
    if not isinstance(store, JoinedStores):
        return None
    return JoinRecord(store.join.how, store.join.rate, list(store.per_step), list(others))


def answers_per_store(config: TrainConfig) -> tuple[bool, ...]:
    """Whether each store's features are standardised."""
    wanted = config.standardise
    return tuple(wanted) if isinstance(wanted, list) else (wanted,) * len(config.stores)


def stream_layout(store: Features, config: TrainConfig) -> StreamLayout | None:
    """The token streams that a decoder gets; None for one store, and for features side by side."""
    if not isinstance(store, JoinedStores) or store.join.how != "streams":
        return None
    answers = answers_per_store(config)
    return StreamLayout(
        dims=store.dims,
        tokens=store.tokens,
        width=config.join.width,
        standardise=answers if any(answers) else (),
    )


def standardised_columns(store: Features, config: TrainConfig) -> list[tuple[int, int]] | None:
    """The columns of features side by side that are standardised; None: all of them, or none."""
    answers = answers_per_store(config)
    if not isinstance(store, JoinedStores) or store.join.how != "features" or len(set(answers)) == 1:
        return None
    spans = pairwise(accumulate(store.dims, initial=0))
    return [span for span, wanted in zip(spans, answers, strict=True) if wanted]


def shown_missing(store: Features, keys: Sequence[str]) -> str:
    """The first few missing videos; for several stores each with the stores that lack it."""
    if isinstance(store, JoinedStores):
        named = [f"{key!r} (not in {', '.join(store.lacking(key))})" for key in keys[:SHOWN_MISSING]]
    else:
        named = [repr(key) for key in keys[:SHOWN_MISSING]]
    more = len(keys) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")
