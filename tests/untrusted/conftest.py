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
import torch
from command import command_in_process
from short_videos import extract_short_videos, train_on_short_videos

from longvid.pipelines.evaluation.evaluate import evaluate

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
        """It exists once something has run that must not."""
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
    extract_short_videos(folder)
    train_on_short_videos(folder, "run", standardise=True)
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
    return command_in_process(capsys)


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


@pytest.fixture
def vision_model() -> Callable[..., Path]:
    """Saves a small image model with random weights into a folder of that name."""
    import transformers as hf

    hf.logging.set_verbosity_error()
    hf.logging.disable_progress_bar()

    def save(folder: Path, *, side: int = 32, seed: int = 0, patch: int = 16) -> Path:
        torch.manual_seed(seed)
        sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        config = hf.ViTConfig(**sizes, image_size=side, patch_size=patch)
        hf.ViTModel(config, add_pooling_layer=False).eval().save_pretrained(folder)
        settings: dict[str, Any] = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": side}
        (folder / "preprocessor_config.json").write_text(json.dumps(settings))
        return folder

    return save


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
