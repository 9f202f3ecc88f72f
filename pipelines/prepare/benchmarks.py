"""Data sets by name."""

from pathlib import Path

from longvid.benchmarks.benchmark import Benchmark
from longvid.benchmarks.breakfast.benchmark import breakfast_benchmark
from longvid.benchmarks.coin.benchmark import coin_benchmark
from longvid.benchmarks.lvu.benchmark import lvu_benchmark
from longvid.benchmarks.recognition.diving48 import diving48_benchmark
from longvid.benchmarks.recognition.hmdb51 import hmdb51_benchmark
from longvid.benchmarks.recognition.kinetics import kinetics_benchmark
from longvid.benchmarks.recognition.something import something_benchmark
from longvid.benchmarks.recognition.ucf101 import ucf101_benchmark
from longvid.errors import AnnotationError
from longvid.pipelines.prepare.own import own_benchmark

BENCHMARKS = {
    "lvu": lvu_benchmark,
    "breakfast": breakfast_benchmark,
    "coin": coin_benchmark,
    "kinetics": kinetics_benchmark,
    "ssv2": something_benchmark,
    "ucf101": ucf101_benchmark,
    "hmdb51": hmdb51_benchmark,
    "diving48": diving48_benchmark,
}


def load_benchmark(
    name: str,
    annotations: str | Path | None,
    videos: str | Path,
    *,
    test_fraction: float | None = None,
    val_fraction: float | None = None,
    group: str | None = None,
) -> Benchmark:
    """The data set of that name from its annotation files; `folder`, for your own videos, needs none.

    Raises `AnnotationError` for an unknown name, and any error of its reader.
    """
    if name == "folder":
        return own_benchmark(videos, annotations, test_fraction=test_fraction, val_fraction=val_fraction, group=group)
    if name not in BENCHMARKS:
        raise AnnotationError(
            f"no data set {name!r}; there are {', '.join(BENCHMARKS)}, and `folder` for your own videos"
        )
    if annotations is None:
        raise AnnotationError(f"{name} needs its annotation files; give --annotations")
    for option, value in (("test-fraction", test_fraction), ("val-fraction", val_fraction), ("group", group)):
        if value is not None:
            raise AnnotationError(f"--{option} is for your own videos; {name} has its own splits")
    return BENCHMARKS[name](annotations)
