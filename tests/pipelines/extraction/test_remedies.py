"""What a message says to do is done, and helps."""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from longvid.errors import AnnotationError, ConfigError
from longvid.pipelines.cli import main
from longvid.pipelines.extraction import ExtractionJob, VideoRequest, expand_inputs, extract
from longvid.pipelines.extraction.piece import Piece
from longvid.stores import FeatureStore

ROOT = Path(__file__).parents[3]


def longvid(*words: str) -> int:
    """The status of a command of ours, run here."""
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_two_files_of_one_name_are_told_apart_by_their_folder_as_the_message_says(
    requests: list[VideoRequest], tmp_path: Path
) -> None:
    files = [tmp_path / folder / "x.mp4" for folder in ("one", "two")]
    for file in files:
        file.parent.mkdir()
        shutil.copy(requests[2].path, file)
    with pytest.raises(ConfigError, match="give the folder that holds both"):
        expand_inputs(files)
    assert [request.key for request in expand_inputs([tmp_path])] == ["one/x", "two/x"]


def test_a_manifest_without_paths_is_mended_by_a_path_column_as_the_message_says(tmp_path: Path) -> None:
    manifest = tmp_path / "m.csv"
    manifest.write_text("key,split\na,train\n")
    with pytest.raises(AnnotationError, match="add a `path` column"):
        expand_inputs([manifest])
    manifest.write_text(f"key,split,path\na,train,{tmp_path / 'a.mp4'}\n")
    assert [request.key for request in expand_inputs([manifest])] == ["a"]


def test_a_truncated_file_is_extracted_with_the_option_that_its_row_names(
    requests: list[VideoRequest], job: ExtractionJob, tmp_path: Path
) -> None:
    whole = tmp_path / "whole.mkv"
    subprocess.run(["ffmpeg", "-loglevel", "error", "-i", requests[1].path, "-c", "copy", str(whole)], check=True)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    asked = [VideoRequest("cut", str(cut))]
    refused = extract(asked, job, tmp_path / "x.zarr", scheduler="inline")
    assert "--allow-truncated" in refused.failed[0].reason
    report = extract(asked, replace(job, allow_truncated=True), tmp_path / "x.zarr", scheduler="inline")
    assert [row.status for row in report.rows] == ["done"]


def test_a_file_that_changed_under_way_is_extracted_after_the_command_that_its_row_names(
    requests: list[VideoRequest], job: ExtractionJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from longvid.pipelines.extraction import plan

    path = tmp_path / "a video.mp4"
    shutil.copy(requests[0].path, path)
    pieces = plan.VideoPlan.pieces

    def swap(self: plan.VideoPlan, store: FeatureStore) -> list[Piece]:
        made = list(pieces(self, store))
        shutil.copy(requests[1].path, path)  # between the plan and the decoding
        return made

    monkeypatch.setattr(plan.VideoPlan, "pieces", swap)
    asked = [VideoRequest("a video", str(path))]
    reason = extract(asked, job, tmp_path / "x.zarr", scheduler="inline").failed[0].reason
    assert "changed while it was being extracted" in reason
    monkeypatch.undo()
    (told,) = re.findall("`longvid (.*?)`", reason)
    assert longvid(*shlex.split(told)) == 0
    assert extract(asked, job, tmp_path / "x.zarr", scheduler="inline").rows[0].status == "done"


def test_a_replaced_file_is_extracted_after_the_deletion_that_its_row_asks_for(
    requests: list[VideoRequest], job: ExtractionJob, tmp_path: Path
) -> None:
    path = tmp_path / "video.mp4"
    asked = [VideoRequest("video", str(path))]
    shutil.copy(requests[0].path, path)
    extract(asked, job, tmp_path / "x.zarr", scheduler="inline")
    shutil.copy(requests[1].path, path)
    assert "delete the video" in extract(asked, job, tmp_path / "x.zarr", scheduler="inline").failed[0].reason
    assert longvid("delete", str(tmp_path / "x.zarr"), "video") == 0
    assert extract(asked, job, tmp_path / "x.zarr", scheduler="inline").rows[0].status == "done"


def test_a_recipe_for_another_encoder_keeps_what_this_one_can_and_names_what_it_cannot(
    video_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["extract", str(video_folder / "video-2.mp4"), "-e", "patch-statistics", "--scheduler", "inline"]
    assert longvid(*words, "-o", str(tmp_path / "x.zarr"), "--recipe", "lvu/relationship") == 2
    said = capsys.readouterr().err
    assert "pooling='class'" in said
    assert "lvu/relationship asks for" in said
    assert "--pooling" in said
    assert longvid(*words, "-o", str(tmp_path / "x.zarr"), "--recipe", "lvu/relationship", "--pooling", "mean") == 0
    recipe = FeatureStore.open(tmp_path / "x.zarr").recipe
    assert recipe.pooling == "mean"
    assert (recipe.sampling["fps"], recipe.sampling["stride_seconds"]) == (1.0, 1.0)
    assert longvid(*words, "-o", str(tmp_path / "y.zarr"), "--recipe", "breakfast-segmentation") == 0
    recipe = FeatureStore.open(tmp_path / "y.zarr").recipe
    assert recipe.pooling == "mean"
    assert (recipe.sampling["frames"], recipe.sampling["fps"]) == (16, 15.0)
    assert "options of breakfast-segmentation are for torchvision:swin3d_b" in capsys.readouterr().err


def test_a_sampling_that_an_encoder_cannot_take_is_one_line_that_names_the_recipe(
    video_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["extract", str(video_folder / "video-2.mp4"), "-e", "xvit-b16-16f", "--scheduler", "inline"]
    words += ["--weights", "random", "--option", "depth=1", "--pooling", "mean", "-o", str(tmp_path / "x.zarr")]
    assert longvid(*words, "--recipe", "lvu/relationship") == 2
    said = capsys.readouterr().err
    assert "--sampling" in said
    assert "lvu/relationship asks for sampling" in said
    assert len([line for line in said.splitlines() if line.startswith("error")]) == 1


def test_every_extra_that_a_message_names_exists() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {
        name
        for room in ("longvid", "stores", "pipelines")
        for file in (ROOT / room).rglob("*.py")
        for name in re.findall(r"longvid\[(\w+)\]", file.read_text())
    }
    assert named
    assert named <= extras.keys()


def test_a_name_with_a_colon_is_a_file_from_its_own_folder_too(
    requests: list[VideoRequest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(requests[2].path, tmp_path / "col:on.mp4")
    monkeypatch.chdir(tmp_path)
    words = ["extract", "col:on.mp4", "-e", "patch-statistics", "-o", "x.zarr"]
    command = [sys.executable, "-m", "longvid.pipelines.cli", *words, "--scheduler", "inline"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert FeatureStore.open("x.zarr").keys() == ["col:on"]
