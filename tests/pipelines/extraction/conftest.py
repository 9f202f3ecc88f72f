"""Real files, a real encoder and real stores for the extraction tests."""

from collections.abc import Callable
from pathlib import Path

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
    """The hand-made encoder over four frames a second."""
    return ExtractionJob("patch-statistics", sampling=SAMPLING, torch_threads=1)


@pytest.fixture
def file_bytes() -> Callable[[Path], dict[str, bytes]]:
    """Every file of a folder by its relative path."""

    def read(folder: Path) -> dict[str, bytes]:
        return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}

    return read
