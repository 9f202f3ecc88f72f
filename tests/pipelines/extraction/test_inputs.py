"""From files, folders and manifests to keys."""

from pathlib import Path

import pytest

from longvid.errors import ConfigError, VideoNotFound
from longvid.pipelines.extraction import VideoRequest, expand_inputs


def test_a_file_is_keyed_by_its_name_and_a_folders_video_by_its_path_inside(tmp_path: Path) -> None:
    for name in ("one.mp4", "deep/er/two.MKV", "deep/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert expand_inputs([tmp_path / "one.mp4"]) == [VideoRequest("one", str(tmp_path / "one.mp4"))]
    assert [request.key for request in expand_inputs([tmp_path])] == ["deep/er/two", "one"]


def test_two_files_of_one_name_are_refused_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cam01/a.avi and .*cam02/a.avi .*folder that holds both"):
        expand_inputs([tmp_path / "cam01/a.avi", tmp_path / "cam02/a.avi"])


def test_a_file_named_twice_is_one_video(tmp_path: Path) -> None:
    assert len(expand_inputs([tmp_path / "a.avi", tmp_path / "a.avi"])) == 1


def test_a_folder_without_videos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VideoNotFound, match="holds no video"):
        expand_inputs([tmp_path])


def test_a_file_that_is_not_there_is_kept_for_the_report(tmp_path: Path) -> None:
    assert expand_inputs([tmp_path / "absent.mp4"])[0].key == "absent"


def test_files_of_a_folder_that_differ_only_in_their_ending_keep_it(tmp_path: Path) -> None:
    for name in ("a.mkv", "a.mp4", "b.mp4"):
        (tmp_path / name).touch()
    assert [request.key for request in expand_inputs([tmp_path])] == ["a.mkv", "a.mp4", "b"]


def test_a_link_to_nothing_is_named_and_a_linked_folder_is_searched_once(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/there.mp4").touch()
    folder = tmp_path / "videos"
    (folder / "real").mkdir(parents=True)
    (folder / "real/own.mp4").touch()
    (folder / "gone.mp4").symlink_to("nowhere.mp4")
    (folder / "again").symlink_to(folder / "real")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "loop").symlink_to(folder)
    assert [request.key for request in expand_inputs([folder])] == ["gone", "linked/there", "real/own"]
