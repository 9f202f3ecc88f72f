"""Augmentation of training clips, the same in all frames of a clip.

Whatever is drawn is drawn once per clip.

Frames stay uint8 until the model's device normalises them. Crops and resizing are torch's, colours Pillow's
(`colour_policies`); no torchvision is needed.
"""

from typing import Literal

import numpy as np
import torch
from jaxtyping import UInt8
from torch.nn.functional import interpolate

from longvid.clips.preprocessing import Preprocessing
from longvid.errors import ConfigError
from longvid.recognition.colour_policies import (
    Fill,
    Frames,
    apply_steps,
    auto_augment_steps,
    colour_steps,
    rand_augment_steps,
)
from longvid.validation import AtLeastZero, Count, Positive, Probability, settings

Crop = Literal["random-resized", "multi-scale", "random", "centre"]
Box = tuple[int, int, int, int]
"""Top, left, height and width in pixels."""
MULTI_SCALES = (1.0, 0.875, 0.75, 0.66)
"""Sides of a multi-scale crop as shares of the short side; its height and width are at most one step apart."""
CROP_TRIES = 10
Cut = UInt8[np.ndarray, "frames rows columns 3"]
"""Frames of another size than those given."""


@settings(ConfigError)
class Augmentation:
    """What is drawn for a clip, in this order: crop, colours, flip, erasing.

    The default is DualFormer's recipe on Kinetics: a random resized crop and flips.
    """

    crop: Crop = "random-resized"
    """`random-resized`: a box of random area and shape; `multi-scale`: X-ViT's thirteen places and four sizes;
    `random`: a box of the encoder's size; `centre`: the encoder's own preprocessing."""
    area: tuple[Positive, Positive] = (0.08, 1.0)
    """Smallest and largest share of the picture that a random resized crop takes."""
    shape: tuple[Positive, Positive] = (3 / 4, 4 / 3)
    """Smallest and largest width over height of a random resized crop."""
    short_side: Count | None = None
    """Pixels of the shorter side that frames are decoded to; None: 256 for an input of 224, and so in proportion."""
    short_side_up_to: Count | None = None
    """The short side is drawn from `short_side` to this."""
    flip: Probability = 0.5
    """Probability of a mirrored clip; 0 where left and right are classes."""
    policy: Literal["none", "rand-augment", "auto-augment-v0"] = "none"
    operations: Count = 4
    """RandAugment's number of operations."""
    level: AtLeastZero = 7
    """RandAugment's level, 0 to 10."""
    level_spread: AtLeastZero = 0.5
    """Standard deviation of the level."""
    colour: AtLeastZero = 0.0
    """Brightness, contrast and saturation change by factors in [1 - colour, 1 + colour]."""
    erase: Probability = 0.0
    """Probability that one box is erased, in all frames the same."""
    erase_area: tuple[Positive, Positive] = (0.02, 1 / 3)
    erase_shape: tuple[Positive, Positive] = (0.3, 10 / 3)
    erase_with: Literal["mean", "noise"] = "mean"
    """The mean colour, or noise with the mean and deviation of the preprocessing, cut to what a pixel can hold."""
    repeats: Count = 1
    """Augmentations of one decoded clip (repeated augmentation); each is a training clip."""

    def __post_init__(self) -> None:
        for name in ("area", "shape", "erase_area", "erase_shape"):
            low, high = getattr(self, name)
            if low > high or (name.endswith("area") and high > 1):
                raise ConfigError(f"Augmentation.{name}={[low, high]}: give the smaller first, shares up to 1")
        if self.short_side_up_to is not None and (self.short_side or self.short_side_up_to) > self.short_side_up_to:
            raise ConfigError(f"short_side_up_to={self.short_side_up_to} is less than short_side={self.short_side}")

    @property
    def changes_nothing(self) -> bool:
        """Whether every clip comes out as the encoder's own preprocessing makes it."""
        return self == NO_AUGMENTATION or (
            self.crop == "centre" and not self.flip and self.policy == "none" and not self.colour and not self.erase
        )


NO_AUGMENTATION = Augmentation(crop="centre", flip=0)
"""The encoder's own preprocessing, for validation."""


def decoded_size(
    augmentation: Augmentation, preprocessing: Preprocessing, height: int, width: int, random: np.random.Generator
) -> tuple[int, int]:
    """Rows and columns to which frames of this size are decoded, before the crop."""
    if augmentation.crop == "centre":
        return preprocessing.resized(height, width)
    side = augmentation.short_side or round(max(preprocessing.height, preprocessing.width) * 256 / 224)
    if augmentation.short_side_up_to is not None:
        side = int(random.integers(side, augmentation.short_side_up_to + 1))
    scale = side / min(height, width)
    rows, columns = max(side, round(height * scale)), max(side, round(width * scale))
    if augmentation.crop == "random":
        return max(rows, preprocessing.height), max(columns, preprocessing.width)
    return rows, columns


