"""Extraction end to end against the slower of its two parts, and its memory against the length of the video.

Both parts and the whole run over the same clips in alternating rounds, with one decoding and one encoding thread, so
that the best possible whole takes as long as the slower part. The encoder is a small ViT with random weights, sized
so that neither part is negligible.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from longvid.encoders import Encoder
from longvid.sampling import Sampling
from longvid.video import iter_clips, probe
from pipelines.bench.measure import PeakMemory, in_own_process, interleaved_seconds
from pipelines.bench.table import BenchTable
from pipelines.extract import ExtractionJob, VideoRequest, extract
from pipelines.extract.segment import encode_frames

SAMPLING = Sampling(frames=1, fps=2.0, stride_seconds=0.5)
BATCH_CLIPS = 16


def run(*, quick: bool = False) -> BenchTable:
    """Ratios of one run on this machine."""
    table = BenchTable("Extraction", ["what", "seconds", "clips/s"])
    with tempfile.TemporaryDirectory() as folder:
        _time(table, Path(folder), videos=2 if quick else 4, rounds=3 if quick else 5)
        _memory(table, Path(folder), minutes=3 if quick else 10)
    table.notes.append("one decoding and one encoding thread; random weights; decode and encode seconds are wall time")
    return table


def _job(encoder_folder: Path) -> ExtractionJob:
    return ExtractionJob(
        encoder=str(encoder_folder), sampling=SAMPLING, pooling="tokens", batch_clips=BATCH_CLIPS, torch_threads=1
    )


def _time(table: BenchTable, folder: Path, *, videos: int, rounds: int) -> None:
    torch.set_num_threads(1)
    job = _job(save_small_vit(folder / "vit"))
    encoder = job.build()
    paths = [make_video(folder / f"video-{index}.mp4", seconds=60, seed=index) for index in range(videos)]
    requests = [VideoRequest(path.stem, str(path)) for path in paths]
    decoded = [batch for path in paths for batch in _decode(path, encoder)]
    num_clips = sum(map(len, decoded))
    runs = iter(range(1000))
    seconds = interleaved_seconds(
        {
            "decode only": lambda: [_ for path in paths for _ in _decode(path, encoder)],
            "encode only": lambda: [encode_frames(batch, encoder=encoder, pooling="tokens") for batch in decoded],
            "end to end": lambda: extract(requests, job, folder / f"run-{next(runs)}.zarr", clips_per_shard=32),
        },
        rounds=rounds,
    )
    for name, value in seconds.items():
        table.rows.append([name, value, num_clips / value])
    slower = max(seconds["decode only"], seconds["encode only"])
    table.claim("end to end against the slower part", slower / seconds["end to end"], at_least=0.90)


def _decode(path: Path, encoder: Encoder) -> list[np.ndarray]:
    video = probe(path)
    clips = list(iter_clips(video, SAMPLING.plan_video(video), encoder.spec.preprocessing))
    return [np.stack(clips[first : first + BATCH_CLIPS]) for first in range(0, len(clips), BATCH_CLIPS)]


def _memory(table: BenchTable, folder: Path, *, minutes: int) -> None:
    peaks = {}
    for length in (1, minutes):
        path = make_video(folder / f"{length}-minutes.mp4", seconds=60 * length, seed=0, height=180, width=320)
        peaks[length] = in_own_process(_peak_of, folder / "vit", path, folder / f"{length}-minutes.zarr")
        table.rows.append([f"peak memory of {length} min, GB", peaks[length] / 1e9, None])
    table.claim(f"peak memory, {minutes} minutes against one", peaks[minutes] / peaks[1], at_most=1.1)


def _peak_of(encoder_folder: Path, path: Path, store: Path) -> int:
    torch.set_num_threads(1)
    job = replace(_job(encoder_folder), sampling=Sampling(frames=1, fps=4.0, stride_seconds=0.25))
    with PeakMemory() as memory:
        extract([VideoRequest("video", str(path))], job, store, clips_per_shard=64)
    return memory.peak_bytes


def save_small_vit(folder: Path, *, size: int = 112) -> Path:
    """A Hugging Face folder with a small ViT of random weights and its processor configuration."""
    from transformers import ViTConfig, ViTImageProcessor, ViTModel

    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=192,
        num_hidden_layers=4,
        num_attention_heads=3,
        intermediate_size=768,
        image_size=size,
        patch_size=16,
    )
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    ViTImageProcessor(size={"height": size, "width": size}).save_pretrained(folder)
    return folder


def make_video(path: Path, *, seconds: int, seed: int, height: int = 360, width: int = 640, fps: int = 24) -> Path:
    """An h264 file of moving texture: enough detail that decoding costs what a film's does."""
    import av

    random = np.random.default_rng(seed)
    texture = random.integers(0, 256, (height // 4, width // 4, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "crf": "28"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(seconds * fps):
            pixels = np.roll(texture, (index, 2 * index), (0, 1))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path
