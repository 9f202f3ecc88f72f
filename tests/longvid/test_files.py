"""A file that is written appears whole or not at all, and nothing is left beside it."""

import os
import stat

import pytest

from longvid.files import read_json, replacing, write_bytes, write_json


class Stopped(BaseException):
    """What ends a block in the middle, as Ctrl-C does."""


def test_the_folders_are_made_and_the_file_is_all_there_is(tmp_path):
    write_bytes(tmp_path / "new" / "folder" / "file.bin", b"content", flush=True)
    assert (tmp_path / "new" / "folder" / "file.bin").read_bytes() == b"content"
    assert os.listdir(tmp_path / "new" / "folder") == ["file.bin"]


@pytest.mark.parametrize("error", [OSError, ValueError, Stopped])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path, error):
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")

    def half() -> None:
        with replacing(path) as temporary:
            temporary.write_bytes(b"ha")
            assert path.read_bytes() == b"old"
            raise error

    with pytest.raises(error):
        half()
    assert (os.listdir(tmp_path), path.read_bytes()) == (["file.bin"], b"old")


def test_a_block_that_writes_nothing_is_an_error_and_the_old_file_stays(tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    with pytest.raises(FileNotFoundError), replacing(path):
        pass
    assert path.read_bytes() == b"old"


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    path = tmp_path / "file.bin"
    with replacing(path) as first, replacing(path) as second:
        first.write_bytes(b"first")
        second.write_bytes(b"second")
    assert (os.listdir(tmp_path), path.read_bytes()) == (["file.bin"], b"first")


def test_a_folder_of_that_name_is_named_and_stays(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(IsADirectoryError, match="is a folder; give a file name"):
        write_bytes(tmp_path / "taken", b"content")
    assert os.listdir(tmp_path) == ["taken"]


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_a_file_has_the_permissions_of_any_other(tmp_path):
    write_bytes(tmp_path / "ours", b"")
    (tmp_path / "plain").write_bytes(b"")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ours", "plain")}
    assert len(modes) == 1


def test_a_json_document_comes_back_and_what_json_cannot_say_is_refused(tmp_path):
    path, value = tmp_path / "a.json", {"ü": [1, None, "x"], "b": 0.1}
    write_json(path, value)
    assert read_json(path) == value
    with pytest.raises(ValueError, match="Out of range"):
        write_json(path, float("nan"))
    assert read_json(path) == value
    with pytest.raises(ValueError, match="longer than 4 bytes"):
        read_json(path, most_bytes=4)
