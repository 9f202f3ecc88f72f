"""A user's own encoder reaches workers that know nothing of the user's folder, and leaves nothing behind."""

import sys
import textwrap
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

from longvid.pipelines.extraction import ExtractionJob, VideoRequest, extract
from longvid.pipelines.extraction.own_modules import SentModules, own_sources

ENCODER = """
    from helpers_of_mine.colours import mean_colour

    from longvid import EncoderSpec, Preprocessing, Sampling, wrap

    def build():
        spec = EncoderSpec("colour", Sampling(frames=1, fps=1.0, stride_seconds=1.0), Preprocessing(8, 8))
        return wrap(mean_colour, spec)
"""
HELPER = """
    def mean_colour(clips):
        return clips.mean(dim=(3, 4)).transpose(1, 2).unsqueeze(2)
"""
NAMES = ("my_encoder", "helpers_of_mine", "helpers_of_mine.colours")


@pytest.fixture
def own_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder, not yet importable, with `my_encoder.py` and a package that it imports."""
    folder = tmp_path / "mine"
    (folder / "helpers_of_mine").mkdir(parents=True)
    (folder / "my_encoder.py").write_text(textwrap.dedent(ENCODER))
    (folder / "unrelated.py").write_text("raise RuntimeError")
    (folder / "helpers_of_mine" / "__init__.py").write_text("")
    (folder / "helpers_of_mine" / "colours.py").write_text(textwrap.dedent(HELPER))
    yield folder
    for name in NAMES:
        sys.modules.pop(name, None)


def known_in_worker() -> list[str]:
    """The names of the user's modules that a worker could import, or has imported."""
    return [name for name in NAMES[:2] if name in sys.modules or find_spec(name) is not None]


def test_workers_of_a_running_scheduler_get_the_code_of_an_own_encoder_and_forget_it(
    requests: list[VideoRequest],
    own_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    file_bytes: Callable[[Path], dict[str, bytes]],
) -> None:
    job = ExtractionJob("my_encoder:build", torch_threads=1)
    with (
        LocalCluster(
            n_workers=1, processes=True, dashboard_address=":0", scheduler_kwargs={"dashboard": False}
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.wait_for_workers(1)
        monkeypatch.syspath_prepend(str(own_folder))  # here, and not in the worker, which has started
        assert list(client.run(known_in_worker).values()) == [[]]
        report = extract(requests, job, tmp_path / "there.zarr", scheduler=cluster.scheduler_address)
        assert report.exit_status == 0, report.failed
        assert list(client.run(known_in_worker).values()) == [[]]
    extract(requests, job, tmp_path / "here.zarr", scheduler="inline")
    assert file_bytes(tmp_path / "there.zarr") == file_bytes(tmp_path / "here.zarr")


def test_what_is_sent_is_the_named_module_and_what_it_imported(
    own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as path:
        path.syspath_prepend(str(own_folder))
        __import__("my_encoder")
        sources = own_sources("my_encoder:build")
        assert own_sources("json:loads") == own_sources("pytest:main") == {}
    assert sorted(sources) == sorted(NAMES)
    for name in NAMES:
        del sys.modules[name]
    sent = SentModules(sources)
    sent.install()
    try:
        built = __import__("my_encoder").build()
        assert built.spec.name == "colour"
        assert sys.modules["helpers_of_mine.colours"].__file__ == str(own_folder / "helpers_of_mine" / "colours.py")
    finally:
        sent.remove()
    assert known_in_worker() == []
