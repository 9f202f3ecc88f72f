"""Queries: words through the text tower of a store's encoder, or a stretch of a video as an example."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from jaxtyping import Float32

from longvid.encoders.huggingface.text import TextEncoder, build_text_encoder
from longvid.encoders.registry import names_code
from longvid.errors import ConfigError, EncoderError
from longvid.pipelines.extraction import VideoRequest, extract
from longvid.pipelines.rebuilding import Given, job_of_recipe, rebuilt
from longvid.stores import FeatureStore, StoredVideo
from longvid.video.storage import is_url

ALIGNED_POOLING = "embedding"
EXAMPLE = re.compile(r"(?P<video>.+)@(?P<start>[0-9:.]+)-(?P<end>[0-9:.]+)")
PARTS_OF_A_TIME = 3
"""Hours, minutes, seconds."""


@dataclass(frozen=True)
class Example:
    """A stretch of a video: a key of the store, or a file."""

    video: str
    start_seconds: float
    end_seconds: float


def parse_example(text: str) -> Example:
    """The example of `VIDEO@12:30-12:40`, `VIDEO@750-760` or `VIDEO@1:02:03.5-1:02:10`. Raises `ConfigError`."""
    match = EXAMPLE.fullmatch(text)
    remedy = "give VIDEO@START-END, times as 12:30 or in seconds"
    if match is None:
        raise ConfigError(f"--like {text!r}: {remedy}")
    try:
        start, end = _seconds(match["start"]), _seconds(match["end"])
    except ValueError:
        raise ConfigError(f"--like {text!r}: {match['start']}-{match['end']} is not two times; {remedy}") from None
    if not start < end:
        raise ConfigError(f"--like {text!r}: its end is not after its start; {remedy}")
    return Example(match["video"], start, end)


def _seconds(text: str) -> float:
    parts = [float(part) for part in text.split(":")]
    if len(parts) > PARTS_OF_A_TIME or any(part >= 60 for part in parts[1:]):
        raise ValueError(text)
    return sum(part * 60**power for power, part in enumerate(reversed(parts)))


def text_encoder_of(store: FeatureStore, given: Given) -> TextEncoder:
    """The text tower of the model that made a store's features; its weights must be those of the recipe.

    Raises `EncoderError` for a store whose features are not in a space with text.
    """
    recipe = store.recipe
    if recipe.pooling != ALIGNED_POOLING:
        raise EncoderError(
            f"{store.location}: its features (encoder {recipe.encoder}, pooling {recipe.pooling}) are not in a space "
            "with text; extract with a model aligned with text and --pooling embedding, or search by example: --like"
        )
    job = job_of_recipe(recipe, store.made_with, given, source=store.location)
    name = str(job.encoder)
    if names_code(name):
        raise EncoderError(f"{name}: an encoder of your own has no text tower that longvid knows; search by --like")
    if recipe.encoder_config.get("weights", "").startswith("random"):
        raise EncoderError(f"{store.location}: its encoder has random weights, so no text belongs to its features")
    revision = job.encoder_options.get("revision")
    return build_text_encoder(
        name.removeprefix("hf:"), revision=revision, fetch=job.fetch, weights_sha256=recipe.weights_sha256
    )


def example_vector(store: FeatureStore, example: Example, given: Given) -> Float32[np.ndarray, " dim"]:
    """The mean of the example's clips, each of length 1: from the store, or from a file by the store's own recipe.

    Raises `ConfigError` where the video is neither.
    """
    if example.video in store:
        video = store.video(example.video)
        return _mean(video, example)
    if not is_url(example.video) and not Path(example.video).is_file():
        raise ConfigError(
            f"--like {example.video}: neither a video of {store.location} (`longvid info --videos` lists them) nor a "
            "file; videos are named by their keys"
        )
    job, encoder = rebuilt(store.recipe, store.made_with, given, source=store.location)
    part = replace(job, sampling=replace(job.sampling_for(encoder.spec), span="listed"))
    request = VideoRequest("example", example.video, example.start_seconds, example.end_seconds)
    with TemporaryDirectory(prefix="longvid-search-") as folder:
        report = extract([request], part, Path(folder) / "x.zarr", encoder=encoder, scheduler="inline")
        if report.failed:
            raise ConfigError(f"--like: {report.failed[0].reason}")
        return _mean(FeatureStore.open(Path(folder) / "x.zarr").video("example"), example)


def _mean(video: StoredVideo, example: Example) -> Float32[np.ndarray, " dim"]:
    tokens, _ = video.read_seconds(example.start_seconds, example.end_seconds, missing="drop")
    if not len(tokens):
        raise ConfigError(f"--like {example.video}: the clips there are absent, as the file is damaged")
    clips = tokens.astype(np.float32).mean(axis=1)
    lengths = np.linalg.norm(clips, axis=1, keepdims=True)
    return (clips / np.maximum(lengths, np.finfo(np.float32).tiny)).mean(axis=0)
