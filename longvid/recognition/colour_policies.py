"""RandAugment and AutoAugment for clips.

Operations and signs are drawn once per clip and are the same for all its frames.

Every operation is Pillow's, with the levels of timm's tables, which the recipes of X-ViT (AutoAugment v0) and of the
VideoMAE family (RandAugment m7 n4 std 0.5, the increasing set) name. Measured against kornia 0.9: its RandAugment draws
a sign per frame and takes 0.71 s for a clip of 16 x 224 x 224 on one core, where four of Pillow's operations take 0.18.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageEnhance, ImageOps

Frames = UInt8[np.ndarray, "frames height width 3"]
Fill = tuple[int, int, int]
"""The colour of what comes into the picture from outside, RGB."""
Step = tuple[str, int | float]
"""An operation and its argument, drawn already."""

ONE_FRAME_AFTER_ANOTHER = Image.Resampling.BILINEAR

RAND_AUGMENT = (
    *("auto-contrast", "equalize", "invert", "rotate", "posterize-up", "solarize-up", "solarize-add", "colour-up"),
    *("contrast-up", "brightness-up", "sharpness-up", "shear-x", "shear-y", "translate-x", "translate-y"),
)
"""The set in which a higher level is always a stronger change."""

AUTO_AUGMENT_V0 = """
equalize 0.8 1, shear-y 0.8 4; colour 0.4 9, equalize 0.6 3; colour 0.4 1, rotate 0.6 8; solarize 0.8 3, equalize 0.4 7;
solarize 0.4 2, solarize 0.6 2; colour 0.2 0, equalize 0.8 8; equalize 0.4 8, solarize-add 0.8 3;
shear-x 0.2 9, rotate 0.6 8; colour 0.6 1, equalize 1 2; invert 0.4 9, rotate 0.6 0; equalize 1 9, shear-y 0.6 3;
colour 0.4 7, equalize 0.6 0; posterize 0.4 6, auto-contrast 0.4 7; solarize 0.6 8, colour 0.6 9;
solarize 0.2 4, rotate 0.8 9; rotate 1 7, translate-y 0.8 9; shear-x 0 0, solarize 0.8 4; shear-y 0.8 0, colour 0.6 4;
colour 1 0, rotate 0.6 2; equalize 0.8 4, equalize 0 8; equalize 1 4, auto-contrast 0.6 2;
shear-y 0.4 7, solarize-add 0.6 7; posterize 0.8 2, solarize 0.6 10; solarize 0.6 8, equalize 0.6 1;
colour 0.8 6, rotate 0.4 5
"""
"""Pairs of operations, each with its probability and level: the policy of EfficientNet's code for TPUs. The pair
`posterize 0.8 2, solarize 0.6 10` makes black clips, there as here."""


def rand_augment_steps(
    random: np.random.Generator, *, count: int, level: int | float, spread: int | float
) -> list[Step]:
    """`count` operations drawn with replacement, each used with probability 0.5 at a level ~ N(level, spread)."""
    steps = []
    for name in random.choice(RAND_AUGMENT, count):
        if random.random() <= 0.5:
            steps.append((str(name), _argument(str(name), float(random.normal(level, spread)), random)))
    return steps


def auto_augment_steps(random: np.random.Generator) -> list[Step]:
    """The operations of one pair of `AUTO_AUGMENT_V0`, each used with its own probability."""
    pairs = [pair.split(",") for pair in AUTO_AUGMENT_V0.split(";")]
    steps = []
    for text in pairs[int(random.integers(len(pairs)))]:
        name, probability, level = text.split()
        if random.random() <= float(probability):
            steps.append((name, _argument(name, float(level), random)))
    return steps


def colour_steps(random: np.random.Generator, amount: float) -> list[Step]:
    """Brightness, contrast and saturation changed by factors in [1 - amount, 1 + amount], in random order."""
    names = random.permutation(["brightness", "contrast", "colour"]).tolist()
    return [(f"{name}-by", float(random.uniform(max(0.0, 1 - amount), 1 + amount))) for name in names]


def apply_steps(frames: Frames, steps: Sequence[Step], fill: Fill) -> Frames:
    """The same operations on every frame; statistics that an operation takes of a picture are each frame's own."""
    if not steps:
        return frames
    pictures = [Image.fromarray(frame) for frame in frames]
    for name, argument in steps:
        pictures = [_OPERATIONS[name](picture, argument, fill) for picture in pictures]
    return np.stack([np.asarray(picture) for picture in pictures])


