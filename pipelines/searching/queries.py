"""Queries by example: a stretch of a video, of the store or of a file."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from jaxtyping import Float32

from longvid.errors import ConfigError
from longvid.pipelines.extraction import VideoRequest, extract
from longvid.pipelines.rebuilding import Given, rebuilt
from longvid.stores import FeatureStore, StoredVideo
from longvid.video.storage import is_url

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
    seconds: float = sum(part * 60**power for power, part in enumerate(reversed(parts)))
    return seconds


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
    mean: np.ndarray = (clips / np.maximum(lengths, np.finfo(np.float32).tiny)).mean(axis=0)
    return mean
