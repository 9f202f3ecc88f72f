"""Real files, a real encoder and real stores for the extraction tests."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from longvid.clips.sampling import Sampling
from longvid.pipelines.demo.videos import Script, encode
from longvid.pipelines.extraction import ExtractionJob, VideoRequest

SAMPLING = Sampling(frames=1, fps=4.0, stride_seconds=0.25)


@pytest.fixture(scope="session")
def video_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three short h264 files of 6, 9 and 4 seconds."""
    folder = tmp_path_factory.mktemp("videos")
    for index, seconds in enumerate((6.0, 9.0, 4.0)):
        encode(Script(f"video-{index}", 0, seconds, 0.5, 2.5, seed=index), folder)
    return folder


@pytest.fixture
def requests(video_folder: Path) -> list[VideoRequest]:
    """The three files, by the names `video-0` to `video-2`."""
    return [VideoRequest(path.stem, str(path)) for path in sorted(video_folder.glob("*.mp4"))]


@pytest.fixture
def job() -> ExtractionJob:
    """The hand-made encoder over four frames per second."""
    return ExtractionJob("patch-statistics", sampling=SAMPLING, torch_threads=1)


@pytest.fixture
def file_bytes() -> Callable[[Path], dict[str, bytes]]:
    """Every file of a folder by its relative path."""

    def read(folder: Path) -> dict[str, bytes]:
        return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}

    return read


@pytest.fixture
def white_video(tmp_path: Path) -> VideoRequest:
    """A video of white frames: what the encoders of `poison.py` cannot bear."""
    import av

    path = tmp_path / "white.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for _ in range(40):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 255, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return VideoRequest("white", str(path))


@pytest.fixture
def poison_on_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Makes `poison` importable here and in the workers started from here."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    yield
    sys.modules.pop("poison", None)
