"""Tar shards: whatever their headers say, names are names and numbers are bounded."""

import io
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from file_server import FileServer
from hypothesis import given
from hypothesis import strategies as st

from longvid.errors import ConfigError, UnreadableVideo
from longvid.pipelines.extraction import expand_inputs
from longvid.video.source import open_source, shard_members, source_key, source_of
from longvid.video.storage import Storage

pytestmark = pytest.mark.faults


@pytest.fixture(autouse=True)
def ends() -> Iterator[None]:
    """No header makes a reader wait: 20 seconds are an error."""

    def end(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def header(size: bytes, kind: bytes) -> bytes:
    """A member's header, its size field and its type as given, with the right checksum."""
    info = tarfile.TarInfo("a.mp4")
    info.type = kind
    made = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    made[124:136] = size
    made[148:156] = b"%06o\0 " % (sum(made[:148]) + 8 * 32 + sum(made[156:512]))
    return bytes(made)


def of_names(path: Path, *names: str) -> Path:
    """A shard whose members hold their own names."""
    with tarfile.open(path, "w") as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(name.encode())
            tar.addfile(info, io.BytesIO(name.encode()))
    return path


def members_or_refusal(shard: Path) -> dict[str, str] | str:
    """What is found in a shard, or the message that it is refused with."""
    try:
        return shard_members(str(shard), Storage())
    except UnreadableVideo as error:
        return str(error)


SIZES = {
    "a little below zero": b"\xff" + (256**11 - 512).to_bytes(11, "big"),
    "below zero": b"\xff" + (256**11 - 1024).to_bytes(11, "big"),
    "2^62": b"\x80" + (2**62).to_bytes(11, "big"),
    "beyond 64 bits": b"\x80" + b"\xff" * 11,
}
KINDS = {"file": b"0", "pax": b"x", "global pax": b"g", "long name": b"L", "long link": b"K", "sparse": b"S"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES)
def test_a_size_that_none_can_have_is_one_line_or_no_member(size: str, kind: str, tmp_path: Path) -> None:
    shard = tmp_path / "s.tar"
    shard.write_bytes(header(SIZES[size], KINDS[kind]) + bytes(4096))
    found = members_or_refusal(shard)
    if isinstance(found, str):
        assert "not a whole, uncompressed tar" in found
        assert "\n" not in found
    else:  # Python's own reader passes over it
        assert not found


@pytest.mark.parametrize(
    "told", [b"99999999999999999999 path=x\n", b"27 GNU.sparse.size=abc\n", b"3 =\n", b"\n\n0 a=b\n"]
)
def test_a_pax_header_that_makes_no_sense_is_one_line_or_passed_over(told: bytes, tmp_path: Path) -> None:
    shard = tmp_path / "s.tar"
    extended = header(b"%011o\0" % len(told), b"x") + told.ljust(512, b"\0")
    shard.write_bytes(extended + header(b"%011o\0" % 512, b"0") + bytes(512 + 1024))
    found = members_or_refusal(shard)
    assert "\n" not in found if isinstance(found, str) else len(found) == 1


def test_a_member_named_like_a_place_is_read_from_its_own_shard(file_server: FileServer, tmp_path: Path) -> None:
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(b"not in the shard")
    names = [
        f"a@0+9::{file_server.url}/asked?.mp4",
        f"a@0+9::{secret}",
        f"a::{secret}",
        "../../up.mp4",
        "/absolute.mp4",
        "%3A%3A::%253A.mp4",
        "two\nlines.mp4",
        "a@1+2.mp4",
    ]
    shard = of_names(tmp_path / "s.tar", *names)
    members = shard_members(str(shard), Storage())
    assert list(members) == names
    for name, path in members.items():
        with open_source(source_of(path)) as file:
            assert file.read() == name.encode()
        assert source_key(path) == str(Path(name).with_suffix(""))
    assert len(expand_inputs([shard])) == len(names)
    assert not file_server.asked


@given(st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=20))
def test_any_name_of_a_member_comes_back(name: str) -> None:
    from longvid.video.source import _as_named, _written

    assert "::" not in _written(name)
    assert _as_named(_written(name)) == name


