"""A store and a run to push, and a server that speaks the Hub's interface."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hub import TOKEN, Hub
from short_videos import extract_short_videos, train_on_short_videos

from longvid.pipelines.evaluation.evaluate import evaluate


@pytest.fixture(scope="package")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `features.zarr` and an evaluated run, `whole`."""
    folder = tmp_path_factory.mktemp("pushed")
    extract_short_videos(folder)
    train_on_short_videos(folder, "whole")
    for split in ("val", "test"):
        evaluate(folder / "whole", split=split)
    return folder


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    from huggingface_hub import HfFileSystem, constants

    with Hub().running() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        # what huggingface_hub read from the environment when it was imported
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        HfFileSystem.clear_instance_cache()  # it remembers the server of another test
        yield server
        HfFileSystem.clear_instance_cache()