def _argument(name: str, level: float, random: np.random.Generator) -> int | float:
    """What the operation is given at a level of 0 to 10, with a random sign where it has two directions."""
    share = min(max(level, 0.0), 10.0) / 10
    sign = float(random.choice([-1, 1]))
    match name:
        case "rotate":
            return sign * share * 30
        case "shear-x" | "shear-y":
            return sign * share * 0.3
        case "translate-x" | "translate-y":
            return sign * share * 0.45
        case "posterize":
            return int(share * 4)
        case "posterize-up":
            return 4 - int(share * 4)
        case "solarize":
            return int(share * 256)
        case "solarize-up":
            return 256 - int(share * 256)
        case "solarize-add":
            return int(share * 110)
        case "colour" | "contrast" | "brightness" | "sharpness":
            return share * 1.8 + 0.1
        case "colour-up" | "contrast-up" | "brightness-up" | "sharpness-up":
            return max(0.1, 1 + sign * share * 0.9)
    return 0.0


def _moved(picture: Image.Image, matrix: tuple[int | float, ...], fill: Fill) -> Image.Image:
    return picture.transform(
        picture.size, Image.Transform.AFFINE, matrix, resample=ONE_FRAME_AFTER_ANOTHER, fillcolor=fill
    )


def _solarized_sum(picture: Image.Image, add: int | float) -> Image.Image:
    return picture.point([min(255, value + int(add)) if value < 128 else value for value in range(256)] * 3)


Operation = Callable[[Image.Image, Any, Fill], Image.Image]


def _enhancing(kind: Callable[[Image.Image], ImageEnhance._Enhance]) -> Operation:
    return lambda picture, factor, fill: kind(picture).enhance(factor)


_ENHANCEMENTS = {
    "colour": ImageEnhance.Color,
    "contrast": ImageEnhance.Contrast,
    "brightness": ImageEnhance.Brightness,
    "sharpness": ImageEnhance.Sharpness,
}

_OPERATIONS: dict[str, Operation] = {
    "auto-contrast": lambda picture, _, fill: ImageOps.autocontrast(picture),
    "equalize": lambda picture, _, fill: ImageOps.equalize(picture),
    "invert": lambda picture, _, fill: ImageOps.invert(picture),
    "rotate": lambda picture, degrees, fill: picture.rotate(degrees, resample=ONE_FRAME_AFTER_ANOTHER, fillcolor=fill),
    "posterize": lambda picture, bits, fill: ImageOps.posterize(picture, int(bits)),
    "posterize-up": lambda picture, bits, fill: ImageOps.posterize(picture, int(bits)),
    "solarize": lambda picture, threshold, fill: ImageOps.solarize(picture, int(threshold)),
    "solarize-up": lambda picture, threshold, fill: ImageOps.solarize(picture, int(threshold)),
    "solarize-add": lambda picture, add, fill: _solarized_sum(picture, add),
    "shear-x": lambda picture, factor, fill: _moved(picture, (1, factor, 0, 0, 1, 0), fill),
    "shear-y": lambda picture, factor, fill: _moved(picture, (1, 0, 0, factor, 1, 0), fill),
    "translate-x": lambda picture, share, fill: _moved(picture, (1, 0, share * picture.width, 0, 1, 0), fill),
    "translate-y": lambda picture, share, fill: _moved(picture, (1, 0, 0, 0, 1, share * picture.height), fill),
    **{f"{name}{ending}": _enhancing(kind) for name, kind in _ENHANCEMENTS.items() for ending in ("", "-up", "-by")},
}
