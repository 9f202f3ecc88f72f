"""Videos at URLs and in tar shards give what local files give, or one line that says why not."""

import io
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from failing_proxy import FailingProxy
from file_server import FileServer, Part

from longvid.errors import ConfigError, UnreadableVideo, VideoNotFound, VideoUnreachable
from longvid.video import VideoProbe, iter_frames, probe
from longvid.video.checksum import require_sha256
from longvid.video.content import checks, modified
from longvid.video.remote import BLOCK_BYTES, RemoteFile
from longvid.video.source import open_source, shard_members, size_of, source_of
from longvid.video.staging import PUTS_A_TIDYING, Staging, file_id, staging
from longvid.video.storage import Storage, without_secrets
from longvid.video.traffic import counted_traffic

SIZE: dict[str, Any] = {"height": 48, "width": 60}

pytestmark = pytest.mark.faults


@pytest.fixture
def proxy(file_server: FileServer) -> Iterator[FailingProxy]:
    """A bad network before the file server."""
    with FailingProxy(file_server.url, stall_seconds=1.5).running() as running:
        yield running


def served(server: FileServer, path: Path, name: str | None = None) -> str:
    """The URL of a copy of the file."""
    target = server.folder / (name or path.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target)
    return f"{server.url}/{target.relative_to(server.folder).as_posix()}"


def facts(video: VideoProbe) -> tuple[Any, ...]:
    """All that was measured of a video, apart from its name."""
    measured = video.measured
    return (
        *(video.stream_index, video.size_bytes, video.fingerprint, video.header, video.problems, video.truncated),
        *(video.packets_crc32c, video.damage, measured.frame_pts.tolist(), measured.keyframe_indices.tolist()),
        *(measured.time_base, measured.end_pts, measured.has_presentation_times),
    )


def frames(video: VideoProbe, backend: str = "pyav") -> np.ndarray:
    """Ten pictures along the video."""
    seconds = np.linspace(video.begin_seconds, video.end_seconds, 10, endpoint=False)
    return np.stack(list(iter_frames(video, seconds, backend=backend, allow_truncated=True, **SIZE)))


def test_a_file_behind_a_url_is_measured_and_decoded_as_the_file_is(truth: Any, file_server: FileServer) -> None:
    url = served(file_server, truth.path)
    local = probe(truth.path)
    with counted_traffic() as traffic:
        there = probe(url)
    assert facts(there) == facts(local)
    assert traffic.read_bytes == truth.path.stat().st_size
    assert traffic.requests == len(file_server.asked)
    np.testing.assert_array_equal(frames(there), frames(local))
    assert traffic.requests == len(file_server.asked), "decoding reads what this process holds"


def test_torchcodec_decodes_a_file_behind_a_url_and_decord_says_that_it_cannot(
    backend: str, make_video: Callable[[str], Any], file_server: FileServer
) -> None:
    truth = make_video("steady.mp4")
    there = probe(served(file_server, truth.path))
    if backend == "decord":
        with pytest.raises(UnreadableVideo, match="local files only; use PyAV"):
            frames(there, backend)
    else:
        np.testing.assert_array_equal(frames(there, backend), frames(probe(truth.path), backend))


@pytest.mark.parametrize("name", ["mpeg4.avi", "steady.mkv", "flash.flv"])
def test_a_file_cut_short_is_found_to_be_so_behind_a_url(
    name: str, cut_short: Callable[[str], Any], file_server: FileServer
) -> None:
    path = cut_short(name).path
    url = served(file_server, path)
    assert facts(probe(url)) == facts(probe(path))
    assert probe(url).truncated


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_a_network_that_fails_changes_no_picture(
    share: float, make_video: Callable[[str], Any], file_server: FileServer, proxy: FailingProxy, tmp_path: Path
) -> None:
    truth = make_video("steady.mp4")
    padded = tmp_path / "padded.mp4"
    with padded.open("wb") as out:  # twelve blocks, so that many requests are made
        out.write(truth.path.read_bytes())
        size_bytes = 12 * BLOCK_BYTES - out.tell()
        out.write(size_bytes.to_bytes(4, "big") + b"free" + bytes(size_bytes - 8))
    proxy.share = share
    storage = Storage(retries=9, stall_seconds=0.4)
    expected = probe(padded)
    for seed in range(3):
        served(file_server, padded, f"padded-{seed}.mp4")
        proxy.seed(seed)
        with counted_traffic() as traffic:
            there = probe(f"{proxy.url}/padded-{seed}.mp4", storage=storage)
            require_sha256(there.path, checks("", path=padded)["sha256"])
        assert facts(there) == facts(expected)
        np.testing.assert_array_equal(frames(there), frames(expected))
        assert traffic.retries <= sum(count for fault, count in proxy.happened.items() if fault)
        assert traffic.read_bytes >= padded.stat().st_size


