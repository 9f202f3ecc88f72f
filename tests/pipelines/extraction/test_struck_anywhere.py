"""A real run is struck at many places: killed, or the disk is full, or writing is forbidden. Nothing is lost by it."""

import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from striking import Ended, Fault, Strike, Striker, striker

from longvid.stores import FeatureStore, verify

pytestmark = pytest.mark.faults

NOBODY = 65534
IS_ROOT = os.geteuid() == 0


class Runs:
    """Runs of one extraction into stores of one folder, which may be a small file system of its own."""

    def __init__(self, striking: Striker, videos: list[Path], folder: Path, notes: Path) -> None:
        self.striking, self.videos, self.folder, self.notes = striking, videos, folder, notes

    @property
    def store(self) -> Path:
        """Where the store lies."""
        return self.folder / "x.zarr"

    def extract(self, **strike: object) -> Ended:
        """The command, struck."""
        words = ["extract", *map(str, self.videos), "-e", "patch-statistics", "-o", str(self.store)]
        words += ["--sampling", "frames=1,fps=4,stride_seconds=0.5", "--clips-per-shard", "4", "--dtype", "int8"]
        words += ["--option", "size=32", "--option", "dim=16", "--scheduler", "inline", "--threads", "1"]
        return self.command(*words, **strike)

    def command(self, *words: str, **strike: object) -> Ended:
        """Any command, struck."""
        return self.striking.run(Strike(list(words), str(self.folder), str(self.notes), **strike))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def striking() -> Iterator[Striker]:
    """One process for all runs of this file."""
    with striker() as one:
        yield one


@pytest.fixture(scope="module")
def two_videos(video_folder: Path) -> Iterator[list[Path]]:
    """Two of the videos, where any user can read them."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield [Path(shutil.copy(video_folder / f"video-{number}.mp4", folder)) for number in (0, 2)]
    shutil.rmtree(folder)


@dataclass(frozen=True)
class Sound:
    """What no strike has touched."""

    whole: Path
    """The store of an unbroken run."""
    half: Path
    """The same store with the second video only."""
    events: list[list[str]]
    """What the unbroken run asked of the system."""


@pytest.fixture(scope="module")
def sound(striking: Striker, two_videos: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Sound:
    """Stores to copy and to compare with."""
    whole, half = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("half")
    ended = Runs(striking, two_videos, whole, whole / "notes").extract()
    assert ended.status == 0, ended.err
    assert Runs(striking, two_videos[1:], half, half / "notes").extract().status == 0
    return Sound(whole / "x.zarr", half / "x.zarr", ended.events)


@pytest.fixture
def runs(striking: Striker, two_videos: list[Path], tmp_path: Path) -> Runs:
    """In an ordinary folder."""
    folder = tmp_path / "place"
    folder.mkdir()
    return Runs(striking, two_videos, folder, tmp_path / "notes")


@pytest.fixture
def small_disk(striking: Striker, two_videos: list[Path], tmp_path: Path) -> Iterator[Runs]:
    """In a file system of 2 MiB and 400 files, which every user can write to."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    mounted = IS_ROOT and shutil.which("mount") is not None
    if mounted:
        mount = ["mount", "-t", "tmpfs", "-o", "size=2m,nr_inodes=400,mode=777", "longvid-test", str(folder)]
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    if not mounted:
        folder.rmdir()
        pytest.skip("needs to mount a small tmpfs, which this user may not")
    yield Runs(striking, two_videos, folder, tmp_path / "notes")
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
    folder.rmdir()


def files_of(store: Path) -> dict[str, bytes]:
    """Every file by its path in the store."""
    return {str(path.relative_to(store)): path.read_bytes() for path in sorted(store.rglob("*")) if path.is_file()}


def assert_finished(runs: Runs, again: Ended, sound: Sound) -> None:
    """The command that was given again made what an unbroken run makes."""
    assert again.status == 0, again.err
    assert verify(FeatureStore.open(runs.store)) == []
    assert files_of(runs.store) == files_of(sound.whole)


def assert_one_line(ended: Ended) -> str:
    """The run said in one line what went wrong; that line."""
    lines = [line for line in ended.err.splitlines() if line.strip()]
    assert ended.status in (2, 3), ended
    assert len(lines) == 1, ended.err
    assert "Traceback" not in ended.err
    return lines[0]


def points(number: int, seed: int) -> list[int]:
    """Seeded shares of a run, in thousandths, spread over all of it."""
    rng = random.Random(seed)
    return [int(1000 * (index + rng.random()) / number) for index in range(number)]


