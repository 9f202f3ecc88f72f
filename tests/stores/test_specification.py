"""A store is read by a reader written from docs/reference/store-format.md alone: no longvid, no zarr."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from longvid.stores import FeatureStore, Recipe

DTYPES = {"float16": "<f2", "float32": "<f4", "int8": "<i1"}
NOT_THERE = 2**64 - 1


def crc32c(data: bytes) -> int:
    """CRC-32C, a bit at a time (RFC 3720, appendix B.4: reflected polynomial 0x82F63B78)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def json_digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")).hexdigest()


def attributes(path: Path) -> dict[str, Any]:
    document = json.loads(path.read_text("ascii"))
    assert (document["zarr_format"], document["node_type"]) == (3, "group")
    return document["attributes"]


def folder_of(key: str) -> str:
    """The name of a video's folder."""
    safe = re.fullmatch(r"[a-z0-9]([a-z0-9_.-]*[a-z0-9_-])?", key) and len(key) <= 80 and "--" not in key
    device = re.fullmatch(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", key)
    if safe and not device and not key.endswith(".partial") and key != "zarr.json":
        return key
    stem = re.sub("[^a-z0-9]+", "-", key.lower()).strip("-")[:40].strip("-") or "video"
    return f"{stem}--{hashlib.sha256(key.encode()).hexdigest()[:24]}"


class Reader:
    """Reads a store as the page says, and checks all that it says can be checked."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = attributes(root / "zarr.json")
        assert self.store["format"] == 1
        assert self.store["digest"] == json_digest(self.store["recipe"])
        assert self.store["checksum"] == json_digest({k: v for k, v in self.store.items() if k != "checksum"})
        assert attributes(root / "videos/zarr.json") == {"store": self.store}

    def read(self, key: str) -> tuple[np.ndarray, np.ndarray]:
        """Tokens (clips, tokens, dim) and seconds (clips, 2) of a complete video."""
        folder, recipe = self.root / "videos" / folder_of(key), self.store["recipe"]
        video = attributes(folder / "zarr.json")
        assert (video["key"], video["status"], video["recipe_digest"]) == (key, "complete", self.store["digest"])
        assert video["checksum"] == json_digest({k: v for k, v in video.items() if k not in ("status", "checksum")})
        digests = (folder / "digests/zarr.json").read_bytes()
        assert hashlib.sha256(digests).hexdigest() == video["digests_sha256"]
        told = json.loads(digests)["attributes"]
        source = {name: value for name, value in video["source"].items() if name != "about"}
        plan = {name: video[name] for name in ("key", "num_clips", "start_seconds", "end_seconds", "seconds_sha256")}
        plan |= {"recipe_digest": video["recipe_digest"], "source": source}
        assert (told["key"], told["plan"]) == (key, json_digest(plan))

        raw = (folder / "seconds/c.0.0").read_bytes()
        assert crc32c(raw[:-4]) == int.from_bytes(raw[-4:], "little")
        assert hashlib.sha256(raw[:-4]).hexdigest() == video["seconds_sha256"]
        seconds = np.frombuffer(raw[:-4], "<f8").reshape(-1, 2)
        assert (len(seconds), seconds[0, 0], seconds[-1, 1]) == (
            video["num_clips"],
            video["start_seconds"],
            video["end_seconds"],
        )
        inner = (recipe["num_tokens"], recipe["dim"])
        tokens = self.array(folder, "tokens", DTYPES[recipe["dtype"]], inner, len(seconds), told["tokens"])
        if recipe["dtype"] == "int8":
            scale = self.array(folder, "scale", "<f4", inner[:1], len(seconds), told["scale"])
            tokens = tokens.astype(np.float32) * scale[..., None]
        return tokens, seconds

    def array(
        self, folder: Path, name: str, dtype: str, inner: tuple[int, ...], num_clips: int, told: list[str]
    ) -> np.ndarray:
        per_shard, per_chunk = self.store["clips_per_shard"], self.store["clips_per_chunk"]
        clips, slots = [], per_shard // per_chunk
        assert len(told) == -(-num_clips // per_shard)
        for shard, text in enumerate(told):
            data = (folder / name / (f"c.{shard}" + ".0" * len(inner))).read_bytes()
            sha256, _, checksums = text.partition(" ")
            assert hashlib.sha256(data).hexdigest() == sha256
            tail = 16 * slots
            assert crc32c(data[-tail - 4 : -4]) == int.from_bytes(data[-4:], "little")
            index = np.frombuffer(data[-tail - 4 : -4], "<u8").reshape(slots, 2).tolist()
            end = 0
            for chunk, (offset, size) in enumerate(index):
                if offset == NOT_THERE:
                    assert size == NOT_THERE
                    continue
                assert offset == end
                end = offset + size
                packed, crc = data[offset : end - 4], int.from_bytes(data[end - 4 : end], "little")
                assert crc32c(packed) == crc
                numbers = unpacked(packed, self.store["compression"])
                assert crc32c(numbers).to_bytes(4, "little").hex() == checksums[8 * chunk : 8 * chunk + 8]
                clips.append(np.frombuffer(numbers, dtype).reshape(per_chunk, *inner))
            assert end == len(data) - tail - 4
            kept = min(num_clips - shard * per_shard, per_shard)
            whole = np.concatenate(clips[-(-kept // per_chunk) * -1 :])
            clips[-(-kept // per_chunk) * -1 :] = [whole[:kept]]
        return np.concatenate(clips)


def unpacked(packed: bytes, compression: str | None) -> bytes:
    if compression is None:
        return packed
    from numcodecs.zstd import Zstd  # zstd itself (RFC 8878) is not described on the page

    return bytes(Zstd().decode(packed))


@pytest.mark.parametrize("compression", [None, "zstd"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "int8"])
def test_a_reader_written_from_the_specification_reads_every_number(
    dtype: str, compression: str | None, tmp_path: Path
) -> None:
    recipe = Recipe(
        encoder="toy",
        encoder_config={"note": "Amélie", "rate": 0.1},
        weights_sha256="0" * 64,
        sampling={"fps": 2.0},
        preprocessing={},
        pooling="mean",
        num_tokens=2,
        dim=3,
        dtype=dtype,
    )
    written = FeatureStore.create(
        tmp_path / "x.zarr", recipe, clips_per_shard=6, clips_per_chunk=2, compression=compression
    )
    rng = np.random.default_rng(0)
    for key, num_clips in {"safe_key": 6, "Amélie (1).mp4": 11, "con": 1, "talk.partial": 13}.items():
        starts = np.arange(num_clips) / 3
        written.plan(key, np.stack([starts, starts + 0.5], axis=1), {"path": "x", "about": {"note": "for people"}})
        tokens = rng.standard_normal((num_clips, 2, 3)).astype(np.float32)
        for shard in written.missing(key):
            first, stop = written.shard_clips(key, shard)
            written.write_shard(key, shard, tokens[first:stop])
        written.complete(key)
    written.update_catalogue()
    reader = Reader(tmp_path / "x.zarr")
    store = FeatureStore.open(tmp_path / "x.zarr")
    for video in store.videos():
        tokens, seconds = reader.read(video.key)
        np.testing.assert_array_equal(tokens, video.read(0, video.num_clips))
        np.testing.assert_array_equal(seconds, video.seconds)
    catalogue = attributes(tmp_path / "x.zarr/catalogue/zarr.json")
    assert catalogue["checksum"] == json_digest(catalogue["videos"])
    assert sorted(row["key"] for row in catalogue["videos"]) == sorted(store.keys())
