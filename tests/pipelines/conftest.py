"""Videos made on the spot, and the command line as a user meets it."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from longvid.pipelines.cli import main


@pytest.fixture(scope="session")
def make_video() -> Callable[..., Path]:
    """Writes a small video whose colour says something: `make_video(path, seconds=2, colours=[(255, 0, 0), ...])`.

    The colours follow each other, each for an equal share of the time.
    """

    def make(
        path: Path,
        *,
        seconds: float = 2.0,
        colours: list[tuple[int, int, int]] | None = None,
        fps: int = 8,
        side: int = 64,
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        shown = colours or [(90, 90, 90)]
        num_frames = round(seconds * fps)
        texture = np.random.default_rng(0).integers(0, 30, (side, side, 3))
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=fps)
            stream.width, stream.height, stream.pix_fmt = side, side, "yuv420p"
            stream.time_base = Fraction(1, fps)
            for index in range(num_frames):
                colour = np.array(shown[index * len(shown) // num_frames])
                pixels = np.clip(colour + texture, 0, 255).astype(np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode())
        return path

    return make


@pytest.fixture
def command(tmp_path, monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Runs `longvid` in a folder of its own: exit status, output, errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")

    def run(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run
