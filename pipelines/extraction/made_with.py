"""What decodes and encodes a video here: versions, processor, device.

A store keeps it with each video, so that `longvid verify --against` knows whether equal bytes can be expected of this
machine, and what to name where the features differ. It describes, and is never compared when a video is planned again.
"""

import platform
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from longvid.encoders.registry import PREFIXES
from longvid.pipelines.extraction.job import ExtractionJob

LIBRARIES = ("longvid", "numpy", "torch")
DECODERS = {"pyav": "av", "torchcodec": "torchcodec", "decord": "decord"}
"""The package of each backend."""
OF_ENCODERS = {"hf": "transformers", "timm": "timm", "torchvision": "torchvision"}
"""The package that runs the encoders of each prefix."""


def made_with(job: ExtractionJob, backend: str) -> dict[str, str]:
    """Names and versions of what makes the features of `job` in this process, by name."""
    return _libraries(_package_of(job), backend) | {
        "processor": _processor(),
        "device": _device(job.resolve_device()),
        "batch_clips": str(job.batch_clips),
    }


def _package_of(job: ExtractionJob) -> str | None:
    """The package that runs the encoder; None for an encoder of longvid's or the user's own."""
    if not isinstance(job.encoder, str):
        return None
    prefix = job.encoder.partition(":")[0]
    if prefix in PREFIXES:
        return OF_ENCODERS.get(prefix)
    return OF_ENCODERS["hf"] if "/" in job.encoder and ":" not in job.encoder else None


@lru_cache(maxsize=8)
def _libraries(package: str | None, backend: str) -> dict[str, str]:
    names = [*LIBRARIES, *([package] if package else []), DECODERS.get(backend, backend)]
    found = {name: _version(name) for name in names}
    if backend == "pyav":
        import av

        found["ffmpeg"] = str(av.ffmpeg_version_info)
    return found


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not known"


@lru_cache(maxsize=1)
def _processor() -> str:
    """The processor's model: its instructions decide the order of sums, and so the last bits."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{platform.machine()} {model or platform.processor()}".strip()


@lru_cache(maxsize=4)
def _device(name: str) -> str:
    if not name.startswith("cuda"):
        return name
    import torch

    return str(torch.cuda.get_device_name(name))