def test_what_fails_each_time_is_asked_as_often_as_stated_and_never_taken_for_a_short_file(
    make_video: Callable[[str], Any], file_server: FileServer
) -> None:
    url = served(file_server, make_video("steady.mp4").path)
    file_server.statuses = {"/steady.mp4": 503}
    with pytest.raises(VideoUnreachable, match=r"HTTP 503, asked 3 times\); run the same command again later"):
        probe(url, storage=Storage(retries=2))
    file_server.statuses.clear()
    there = probe(url, storage=Storage(retries=2))
    assert not there.truncated


@pytest.mark.parametrize(("status", "error"), [(403, VideoUnreachable), (404, VideoNotFound), (410, VideoNotFound)])
def test_a_refusal_is_asked_about_once_more_and_named(
    status: int, error: type[Exception], make_video: Callable[[str], Any], file_server: FileServer
) -> None:
    url = served(file_server, make_video("steady.mp4").path, "x.mp4")
    file_server.statuses = {"/x.mp4": status}
    with pytest.raises(error, match=f"HTTP {status}, asked 2 times"):
        probe(url)
    assert len(file_server.asked) <= 4, "each look is a HEAD, and a GET where that is refused"


def test_an_expired_link_is_named_without_its_signature(
    make_video: Callable[[str], Any], file_server: FileServer
) -> None:
    url = served(file_server, make_video("steady.mp4").path, "x.mp4")
    file_server.signature = "X-Amz-Signature=new"
    assert facts(probe(f"{url}?X-Amz-Signature=new"))
    with pytest.raises(VideoUnreachable, match="its link may have expired") as expired:
        probe(f"{url}?X-Amz-Signature=old")
    assert "X-Amz" not in str(expired.value)
    assert str(expired.value).startswith(url)


def test_a_server_without_ranges_gives_the_whole_file_once(
    make_video: Callable[[str], Any], file_server: FileServer, proxy: FailingProxy
) -> None:
    truth = make_video("steady.mp4")
    url = served(file_server, truth.path)
    file_server.gives_ranges = False
    with counted_traffic() as traffic:
        there = probe(url)
    assert facts(there) == facts(probe(truth.path))
    assert traffic.read_bytes == truth.path.stat().st_size
    assert [method for method, _, _ in file_server.asked].count("GET") == 1
    proxy.share = 0.3
    again = probe(f"{proxy.url}/{truth.path.name}", storage=Storage(retries=9, stall_seconds=0.4))
    assert facts(again) == facts(there)


def told(start: int, stop: int, whole: object) -> dict[str, str]:
    return {"Content-Range": f"bytes {start}-{stop - 1}/{whole}"}