def augmented(
    frames: Frames, augmentation: Augmentation, preprocessing: Preprocessing, random: np.random.Generator
) -> Cut:
    """One clip of the encoder's size out of decoded frames, uint8 (frames, height, width, 3)."""
    fill = mean_colour(preprocessing)
    steps = []
    if augmentation.policy == "rand-augment":
        steps += rand_augment_steps(
            random, count=augmentation.operations, level=augmentation.level, spread=augmentation.level_spread
        )
    elif augmentation.policy == "auto-augment-v0":
        steps += auto_augment_steps(random)
    if augmentation.colour:
        steps += colour_steps(random, float(augmentation.colour))
    box = _crop_box(frames.shape[1:3], augmentation, preprocessing, random)
    # the authors change colours before they crop; after it there are fewer pixels to change
    frames = apply_steps(_resized(_cut(frames, box), preprocessing), steps, fill)
    if augmentation.flip and random.random() < augmentation.flip:
        frames = frames[:, :, ::-1]
    if augmentation.erase and random.random() < augmentation.erase:
        frames = _erased(frames, augmentation, preprocessing, random)
    return np.ascontiguousarray(frames)


def mean_colour(preprocessing: Preprocessing) -> Fill:
    """The colour that the preprocessing makes zero, rounded to what a pixel can hold."""
    red, green, blue = (min(255, max(0, round(255 * float(mean)))) for mean in preprocessing.mean)
    return red, green, blue


def random_resized_box(
    size: tuple[int, int], area: tuple[float, float], shape: tuple[float, float], random: np.random.Generator
) -> Box:
    """A box of a random share of the picture and of random shape; after ten misses the largest one in the centre."""
    rows, columns = size
    for _ in range(CROP_TRIES):
        pixels = rows * columns * random.uniform(*area)
        ratio = np.exp(random.uniform(np.log(shape[0]), np.log(shape[1])))
        height, width = round(float(np.sqrt(pixels / ratio))), round(float(np.sqrt(pixels * ratio)))
        if 0 < height <= rows and 0 < width <= columns:
            top, left = int(random.integers(rows - height + 1)), int(random.integers(columns - width + 1))
            return top, left, height, width
    ratio = min(max(columns / rows, shape[0]), shape[1])
    height, width = min(rows, round(columns / ratio)), min(columns, round(rows * ratio))
    return (rows - height) // 2, (columns - width) // 2, height, width


def multi_scale_box(size: tuple[int, int], random: np.random.Generator) -> Box:
    """One of the sizes of `MULTI_SCALES` at one of thirteen fixed places: corners, sides, centre, quarters."""
    rows, columns = size
    sides = [int(min(size) * scale) for scale in MULTI_SCALES]
    numbers = range(len(sides))
    pairs = [(sides[i], sides[j]) for i in numbers for j in numbers if abs(i - j) <= 1]
    height, width = pairs[int(random.integers(len(pairs)))]
    down, right = (rows - height) // 4, (columns - width) // 4
    places = [(0, 0), (0, 4), (4, 0), (4, 4), (2, 2), (2, 0), (2, 4), (4, 2), (0, 2), (1, 1), (1, 3), (3, 1), (3, 3)]
    row, column = places[int(random.integers(len(places)))]
    return row * down, column * right, height, width


def _crop_box(
    size: tuple[int, int], augmentation: Augmentation, preprocessing: Preprocessing, random: np.random.Generator
) -> Box:
    wanted = preprocessing.height, preprocessing.width
    match augmentation.crop:
        case "random-resized":
            area, shape = augmentation.area, augmentation.shape
            return random_resized_box(
                size, (float(area[0]), float(area[1])), (float(shape[0]), float(shape[1])), random
            )
        case "multi-scale":
            return multi_scale_box(size, random)
        case "random":
            top, left = (int(random.integers(side - length + 1)) for side, length in zip(size, wanted, strict=True))
            return (top, left, *wanted)
    rows, columns = preprocessing.crop(*size)
    return rows.start, columns.start, *wanted


def _cut(frames: Frames, box: Box) -> Cut:
    top, left, height, width = box
    return frames[:, top : top + height, left : left + width]


def _resized(frames: Frames, preprocessing: Preprocessing) -> Cut:
    """The crop at the encoder's size: bilinear over the area of the source, as swscale shrinks while decoding."""
    if frames.shape[1:3] == (preprocessing.height, preprocessing.width):
        return frames
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).movedim(-1, 1)  # a view: channels last in memory
    size = (preprocessing.height, preprocessing.width)
    return interpolate(pixels, size, mode="bilinear", antialias=True, align_corners=False).movedim(1, -1).numpy()


def _erased(
    frames: Frames, augmentation: Augmentation, preprocessing: Preprocessing, random: np.random.Generator
) -> Frames:
    rows, columns = frames.shape[1:3]
    for _ in range(CROP_TRIES):
        low, high = (float(one) for one in augmentation.erase_area)
        pixels = rows * columns * random.uniform(low, high)
        ratio = np.exp(random.uniform(*np.log([float(one) for one in augmentation.erase_shape])))
        height, width = round(float(np.sqrt(pixels * ratio))), round(float(np.sqrt(pixels / ratio)))
        if not (0 < height < rows and 0 < width < columns):
            continue
        top, left = int(random.integers(rows - height + 1)), int(random.integers(columns - width + 1))
        frames = frames.copy()
        box = frames[:, top : top + height, left : left + width]
        box[:] = mean_colour(preprocessing)
        if augmentation.erase_with == "noise":
            noise = random.standard_normal(box.shape) * preprocessing.std + np.asarray(preprocessing.mean)
            box[:] = np.clip(np.round(255 * noise), 0, 255).astype(np.uint8)
        return frames
    return frames