@given(st.sampled_from(["", "a"]), st.lists(st.sampled_from(["%", "25", "3A", ":", "::", "@1+2"]), max_size=8))
def test_a_name_of_escapes_comes_back(start: str, parts: list[str]) -> None:
    from longvid.video.source import _as_named, _written

    name = start + "".join(parts)
    assert "::" not in _written(name)
    assert _as_named(_written(name)) == name


def shard_of_odd_members(path: Path) -> Path:
    """A shard with a file, a hard link to it, a symbolic link, a pipe and a device, all named like videos."""
    odd = {"hard.mp4": tarfile.LNKTYPE, "soft.mp4": tarfile.SYMTYPE, "pipe.mp4": tarfile.FIFOTYPE}
    with tarfile.open(path, "w") as tar:
        file = tarfile.TarInfo("file.mp4")
        file.size = 8
        tar.addfile(file, io.BytesIO(b"not much"))
        for name, kind in (odd | {"device.mp4": tarfile.CHRTYPE, "folder.mp4": tarfile.DIRTYPE}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "file.mp4"
            tar.addfile(info)
    return path


def test_a_hard_link_in_a_shard_is_the_file_that_it_names(tmp_path: Path) -> None:
    members = shard_members(str(shard_of_odd_members(tmp_path / "s.tar")), Storage())
    assert list(members) == ["file.mp4", "hard.mp4"]
    with open_source(source_of(members["hard.mp4"])) as file:
        assert file.read() == b"not much"


def test_a_member_named_like_a_video_that_cannot_be_read_in_parts_is_asked_for_and_refused_by_name(
    tmp_path: Path,
) -> None:
    shard = shard_of_odd_members(tmp_path / "s.tar")
    paths = {request.key: request.path for request in expand_inputs([shard])}
    assert list(paths) == ["file", "hard", "soft", "pipe", "device"]
    for name, kind in {"soft": "a symbolic link", "pipe": "not a file", "device": "not a file"}.items():
        with pytest.raises(UnreadableVideo, match=f"s.tar: member '{name}.mp4' is {kind}; unpack the tar"):
            source_of(paths[name])


@pytest.mark.parametrize("format", ["gnu", "posix"])
def test_a_sparse_member_is_refused_by_name_and_the_others_are_read(format: str, tmp_path: Path) -> None:
    with (tmp_path / "sparse.mp4").open("wb") as file:
        file.truncate(2**20)
        file.write(b"a start")
    (tmp_path / "whole.mp4").write_bytes(b"whole")
    shard = tmp_path / "s.tar"
    command = ["tar", "--sparse", f"--format={format}", "-C", str(tmp_path), "-cf", str(shard)]
    subprocess.run([*command, "sparse.mp4", "whole.mp4"], check=True)
    paths = {request.key: request.path for request in expand_inputs([shard])}
    assert list(paths) == ["whole", "sparse"]
    with open_source(source_of(paths["whole"])) as file:
        assert file.read() == b"whole"
    with pytest.raises(UnreadableVideo, match=r"s.tar: member 'sparse.mp4' is stored sparsely; pack .* without --sp"):
        source_of(paths["sparse"])


def test_two_members_of_one_key_are_named_as_they_are_in_the_shard(tmp_path: Path) -> None:
    shard = of_names(tmp_path / "s.tar", "a.mp4", "a.mkv")
    with pytest.raises(ConfigError, match=r"tar://a\.mp4::.*s\.tar and tar://a\.mkv::.*s\.tar would both be stored"):
        expand_inputs([shard])


def test_of_two_members_of_one_name_the_last_counts_as_when_it_is_unpacked(tmp_path: Path) -> None:
    shard = tmp_path / "s.tar"
    with tarfile.open(shard, "w") as tar:
        for content in (b"first", b"second"):
            info = tarfile.TarInfo("a.mp4")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    (path,) = shard_members(str(shard), Storage()).values()
    with open_source(source_of(path)) as file:
        assert file.read() == b"second"