WRONG: dict[str, Part] = {
    "another part of the same length": lambda start, stop, data: (
        *(206, told(max(0, start - 99), stop - min(99, start), len(data))),
        data[max(0, start - 99) : stop - min(99, start)],
    ),
    "the start, whatever is asked for": lambda start, stop, data: (
        *(206, told(0, stop - start, len(data))),
        data[: stop - start],
    ),
    "a part of another file": lambda start, stop, data: (
        206,
        told(start, stop, 10 * len(data)),
        data[start:stop][::-1],
    ),
    "too few bytes": lambda start, stop, data: (206, told(start, stop, len(data)), data[start : stop - 1]),
    "fewer bytes, as it says": lambda start, stop, data: (
        206,
        told(start, stop - 1, len(data)),
        data[start : stop - 1],
    ),
    "too many bytes": lambda start, stop, data: (206, told(start, stop, len(data)), data[start:stop] + b"x"),
    "more bytes, as it says": lambda start, stop, data: (
        206,
        told(start, stop + 1, len(data)),
        data[start:stop] + b"x",
    ),
    "nothing": lambda start, stop, data: (206, told(start, stop, len(data)), b""),
}
WHOLE: dict[str, Part] = {
    "the whole file with status 200": lambda start, stop, data: (200, {}, data),
    "the whole file with status 206": lambda start, stop, data: (206, {}, data),
    "another part, without saying so": lambda start, stop, data: (206, {}, data[: stop - start]),
    "a page that says something else, as long as the part": lambda start, stop, data: (200, {}, bytes(stop - start)),
    "a range that makes no sense": lambda start, stop, data: (206, {"Content-Range": "bytes"}, data[start:stop][::-1]),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_answer_with_other_bytes_than_were_asked_for_is_never_taken_for_them(
    name: str, file_server: FileServer, tmp_path: Path
) -> None:
    (tmp_path / "film").write_bytes(np.random.default_rng(0).bytes(3 * BLOCK_BYTES + 1000))
    url = served(file_server, tmp_path / "film")
    file_server.part = WRONG[name]
    with open_source(source_of(url, Storage(retries=1))) as opened:
        opened.seek(BLOCK_BYTES)
        with pytest.raises(VideoUnreachable, match=r"cannot be read \(.*, asked 2 times\); run the same command again"):
            opened.read(10)


@pytest.mark.parametrize("name", WHOLE)
def test_of_a_server_that_does_not_say_which_part_it_gives_the_whole_file_is_read(
    name: str, file_server: FileServer, tmp_path: Path
) -> None:
    content = np.random.default_rng(1).bytes(3 * BLOCK_BYTES + 1000)
    (tmp_path / "film").write_bytes(content)
    url = served(file_server, tmp_path / "film")
    file_server.part = WHOLE[name]
    with open_source(source_of(url, Storage(retries=1))) as opened:
        opened.seek(BLOCK_BYTES)
        assert opened.read(10) == content[BLOCK_BYTES : BLOCK_BYTES + 10]
        opened.seek(0)
        assert opened.read() == content


def test_bytes_of_two_versions_are_never_mixed(file_server: FileServer, tmp_path: Path) -> None:
    first, second = bytes(3 * 8 * BLOCK_BYTES), bytes([1]) * (3 * 8 * BLOCK_BYTES)
    (tmp_path / "first").write_bytes(first)
    file = source_of(served(file_server, tmp_path / "first", "x.bin"))
    with open_source(file) as opened:
        assert opened.read(10) == first[:10]
        (file_server.folder / "x.bin").write_bytes(second)
        with pytest.raises(VideoUnreachable, match="replaced while it was being read"):
            opened.read()
    assert isinstance(file, RemoteFile)
    file.look()
    with open_source(file) as opened:
        assert opened.read() == second


def test_a_playlist_behind_a_url_is_refused_and_no_other_file_is_asked_for(
    make_video: Callable[[str], Any], file_server: FileServer, tmp_path: Path
) -> None:
    film = served(file_server, make_video("transport.ts").path, "film.ts")
    texts = {
        "list.m3u8": f"#EXTM3U\n#EXTINF:2,\n{film}\n#EXT-X-ENDLIST\n",
        "list.mp4": f"ffconcat version 1.0\nfile '{film}'\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(UnreadableVideo, match="names other files; give those files themselves"):
            probe(served(file_server, tmp_path / name))
    assert not [asked for asked in file_server.asked if "film.ts" in asked[1]]


def shard(path: Path, files: dict[str, Path], mode: str = "w") -> Path:
    """A tar of the files under these names, with a label beside each as WebDataset has."""
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, file in files.items():
            tar.add(file, name)
            label = tarfile.TarInfo(f"{Path(name).with_suffix('')}.cls")
            label.size = 1
            tar.addfile(label, io.BytesIO(b"7"))
    return path


@pytest.mark.parametrize("where", ["local", "web"])
def test_members_of_a_tar_are_read_by_their_offsets(
    where: str, make_video: Callable[[str], Any], file_server: FileServer, tmp_path: Path
) -> None:
    originals = {"a/1.mp4": make_video("steady.mp4").path, "a/2.mkv": make_video("steady.mkv").path}
    path = shard(tmp_path / "shard.tar", originals)
    place = str(path) if where == "local" else served(file_server, path)
    members = shard_members(place, Storage())
    assert set(members) == {"a/1.mp4", "a/1.cls", "a/2.mkv", "a/2.cls"}
    for name, original in originals.items():
        offset = path.read_bytes().index(original.read_bytes())
        assert members[name] == f"tar://{name}@{offset}+{original.stat().st_size}::{place}"
        for text in (members[name], f"tar://{name}::{place}"):
            found = probe(text)
            assert facts(found) == facts(probe(original))
            np.testing.assert_array_equal(frames(found), frames(probe(original)))
            assert str(found.path) == f"tar://{name}::{place}"
    with pytest.raises(VideoNotFound, match=r"the shard has no member 'a/3\.mp4'"):
        probe(f"tar://a/3.mp4::{place}")


def test_a_shard_that_is_compressed_or_cut_is_named(make_video: Callable[[str], Any], tmp_path: Path) -> None:
    film = make_video("steady.mp4").path
    packed = shard(tmp_path / "packed.tar", {"1.mp4": film}, "w:gz")
    with pytest.raises(UnreadableVideo, match="not a whole, uncompressed tar"):
        shard_members(str(packed), Storage())
    whole = shard(tmp_path / "whole.tar", {"1.mp4": film, "2.mp4": film})
    member = shard_members(str(whole), Storage())["2.mp4"]
    cut = tmp_path / "cut.tar"
    cut.write_bytes(whole.read_bytes()[: film.stat().st_size + 5000])
    with pytest.raises(VideoUnreachable, match="its shard ends at byte"):
        probe(member.replace("whole.tar", "cut.tar"))
    with pytest.raises(ConfigError, match=r"named as tar://MEMBER::SHARD\.tar"):
        probe("tar://a.mp4")


def test_secrets_are_in_no_text_of_what_holds_them() -> None:
    storage = Storage({"s3": {"key": "AKIAEXAMPLE", "secret": "very-secret", "endpoint_url": "http://s3.lab"}})
    file = RemoteFile("https://lab.org/a.mp4?X-Amz-Signature=123456&b=2", storage)
    for text in (
        repr(storage),
        repr(file),
        str(file),
        storage.hide("refused very-secret at http://s3.lab?x=AKIAEXAMPLE"),
    ):
        assert not any(secret in text for secret in ("AKIA", "very-secret", "123456"))
    assert str(file) == "https://lab.org/a.mp4"
    assert without_secrets("no s3://user:pass@h/a?b=1, or it's") == "no s3://h/a, or it's"
    assert pickle.loads(pickle.dumps(file)) == file


def test_options_are_those_of_the_longest_start_of_the_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_SECRET", "from the environment")
    storage = Storage.read(
        {"s3": {"key": "a"}, "s3://lab/": {"secret": "${LAB_SECRET}", "nested": {"x": "$LAB_SECRET"}}}
    )
    assert storage.options_of("s3://other/x.mp4") == {"key": "a"}
    assert storage.options_of("s3://lab/x.mp4")["secret"] == "from the environment"
    assert storage.options_of("s3://lab/x.mp4")["nested"] == {"x": "from the environment"}
    assert storage.options_of("gs://lab/x.mp4") == {}
    with pytest.raises(ConfigError, match=r"storage\.s3\.key: the variable NOT_SET is not set"):
        Storage.read({"s3": {"key": "$NOT_SET"}})
    with pytest.raises(ConfigError, match="named options for each protocol") as refused:
        Storage({"s3": "top-secret"})  # type: ignore[dict-item]
    assert "top-secret" not in str(refused.value)


def test_a_local_path_stays_a_local_path(tmp_path: Path) -> None:
    (tmp_path / "a b.mp4").write_bytes(b"x")
    assert source_of((tmp_path / "a b.mp4").as_uri()) == tmp_path / "a b.mp4"
    assert size_of(source_of(str(tmp_path / "a b.mp4"))) == 1
    assert modified(tmp_path / "a b.mp4") == {"mtime_ns": (tmp_path / "a b.mp4").stat().st_mtime_ns}


def test_blocks_are_kept_on_the_disk_for_other_processes_and_never_believed_when_they_are_broken(
    make_video: Callable[[str], Any], file_server: FileServer, tmp_path: Path
) -> None:
    truth = make_video("steady.mp4")
    url = served(file_server, truth.path)
    expected = facts(probe(url))
    (block,) = [path for path in (tmp_path / "staging").rglob("*") if path.is_file()]
    code = (
        "import sys; from longvid.video import probe; from longvid.video.traffic import counted_traffic\n"
        f"with counted_traffic() as traffic: found = probe({url!r})\n"
        "print(traffic.read_bytes, found.packets_crc32c)"
    )

    def in_another_process() -> list[str]:
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert in_another_process() == ["0", expected[6]]
    block.write_bytes(b"x" + block.read_bytes()[1:])
    assert in_another_process() == [str(truth.path.stat().st_size), expected[6]]


def test_staging_makes_room_and_is_refused_where_others_could_look_in(tmp_path: Path, monkeypatch: Any) -> None:
    kept = Staging(tmp_path / "staging", 10_000)
    for number in range(2 * PUTS_A_TIDYING + 1):
        kept.put(file_id("s3://a"), number, bytes(1000))
        os.utime(tmp_path / "staging" / file_id("s3://a") / str(number), (number, time.time() + number))
    held = [number for number in range(2 * PUTS_A_TIDYING + 1) if kept.holds(file_id("s3://a"), number)]
    assert held[0] > 0
    assert held[-1] == 2 * PUTS_A_TIDYING, "the least recently used went"
    assert len(held) <= 11
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o755)
    monkeypatch.setenv("LONGVID_STAGING", str(tmp_path / "open"))
    assert staging() is None
