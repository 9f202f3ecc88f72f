"""The feature store, which connects the two stages of longvid.

store = FeatureStore.create("features.zarr", recipe)         # or FeatureStore.open("s3://bucket/features.zarr")
store.plan("cam01/P03", seconds, {"size_bytes": 1234})       # (clips, 2) start and end of each clip
for shard_index in store.missing("cam01/P03"):               # after a crash: the remaining shards
    first_clip, stop_clip = store.shard_clips("cam01/P03", shard_index)
    store.write_shard("cam01/P03", shard_index, features[first_clip:stop_clip])
store.complete("cam01/P03")
tokens = store.video("cam01/P03").read(20, 80)               # (60, tokens, dim)

Importing this package loads no zarr: each public name is imported when it is first used.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from longvid.stores.absent import DamagedClips
    from longvid.stores.damage import repair, restore_root, unrecorded, verify
    from longvid.stores.errors import (
        AbsentClips,
        ConversionError,
        DamagedStore,
        IncompleteVideo,
        InvalidKey,
        InvalidLayout,
        InvalidTokens,
        InvalidWindow,
        NotAFeatureStore,
        RecipeMismatch,
        SourceChanged,
        StoreAccessError,
        StoreError,
        StoreNotFound,
        StoreReadOnly,
        VideoNotInStore,
    )
    from longvid.stores.faults import Damage
    from longvid.stores.info import StoreInfo
    from longvid.stores.keys import path_name
    from longvid.stores.present import PresentClips
    from longvid.stores.recipe import Recipe
    from longvid.stores.store import FeatureStore
    from longvid.stores.video import StoredVideo

__all__ = [
    "AbsentClips",
    "ConversionError",
    "Damage",
    "DamagedClips",
    "DamagedStore",
    "FeatureStore",
    "IncompleteVideo",
    "InvalidKey",
    "InvalidLayout",
    "InvalidTokens",
    "InvalidWindow",
    "NotAFeatureStore",
    "PresentClips",
    "Recipe",
    "RecipeMismatch",
    "SourceChanged",
    "StoreAccessError",
    "StoreError",
    "StoreInfo",
    "StoreNotFound",
    "StoreReadOnly",
    "StoredVideo",
    "VideoNotInStore",
    "path_name",
    "repair",
    "restore_root",
    "unrecorded",
    "verify",
]

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "absent": ["DamagedClips"],
        "damage": ["repair", "restore_root", "unrecorded", "verify"],
        "errors": [
            "AbsentClips",
            "ConversionError",
            "DamagedStore",
            "IncompleteVideo",
            "InvalidKey",
            "InvalidLayout",
            "InvalidTokens",
            "InvalidWindow",
            "NotAFeatureStore",
            "RecipeMismatch",
            "SourceChanged",
            "StoreAccessError",
            "StoreError",
            "StoreNotFound",
            "StoreReadOnly",
            "VideoNotInStore",
        ],
        "faults": ["Damage"],
        "info": ["StoreInfo"],
        "keys": ["path_name"],
        "present": ["PresentClips"],
        "recipe": ["Recipe"],
        "store": ["FeatureStore"],
        "video": ["StoredVideo"],
    },
)
