"""A store of a small model aligned with text, and one of a thousand made-up vectors."""

import json
from pathlib import Path

import numpy as np
import pytest
from aligned_models import save_tokenizer, small_model

from longvid.clips.sampling import Sampling
from longvid.pipelines.demo.videos import Script, encode
from longvid.pipelines.extraction import ExtractionJob, expand_inputs, extract
from longvid.stores import FeatureStore, Recipe

DIM = 24


@pytest.fixture(scope="session")
def aligned(tmp_path_factory) -> Path:
    """A folder with `videos/`, `model/` (a small CLIP of random weights, saved) and `clip.zarr`."""
    import transformers as hf

    hf.logging.set_verbosity_error()
    hf.logging.disable_progress_bar()
    folder = tmp_path_factory.mktemp("aligned")
    (folder / "videos").mkdir()
    for index in range(3):
        encode(Script(f"v{index}", index % 2, 8.0 + index, 1.0, 4.0, seed=index), folder / "videos")
    model = small_model("clip")
    model.save_pretrained(folder / "model")
    save_tokenizer(folder / "model")
    settings = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.25, 0.3], "resample": 3, "size": 32}
    (folder / "model" / "preprocessor_config.json").write_text(json.dumps(settings))
    job = ExtractionJob(
        str(folder / "model"), pooling="embedding", sampling=Sampling(frames=1, fps=1.0, stride_seconds=0.5)
    )
    extract(expand_inputs([folder / "videos"]), job, folder / "clip.zarr", scheduler="inline")
    return folder


@pytest.fixture
def make_store(tmp_path):
    """Writes a store of random vectors: `make_store({"a": 300}, num_tokens=1, dtype="float16")`."""

    def make(lengths: dict[str, int], *, num_tokens: int = 1, dtype: str = "float16", **sizes: int) -> FeatureStore:
        recipe = Recipe(
            encoder="toy", encoder_config={}, weights_sha256="0" * 64, sampling={"frames": 1}, preprocessing={},
            pooling="mean", num_tokens=num_tokens, dim=DIM, dtype=dtype,
        )  # fmt: skip
        store = FeatureStore.create(tmp_path / "x.zarr", recipe, **({"clips_per_shard": 64} | sizes))
        noise = np.random.default_rng(3)
        for key, clips in lengths.items():
            starts = np.arange(clips) * 2.0
            store.plan(key, np.stack([starts, starts + 2], axis=1), {})
            for shard in store.missing(key):
                first, stop = store.shard_clips(key, shard)
                store.write_shard(key, shard, noise.standard_normal((stop - first, num_tokens, DIM)))
            store.complete(key)
        return FeatureStore.open(tmp_path / "x.zarr")

    return make
