"""A sound store and run for tests to tamper with, and a module that records when it is imported."""

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from longvid.clips.sampling import Sampling
from longvid.pipelines.cli import main
from longvid.pipelines.demo.videos import Script, encode
from longvid.pipelines.evaluation.evaluate import evaluate
from longvid.pipelines.extraction import ExtractionJob, VideoRequest, extract
from longvid.pipelines.training.config import TrainConfig
from longvid.pipelines.training.train import train
from longvid.tasks import Manifest, ManifestRow

EVIL_MODULE = """
import pathlib
pathlib.Path(__file__).with_name("MARKER").write_text("imported")

def build(**options):
    pathlib.Path(__file__).with_name("MARKER").write_text("called")
    return 0
"""


@dataclass(frozen=True)
class World:
    """Files of one test, which it may poison."""

    folder: Path

    @property
    def run(self) -> Path:
        """A trained and evaluated run."""
        return self.folder / "run"

    @property
    def store(self) -> Path:
        """The store it was trained on."""
        return self.folder / "features.zarr"

    @property
    def video(self) -> Path:
        """A video of it."""
        return self.folder / "v3.mp4"

    @property
    def marker(self) -> Path:
        """There once something ran that must not."""
        return self.folder / "MARKER"

    @property
    def command(self) -> str:
        """A shell command that makes the marker."""
        return f"touch {self.marker}"

    def change(self, path: Path, change: Callable[[Any], object]) -> None:
        """Change a JSON file in place."""
        values = json.loads(path.read_text())
        change(values)
        path.write_text(json.dumps(values))

    def poison(self) -> "Poison":
        """What makes the marker when it is unpickled."""
        return Poison(self.command)


class Poison:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four short videos, their features, a run of two seeds trained on them and evaluated."""
    folder = tmp_path_factory.mktemp("sound")
    rows = []
    for index, split in enumerate(("train", "train", "val", "test")):
        encode(Script(f"v{index}", index % 2, 5.0 + index, 0.5, 2.5, seed=index), folder)
        path = str(folder / f"v{index}.mp4")
        rows.append(ManifestRow(f"v{index}", split=split, label=("a", "b")[index % 2], path=path))
    Manifest(tuple(rows)).write(folder / "manifest.jsonl")
    job = ExtractionJob(
        "patch-statistics",
        encoder_options={"size": 32, "dim": 16, "frames": 2},
        seed=3,
        sampling=Sampling(frames=2, fps=4.0, stride_seconds=0.5),
        pooling="mean",
    )
    extract([VideoRequest(row.key, str(row.path)) for row in rows], job, folder / "features.zarr")
    settings = {"store": "features.zarr", "manifest": "manifest.jsonl", "out": "run"}
    train(
        TrainConfig.of(
            {name: str(folder / value) for name, value in settings.items()}
            | {
                "decoder": {"name": "mean-linear"},
                "standardise": True,
                "epochs": 2,
                "seeds": [0, 1],
                "tensorboard": False,
                "device": "cpu",
            }
        )
    )
    evaluate(folder / "run", device="cpu")
    return folder


@pytest.fixture
def world(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A copy of the sound files, in a working folder whose module `evil` could be imported. Nothing may run."""
    folder = tmp_path / "world"
    shutil.copytree(sound, folder)
    for file in (*(folder / "run").glob("*.*"), folder / "manifest.jsonl"):
        file.write_text(file.read_text().replace(str(sound), str(folder)))
    (folder / "evil.py").write_text(EVIL_MODULE)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    made = World(folder)
    yield made
    assert not made.marker.exists(), made.marker.read_text()


@pytest.fixture
def longvid(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command in this process: exit status, output, errors."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


@pytest.fixture
def refused(longvid: Callable[..., tuple[int, str, str]]) -> Callable[..., str]:
    """Runs a command that must end with status 2 and one line; gives the line."""

    def run(*words: object) -> str:
        status, _, err = longvid(*words)
        lines = [line for line in err.splitlines() if line.strip()]
        assert status == 2, err
        assert len(lines) == 1, err
        assert lines[0].startswith("error: ")
        return lines[0]

    return run


class _Listening(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        self.send_response(404)
        self.end_headers()

    do_HEAD = do_GET  # noqa: N815 -- the library's name

    def log_message(self, *words: Any) -> None:
        """Keeps the test's output clean."""


@pytest.fixture
def server() -> Iterator[Any]:
    """A web server that notes what it is asked: `server.url`, `server.asked`."""
    listening: Any = ThreadingHTTPServer(("127.0.0.1", 0), _Listening)
    listening.asked, listening.url = [], f"http://127.0.0.1:{listening.server_address[1]}"
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    yield listening
    listening.shutdown()
    thread.join()
    listening.server_close()
