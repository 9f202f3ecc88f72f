"""End-to-end extraction against its slower part, and its memory.

Decoding alone, encoding alone, both at once with nothing between them, and the whole run take turns on the same
clips, with one encoding thread. If two cores are free, both at once take as long as the slower part; if not, no
arrangement is faster than both at once, so the whole run is compared with that. Processor time shows the work that
the whole run does beyond its two parts (planning, pieces that start between two keyframes, writing). Memory is
compared between lengths of video. Two encoders at once are compared with decoding once and encoding twice. The
encoder is a small ViT with random weights, sized so that neither part is negligible.
"""

import json
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from longvid.clips import iter_clips
from longvid.clips.sampling import Sampling
from longvid.encoders import Encoder
from longvid.pipelines.bench.measure import MEGABYTE, PeakMemory, in_own_process, interleaved_times
from longvid.pipelines.bench.table import BenchTable
from longvid.pipelines.extraction import ExtractionJob, VideoRequest, extract
from longvid.pipelines.extraction.encoding import encode_frames
from longvid.pipelines.extraction.together import Target
from longvid.video import probe

SAMPLING = Sampling(frames=1, fps=2.0, stride_seconds=0.5)
RARE = Sampling(frames=1, fps=1.0, stride_seconds=1.0)
"""The clips of a second encoder, which shares the decoding."""
BATCH_CLIPS = 8
CLIPS_PER_SHARD = 64

SMALL_VIT = {"hidden_size": 192, "num_hidden_layers": 4, "num_attention_heads": 3, "intermediate_size": 768}

CORES_ARE_FREE = 0.95
"""Ratio of both at once to the slower part; below this the machine itself rules out the goal for the slower part."""
FRAMES_A_SECOND = 25
"""With x264's keyframe every 250 frames, pieces start 0 to 10 s after one, as they do in films."""


def run(*, quick: bool = False, device: str | None = None) -> BenchTable:
    """Ratios of one run on this machine; with a device, the share of the time in which it computes."""
    if device is not None:
        from longvid.pipelines.bench import busy_device

        return busy_device.run(device, quick=quick)
    table = BenchTable("Extraction", ["what", "seconds", "processor s", "clips/s"])
    with tempfile.TemporaryDirectory() as folder:
        _time(table, Path(folder), videos=1 if quick else 3, rounds=6)
        _together(table, Path(folder), rounds=2 if quick else 4)
        _memory(table, Path(folder), minutes=3 if quick else 10)
    table.notes.append(f"one encoding thread, random weights, {CLIPS_PER_SHARD} clips per piece")
    return table


def _job(encoder_folder: Path) -> ExtractionJob:
    return ExtractionJob(
        encoder=str(encoder_folder), sampling=SAMPLING, pooling="tokens", batch_clips=BATCH_CLIPS, torch_threads=1
    )


def _time(table: BenchTable, folder: Path, *, videos: int, rounds: int) -> None:
    torch.set_num_threads(1)
    job = _job(save_small_vit(folder / "vit"))
    encoder = job.build()
    paths = [make_video(folder / f"video-{index}.mp4", seconds=80, seed=index) for index in range(videos)]
    requests = [VideoRequest(path.stem, str(path)) for path in paths]
    batches = [batch for path in paths for batch in _decode(path, encoder)]
    runs = iter(range(1000))

    def decode() -> None:
        for path in paths:
            _decode(path, encoder)

    def encode() -> None:
        for batch in batches:
            encode_frames(batch, encoder=encoder, pooling="tokens")

    def both() -> None:
        thread = threading.Thread(target=decode)
        thread.start()
        encode()
        thread.join()

    def whole() -> None:
        store = folder / f"run-{next(runs)}.zarr"
        # inline, as its parts are measured: a process of its own takes seconds to start, whatever it then does
        report = extract(requests, job, store, scheduler="inline", clips_per_shard=CLIPS_PER_SHARD)
        if report.exit_status:
            raise RuntimeError(f"extraction failed: {report.failed[0].reason}")

    took = interleaved_times(
        {"decode only": decode, "encode only": encode, "both at once, apart": both, "end to end": whole}, rounds=rounds
    )
    num_clips = sum(map(len, batches))
    for name, times in took.items():
        table.rows.append([name, times.wall_seconds, times.processor_seconds, num_clips / times.wall_seconds])
    decoding, encoding, apart, ends = took.values()
    slower = max(decoding.wall_seconds, encoding.wall_seconds)
    parts = decoding.processor_seconds + encoding.processor_seconds
    alone, limit = slower / ends.wall_seconds, slower / apart.wall_seconds
    table.claim("end to end against both at once", apart.wall_seconds / ends.wall_seconds, at_least=0.90)
    table.claim("processor time of the parts against all", parts / ends.processor_seconds, at_least=0.90)
    if limit >= CORES_ARE_FREE:
        table.claim("end to end against the slower part", alone, at_least=0.90)
    else:
        table.notes.append(f"end to end against the slower part: {alone:.3g}; the free cores allow {limit:.3g}")


