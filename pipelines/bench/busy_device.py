"""The share of an extraction in which its device computes.

`longvid bench extract --device cuda`.

Videos of moving texture, 360 and 1080 lines high, are extracted by one process with all its cores, with random
weights: a ViT-L, frame by frame, and X-ViT, whose clips have eight frames. The device computes from the moment the
model takes a batch until its features are in memory; no two batches are in the model at once.
"""

import tempfile
import time
from pathlib import Path

import torch

from longvid.clips.sampling import Sampling
from longvid.encoders import Encoder, build_encoder
from longvid.encoders.wrapping import Autocast
from longvid.pipelines.bench.extract import make_video, save_small_vit
from longvid.pipelines.bench.table import BenchTable
from longvid.pipelines.extraction import ExtractionJob, VideoRequest, extract
from longvid.pipelines.machine.cores import available_cores

SIZES = {"360p": (360, 640), "1080p": (1080, 1920)}
VIT_L = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
SAMPLINGS = {
    "ViT-L": Sampling(frames=1, fps=2.0, stride_seconds=0.5),
    "X-ViT": Sampling(frames=8, fps=8.0, stride_seconds=1.0),
}
SECONDS, QUICK_SECONDS = 120, 8
MOST_BATCH_CLIPS = 64
"""Clips in a batch; where they do not fit, fewer are found by trial."""
GOAL = 0.9


def run(device: str, *, quick: bool = False) -> BenchTable:
    """The share for each encoder and size. Raises RuntimeError where torch does not see the device."""
    torch.zeros(1, device=device)
    table = BenchTable(f"Extraction on {device}", ["encoder", "video", "clips", "wall s", "clips/s", "computing"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for size, (height, width) in SIZES.items():
            seconds = QUICK_SECONDS if quick else SECONDS
            path = make_video(folder / f"{size}.mp4", seconds=seconds, seed=0, height=height, width=width)
            videos = range(1 if quick else available_cores())
            requests = [VideoRequest(f"{size}-{number}", str(path)) for number in videos]
            for encoder_name in SAMPLINGS:
                _extract(table, requests, encoder_name, size, folder, device, quick=quick)
    table.notes.append(f"one process, {available_cores()} cores, random weights, bfloat16 on a GPU")
    return table


def _extract(
    table: BenchTable,
    requests: list[VideoRequest],
    name: str,
    size: str,
    folder: Path,
    device: str,
    *,
    quick: bool,
) -> None:
    encoder = _encoder(name, folder, quick=quick)
    job = ExtractionJob(sampling=SAMPLINGS[name], batch_clips=2 if quick else MOST_BATCH_CLIPS, device=device)
    begin = time.perf_counter()
    report = extract(requests, job, folder / f"{name}-{size}.zarr", encoder=encoder, scheduler="inline")
    if report.exit_status:
        raise RuntimeError(f"extraction failed: {report.failed[0].reason}")
    wall = time.perf_counter() - begin
    share = sum(row.encode_seconds for row in report.rows) / wall
    table.rows.append([name, size, report.num_clips, wall, report.num_clips / wall, share])
    table.claim(f"share of the time in which {device} computes, {name}, {size}", share, at_least=GOAL)


def _encoder(name: str, folder: Path, *, quick: bool) -> Encoder:
    """A new encoder; bfloat16 only pays on a GPU, and a small one is enough to see that the bench works."""
    if name == "X-ViT":
        encoder = build_encoder("xvit-nano" if quick else "xvit-b16-8f")
    elif quick:
        encoder = build_encoder(str(save_small_vit(folder / "vit")))
    else:
        encoder = build_encoder(str(save_small_vit(folder / "vit", size=224, sizes=VIT_L)))
    return encoder if quick else Autocast(encoder, "bfloat16")
