"""The needs of a public task: official files, videos, extras."""

from collections.abc import Iterator, Mapping
from typing import Any

OFFICIAL_FILES = {
    "lvu": "lvu_1.0/",
    "breakfast": "breakfast/ (ViS4mer's lists or the folds, and the label files)",
    "coin": "COIN.json",
}
"""What `longvid prepare NAME --annotations` reads."""

ENCODER_EXTRAS = {"timm": "timm", "torchvision": "timm"}
"""Prefix of an encoder's name -> the extra that it needs beside `extract`."""


def extras_of(settings: Mapping[str, Any]) -> str:
    """The extras of a recipe's two stages, as pip takes them: `longvid[extract,timm,train]`."""
    encoder = str((settings.get("features") or {}).get("encoder", ""))
    extra = ENCODER_EXTRAS.get(encoder.partition(":")[0])
    return f"longvid[{','.join(sorted({'extract', 'train', *([extra] if extra else [])}))}]"


def needs_of(recipes: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """For each data set: its official files, and the extras and encoders of its recipes."""
    from longvid.pipelines.recipes import benchmark_of

    found: dict[str, dict[str, Any]] = {}
    for name, settings in recipes.items():
        benchmark = benchmark_of(name)
        needs = found.setdefault(benchmark, {"annotations": OFFICIAL_FILES[benchmark], "extras": [], "encoders": []})
        encoder = (settings.get("features") or {}).get("encoder")
        for part, value in (("extras", extras_of(settings)), ("encoders", encoder)):
            if value is not None and value not in needs[part]:
                needs[part].append(value)
    return found


def needs_lines(recipes: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """A line per data set."""
    for benchmark, needs in needs_of(recipes).items():
        extras = sorted({part for one in needs["extras"] for part in one[len("longvid[") : -1].split(",")})
        yield (
            f"{benchmark} needs its videos, {needs['annotations']} (--annotations), and for its recipes' encoders "
            f"pip install 'longvid[{','.join(extras)}]'"
        )