def _together(table: BenchTable, folder: Path, *, rounds: int) -> None:
    """Two encoders at once, of which the second takes every other frame, against decoding once and encoding twice."""
    job = _job(folder / "vit")
    rare = replace(job, sampling=RARE)
    encoder = job.build()
    path = make_video(folder / "together.mp4", seconds=80, seed=9)
    requests = [VideoRequest("together", str(path))]
    batches = {sampling: _decode(path, encoder, sampling) for sampling in (SAMPLING, RARE)}
    runs = iter(range(1000))

    def encode(sampling: Sampling) -> None:
        for batch in batches[sampling]:
            encode_frames(batch, encoder=encoder, pooling="tokens")

    def both() -> None:
        number = next(runs)
        stores = [folder / f"{name}-{number}.zarr" for name in ("often", "rare")]
        others = [Target(rare, stores[1], CLIPS_PER_SHARD, None)]
        report = extract(requests, job, stores[0], scheduler="inline", clips_per_shard=CLIPS_PER_SHARD, others=others)
        if report.exit_status:
            raise RuntimeError(f"extraction failed: {report.failed[0].reason}")

    took = interleaved_times(
        {
            "decode once": lambda: _decode(path, encoder, SAMPLING) and None,
            "encode, first": lambda: encode(SAMPLING),
            "encode, second": lambda: encode(RARE),
            "two encoders at once": both,
        },
        rounds=rounds,
    )
    num_clips = {sampling: sum(map(len, found)) for sampling, found in batches.items()}
    for (name, times), sampling in zip(took.items(), (SAMPLING, SAMPLING, RARE, None), strict=True):
        clips = sum(num_clips.values()) if sampling is None else num_clips[sampling]
        table.rows.append([name, times.wall_seconds, times.processor_seconds, clips / times.wall_seconds])
    *parts, together = took.values()
    wall, processor = (
        getattr(together, name) / sum(getattr(times, name) for times in parts)
        for name in ("wall_seconds", "processor_seconds")
    )
    table.claim("two encoders at once, against decoding once and encoding twice", wall, at_most=1.1)
    table.notes.append(f"two encoders at once: {processor:.3g} times that processor time, with planning and writing")


def _decode(path: Path, encoder: Encoder, sampling: Sampling = SAMPLING) -> list[np.ndarray]:
    video = probe(path)
    clips = list(iter_clips(video, sampling.plan_video(video), encoder.spec.preprocessing))
    return [np.stack(clips[first : first + BATCH_CLIPS]) for first in range(0, len(clips), BATCH_CLIPS)]


def _memory(table: BenchTable, folder: Path, *, minutes: int) -> None:
    peaks = {}
    for length in (1, minutes):
        path = make_video(folder / f"{length}-minutes.mp4", seconds=60 * length, seed=0, height=180, width=320)
        peaks[length] = in_own_process(_peak_of, folder / "vit", path, folder / f"{length}-minutes.zarr")
        table.notes.append(f"peak memory of {length} min: {peaks[length] / MEGABYTE:.0f} MB")
    table.claim(f"peak memory, {minutes} minutes against one", peaks[minutes] / peaks[1], at_most=1.1)


def _peak_of(encoder_folder: Path, path: Path, store: Path) -> int:
    torch.set_num_threads(1)
    job = replace(_job(encoder_folder), sampling=Sampling(frames=1, fps=4.0, stride_seconds=0.25))
    with PeakMemory() as memory:
        requests = [VideoRequest("video", str(path))]
        extract(requests, job, store, scheduler="inline", clips_per_shard=CLIPS_PER_SHARD)
    return memory.peak_bytes


def save_small_vit(folder: Path, *, size: int = 112, sizes: Mapping[str, Any] = SMALL_VIT) -> Path:
    """A Hugging Face folder with a ViT of random weights, a small one if nothing is said, and its processor."""
    from transformers import ViTConfig, ViTModel
    from transformers.utils import logging

    torch.manual_seed(0)
    config = ViTConfig(**sizes, image_size=size, patch_size=16)
    logging.disable_progress_bar()
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    processor = {
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": size, "width": size},
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


def make_video(path: Path, *, seconds: int, seed: int, height: int = 360, width: int = 640) -> Path:
    """An h264 file of moving texture, detailed enough to cost as much to decode as a film."""
    import av

    random = np.random.default_rng(seed)
    texture = random.integers(0, 256, (height // 4, width // 4, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FRAMES_A_SECOND, options={"preset": "ultrafast", "crf": "28"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(seconds * FRAMES_A_SECOND):
            pixels = np.roll(texture, (index, 2 * index), (0, 1))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path
