"""Made-up clips whose class is a motion: eight directions at two speeds.

    frames, labels = motion_clips(1000, seed=0)          # (1000, 8, 32, 32, 3) uint8
    write_motions(Path("motion.jsonl"), count=1000, seed=0)

A sprite crosses a still, dim background and comes back in on the other side. Its shape, size and colours, the
background and where it starts are random, and the start is anywhere with equal chance: so every single frame looks the
same in all sixteen classes, and only what changes from frame to frame tells them apart.
"""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from longvid.files import replacing
from longvid.tasks import Manifest, ManifestRow

SIZE, FRAMES, FRAMES_PER_SECOND = 32, 8, 8
DIRECTIONS = ("east", "south-east", "south", "south-west", "west", "north-west", "north", "north-east")
SPEEDS = {"slow": 2.0, "fast": 4.0}
"""Pixels per frame."""
CLASSES = tuple(f"{direction} {speed}" for speed in SPEEDS for direction in DIRECTIONS)
VALIDATION_SHARE = 0.2
Sprites = Float[np.ndarray, "sprites side side"]


def motion_clips(
    count: int, *, seed: int, sprites: Sprites | None = None
) -> tuple[UInt8[np.ndarray, "clips time height width 3"], Int[np.ndarray, " clips"]]:
    """Clips and class numbers, every class equally often. `sprites`: pictures of 0 to 1 to move instead of blobs."""
    drawn = [draw(index % len(CLASSES), np.random.default_rng([seed, index]), sprites) for index in range(count)]
    return np.stack(drawn), np.arange(count) % len(CLASSES)


def draw(
    label: int, random: np.random.Generator, sprites: Sprites | None = None
) -> UInt8[np.ndarray, "time height width 3"]:
    """One clip of a class."""
    angle = (label % len(DIRECTIONS)) * np.pi / 4
    speed = list(SPEEDS.values())[label // len(DIRECTIONS)]
    place = random.uniform(0, SIZE, 2)  # row, column
    step = speed * np.array([np.sin(angle), np.cos(angle)])
    back, front = random.uniform(20, 70, 3), random.uniform(130, 255, 3)
    waves = random.uniform(0, 2 * np.pi, 2)
    rows, columns = np.mgrid[0:SIZE, 0:SIZE]
    texture = 0.5 + 0.25 * (np.sin(2 * np.pi * rows / SIZE + waves[0]) + np.sin(2 * np.pi * columns / SIZE + waves[1]))
    background = (back * texture[..., None]).astype(np.float32)
    shape, side = random.integers(3), random.uniform(4.0, 6.5)
    sprite = None if sprites is None else sprites[random.integers(len(sprites))]
    frames = np.empty((FRAMES, SIZE, SIZE, 3), np.uint8)
    for time in range(FRAMES):
        # the offset from the sprite's centre, the shorter way round
        row, column = (
            (grid - at + SIZE / 2) % SIZE - SIZE / 2 for grid, at in zip((rows, columns), place, strict=True)
        )
        cover = _blob(row, column, int(shape), side) if sprite is None else _picture(row, column, sprite)
        frames[time] = background + cover[..., None] * (front - background)
        place = place + step
    return frames


def _blob(row: np.ndarray, column: np.ndarray, shape: int, side: float) -> Float[np.ndarray, "height width"]:
    """How much of each pixel a disc, a square or a diamond covers, 0 to 1 with a soft edge."""
    far = (np.hypot(row, column), np.maximum(abs(row), abs(column)), 0.8 * (abs(row) + abs(column)))[shape]
    return np.clip(side - far + 0.5, 0, 1)


def _picture(row: np.ndarray, column: np.ndarray, sprite: np.ndarray) -> Float[np.ndarray, "height width"]:
    """A picture moved to between pixels, by bilinear interpolation; zero outside of it."""
    from scipy.ndimage import map_coordinates

    centre = (len(sprite) - 1) / 2
    moved: np.ndarray = map_coordinates(sprite, [row + centre, column + centre], order=1, cval=0.0)
    return moved


def digit_sprites() -> tuple[Sprites, Sprites]:
    """scikit-learn's handwritten digits at 14 x 14 pixels; the last fifth, by other writers, apart."""
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits

    pictures = load_digits().images / 16.0
    enlarged = np.stack([np.clip(zoom(picture, 14 / 8, order=1), 0, 1) for picture in pictures])
    cut = len(enlarged) * 4 // 5
    return enlarged[:cut], enlarged[cut:]


def write_motions(manifest: Path, *, count: int, seed: int) -> None:
    """Draw clips as lossless video files beside a manifest, a fifth of them for validation."""
    folder = manifest.parent / f"{manifest.stem}-clips"
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for index in range(count):
        label = index % len(CLASSES)
        path = folder / f"clip-{index:05d}.mkv"
        if not path.is_file():
            _encode(path, draw(label, np.random.default_rng([seed, index])))
        split = "val" if index // len(CLASSES) % round(1 / VALIDATION_SHARE) == 0 else "train"
        rows.append(ManifestRow(path.stem, split=split, label=CLASSES[label], path=str(path)))
    Manifest(tuple(rows)).write(manifest)


def _encode(path: Path, frames: UInt8[np.ndarray, "time height width 3"]) -> None:
    import av

    with replacing(path) as unfinished, av.open(str(unfinished), "w", format="matroska") as container:
        stream = container.add_stream("ffv1", rate=FRAMES_PER_SECOND)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "bgr0"
        stream.time_base = Fraction(1, FRAMES_PER_SECOND)
        for frame in _pictures(frames):
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _pictures(frames: UInt8[np.ndarray, "time height width 3"]) -> Iterator[Any]:
    import av

    for pixels in frames:
        yield av.VideoFrame.from_ndarray(pixels, format="rgb24")
