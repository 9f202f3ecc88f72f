"""Video files made on the spot whose pictures carry their number, one for each thing that real files do to a reader."""

from collections.abc import Callable
from pathlib import Path

import pytest

from longvid.video.backends import BACKENDS, check_backend
from longvid.video.numbered_files import MAKERS, Truth
from longvid.video.numbered_files import cut_short as cut_short_by


@pytest.fixture(scope="session")
def make_video(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Truth]:
    """`make_video("variable.mkv")` makes the file once a session and says what is in it."""
    folder, made = tmp_path_factory.mktemp("videos"), {}

    def make(name: str) -> Truth:
        if name not in made:
            made[name] = MAKERS[name](folder / name)
        return made[name]

    return make


@pytest.fixture(params=list(MAKERS))
def truth(request: pytest.FixtureRequest, make_video: Callable[[str], Truth]) -> Truth:
    """Each of the files in turn."""
    return make_video(request.param)


@pytest.fixture(params=list(BACKENDS))
def backend(request: pytest.FixtureRequest) -> str:
    """Each backend in turn; one that does not run here is skipped with its reason."""
    status = check_backend(request.param)
    if not status.works:
        pytest.skip(f"{status.name}: {status.reason}")
    return status.name


@pytest.fixture
def cut_short(tmp_path: Path, make_video: Callable[[str], Truth]) -> Callable[[str], Truth]:
    """`cut_short("steady.mkv")` is the file with its last 40 % missing; the numbers are those that are left."""

    return lambda name: cut_short_by(make_video(name), tmp_path / name)