@pytest.mark.parametrize(
    "share",
    [*points(24, 0), *(pytest.param(share, marks=pytest.mark.slow) for share in points(150, 1))],
)
def test_killed_at_any_point_the_same_command_finishes_with_the_bytes_of_an_unbroken_run(
    share: int, runs: Runs, sound: Sound
) -> None:
    struck = runs.extract(fault="kill", number=share * len(sound.events) // 1000)
    assert struck.status == -9, struck
    if (runs.store / "zarr.json").exists():
        store = FeatureStore.open(runs.store)
        assert {damage.kind for damage in verify(store)} <= {"stray"}
        assert all(len(video.seconds) for video in store.videos())  # what is named can be read
    assert_finished(runs, runs.extract(), sound)


@pytest.mark.parametrize("share", points(6, 2))
def test_a_repair_killed_at_any_point_is_finished_by_the_next(share: int, runs: Runs, sound: Sound) -> None:
    damaged = {"tokens": "c.1.0.0", "scale": "c.0.0", "seconds": "c.0.0", "digests": "zarr.json"}

    def damage() -> None:
        shutil.rmtree(runs.store, ignore_errors=True)
        shutil.copytree(sound.whole, runs.store)
        for folder, name in damaged.items():
            file = runs.store / "videos" / ("video-0" if folder != "digests" else "video-2") / folder / name
            file.write_bytes(file.read_bytes()[::-1])
        (runs.store / "zarr.json").write_bytes(b"{")

    damage()
    unstruck = runs.command("repair", str(runs.store))
    assert unstruck.status == 0, unstruck.err
    damage()
    struck = runs.command("repair", str(runs.store), fault="kill", number=share * len(unstruck.events) // 1000)
    assert struck.status == -9, struck
    assert runs.command("repair", str(runs.store)).status == 0
    assert_finished(runs, runs.extract(), sound)


KINDS = {
    "root document": r"^x\.zarr/zarr\.json\.",
    "its copy": r"^x\.zarr/videos/zarr\.json\.",
    "video document": r"^x\.zarr/videos/video-0/zarr\.json\.",
    "completed document": r"^x\.zarr/videos/video-0/zarr\.json\.",
    "document of an array": r"^x\.zarr/videos/video-0/tokens/zarr\.json\.",
    "shard": r"^x\.zarr/videos/video-0/tokens/c\.1\.0\.0\.",
    "scale": r"^x\.zarr/videos/video-0/scale/c\.1\.0\.",
    "seconds": r"^x\.zarr/videos/video-0/seconds/c\.",
    "receipts": r"^x\.zarr/videos/video-0/receipts/",
    "digests": r"^x\.zarr/videos/video-0/digests/zarr\.json\.",
    "catalogue": r"^x\.zarr/catalogue/zarr\.json\.",
    "report": r"^x\.zarr\.report\.jsonl",
}
"""What a run writes, by the path of the file that is opened for it."""

OF_A_NEW_STORE = ("root document", "its copy")


def struck_at(runs: Runs, sound: Sound, kind: str, fault: Fault, uid: int | None = None) -> Ended:
    """A run in which one kind of write fails, in a store that holds a complete video already."""
    if kind not in OF_A_NEW_STORE:
        shutil.copytree(sound.half, runs.store)
        if uid is not None:
            subprocess.run(["chown", "-R", str(uid), str(runs.store)], check=True)
    struck = runs.extract(fault=fault, opened=KINDS[kind], occurrence=int(kind == "completed document"), uid=uid)
    if kind not in OF_A_NEW_STORE:
        store = FeatureStore.open(runs.store)
        assert store.status("video-2") == "complete"
        assert {damage.kind for damage in verify(store)} <= {"stray"}
    return struck


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", ["full", "no inodes"])
def test_a_disk_that_is_full_at_any_kind_of_write_is_one_line_and_the_next_run_finishes(
    fault: Fault, kind: str, small_disk: Runs, sound: Sound
) -> None:
    line = assert_one_line(struck_at(small_disk, sound, kind, fault))
    assert "No space left on device" in line
    assert "x.zarr" in line
    (small_disk.folder / "filler").unlink(missing_ok=True)
    shutil.rmtree(small_disk.folder / "fillers", ignore_errors=True)
    assert_finished(small_disk, small_disk.extract(), sound)


@pytest.mark.parametrize("kind", KINDS)
def test_a_limit_of_file_sizes_at_any_kind_of_write_is_one_line_and_the_next_run_finishes(
    kind: str, runs: Runs, sound: Sound
) -> None:
    line = assert_one_line(struck_at(runs, sound, kind, "largest file"))
    assert "File too large" in line
    assert "x.zarr" in line
    assert_finished(runs, runs.extract(), sound)


@pytest.mark.parametrize("kind", KINDS)
def test_writing_that_is_forbidden_at_any_kind_of_write_is_one_line_and_the_next_run_finishes(
    kind: str, small_disk: Runs, sound: Sound
) -> None:
    """As another user, since the superuser may write anywhere."""
    os.chown(small_disk.folder, NOBODY, NOBODY)
    line = assert_one_line(struck_at(small_disk, sound, kind, "forbidden", NOBODY))
    assert "Permission denied" in line
    assert "x.zarr" in line
    subprocess.run(["chmod", "-R", "u+rwX,a+rX", str(small_disk.folder)], check=True)
    assert_finished(small_disk, small_disk.extract(uid=NOBODY), sound)
