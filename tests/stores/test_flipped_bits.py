"""One flipped bit in every region of every kind of file: it is named, and the next run makes the same bytes again."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from longvid.stores import FeatureStore, repair, verify
from longvid.stores.damage import restore_root
from longvid.stores.testing import toy_features, toy_recipe, toy_seconds, write_toy_video

pytestmark = pytest.mark.faults

REGIONS = 6
"""Parts of a file, in each of which one bit is flipped."""

FILES = {
    "tokens": "videos/a/tokens/c.1.0.0",
    "scale": "videos/a/scale/c.1.0",
    "seconds": "videos/a/seconds/c.0.0",
    "video's document": "videos/a/zarr.json",
    "array's document": "videos/a/tokens/zarr.json",
    "digests": "videos/a/digests/zarr.json",
    "receipt": "videos/part/receipts/*",
    "catalogue": "catalogue/zarr.json",
    "root document": "zarr.json",
    "copy of the root document": "videos/zarr.json",
}


def finished(store: FeatureStore) -> None:
    """One complete video, one whose last shard is not written yet, and the catalogue."""
    write_toy_video(store, "a", toy_features(9))
    store.plan("part", toy_seconds(9), {"size_bytes": 10})
    for shard_index in set(store.missing("part")) - {2}:
        first_clip, stop_clip = store.shard_clips("part", shard_index)
        store.write_shard("part", shard_index, toy_features(9)[first_clip:stop_clip])
    store.update_catalogue()


@pytest.mark.parametrize("kind", FILES)
def test_a_flipped_bit_is_named_and_repair_and_another_run_make_the_same_bytes(
    kind: str, tmp_path: Path, folder_bytes: Callable[[Path], dict[str, bytes]]
) -> None:
    place = tmp_path / "x.zarr"
    finished(FeatureStore.create(place, toy_recipe(dtype="int8"), clips_per_shard=4, clips_per_chunk=2))
    sound = folder_bytes(place)
    file = sorted(place.glob(FILES[kind]))[0]
    path, data, rng = file.relative_to(place).as_posix(), file.read_bytes(), random.Random(kind)
    for region in range(REGIONS):
        position = (region * len(data) + rng.randrange(len(data))) // REGIONS
        flipped = bytearray(data)
        flipped[position] ^= 1 << rng.randrange(8)
        file.write_bytes(flipped)
        if kind == "root document":
            damage = restore_root(place)
            named = [] if damage is None else [damage.path]
        else:
            store = FeatureStore.open(place, mode="a")
            # a video whose document does not speak of it any more is damaged as a whole, and so are copies of it
            named = [
                damage.path for damage in verify(store) if damage.path != "catalogue/zarr.json" or damage.path == path
            ]
            repair(store)
        assert named, f"byte {position} changed unnoticed"
        assert all(path.startswith(name) for name in named), (position, named)
        finished(FeatureStore.open(place, mode="a"))
        assert verify(FeatureStore.open(place)) == []
        if kind == "receipt":  # a shard of which no receipt speaks is taken as it lies there
            write_toy_video(FeatureStore.open(place, mode="a"), "part", toy_features(9))
            assert FeatureStore.open(place).status("part") == "complete"
            return
        assert folder_bytes(place) == sound, position
