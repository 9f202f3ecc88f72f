"""Videos whose class is the order and distance of two events.

Each video shows a drifting background, a ball that never stops, and exactly two events of five seconds: a red disc
and a blue square. The class is which came first and whether the second followed soon or after a long wait. Every
class has the same events for the same time in the same places, so any mean over a video is the same for all four: a
model that ignores the order cannot tell them apart.
"""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from longvid.files import replacing

HEIGHT, WIDTH = 96, 128
BALL = 8
"""Radius in pixels."""
FRAMES_PER_SECOND = 6
EVENT_SECONDS = 5.0
MARGIN_SECONDS = 3.0
"""Seconds before the first event and after the second."""
LENGTH_SECONDS = (66.0, 100.0)
WAIT_SECONDS = {"close": (2.0, 7.0), "far": (28.0, 42.0)}
"""Seconds from the end of the first event to the start of the second."""
CLASSES = ("red-blue soon", "red-blue late", "blue-red soon", "blue-red late")


@dataclass(frozen=True)
class Script:
    """The events of one video."""

    name: str
    class_index: int
    length_seconds: float
    red_seconds: float
    """When the red disc appears."""
    blue_seconds: float
    seed: int


def write_scripts(count: int, *, seed: int) -> list[Script]:
    """`count` scripts, with classes in turn and everything else drawn at random."""
    random = np.random.default_rng(seed)
    return [_write_script(index, random) for index in range(count)]


def _write_script(index: int, random: np.random.Generator) -> Script:
    class_index = index % len(CLASSES)
    wait = random.uniform(*WAIT_SECONDS["close" if class_index % 2 == 0 else "far"])
    length = random.uniform(*LENGTH_SECONDS)
    latest = length - MARGIN_SECONDS - 2 * EVENT_SECONDS - wait
    first = random.uniform(MARGIN_SECONDS, latest)
    second = first + EVENT_SECONDS + wait
    red, blue = (first, second) if class_index < 2 else (second, first)
    return Script(f"video-{index:03d}", class_index, length, red, blue, int(random.integers(2**31)))


def draw(script: Script) -> Iterator[np.ndarray]:
    """The video's frames in order, uint8 (HEIGHT, WIDTH, 3)."""
    random = np.random.default_rng(script.seed)
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    tint, drift = random.uniform(70, 130, 3).astype(np.float32), random.uniform(0.02, 0.06, 2)
    place = (rows * drift[0] + columns * drift[1])[..., None].astype(np.float32)
    sine, cosine = 24 * np.sin(place), 24 * np.cos(place)
    ball = np.hypot(*np.mgrid[-BALL:BALL, -BALL:BALL]) < BALL
    places = {colour: random.uniform((30, 30), (HEIGHT - 30, WIDTH - 30)) for colour in ("red", "blue")}
    disc = np.hypot(rows - places["red"][0], columns - places["red"][1]) < 22
    square = np.maximum(abs(rows - places["blue"][0]), abs(columns - places["blue"][1])) < 20
    for frame_index in range(round(script.length_seconds * FRAMES_PER_SECOND)):
        seconds = frame_index / FRAMES_PER_SECOND
        wave = sine * np.cos(0.7 * seconds) + cosine * np.sin(0.7 * seconds)  # sine of (place + time)
        frame = (wave + tint).astype(np.uint8)
        row = round(HEIGHT * (0.5 + 0.35 * np.sin(seconds)))
        column = round(WIDTH * (0.5 + 0.4 * np.cos(0.77 * seconds)))
        frame[row - BALL : row + BALL, column - BALL : column + BALL][ball] = 200
        if script.red_seconds <= seconds < script.red_seconds + EVENT_SECONDS:
            frame[disc] = (220, 30, 40)
        if script.blue_seconds <= seconds < script.blue_seconds + EVENT_SECONDS:
            frame[square] = (40, 60, 220)
        yield frame


def encode(script: Script, folder: Path) -> Path:
    """The script as an h264 file in `folder`; an existing file is kept."""
    import av

    path = folder / f"{script.name}.mp4"
    if path.exists():
        return path
    with replacing(path) as unfinished, av.open(str(unfinished), "w", format="mp4") as container:
        options = {"preset": "ultrafast", "crf": "26", "g": str(4 * FRAMES_PER_SECOND), "threads": "1"}
        stream = container.add_stream("libx264", rate=FRAMES_PER_SECOND, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.time_base = Fraction(1, FRAMES_PER_SECOND)
        for pixels in draw(script):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def encode_all(scripts: list[Script], folder: Path, *, processes: int) -> list[Path]:
    """Every script as a file, several at once."""
    folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        return list(pool.map(encode, scripts, [folder] * len(scripts), chunksize=4))
