"""The command line as a user meets it: what it prints, on how many lines, and with which status it ends."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.demo.videos import Script, encode

SAMPLING = ["--sampling", "frames=1,fps=4,stride_seconds=0.25"]


def longvid(*words: str | Path, columns: int = 80) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    import os

    command = [sys.executable, "-m", "pipelines.cli", *map(str, words)]
    environment = os.environ | {"COLUMNS": str(columns)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two short videos and a store of them."""
    made = tmp_path_factory.mktemp("cli")
    for index in range(2):
        encode(Script(f"video-{index}", index, 5.0, 0.5, 2.5, seed=index), made)
    words = ["extract", made, "-e", "patch-statistics", "-o", made / "x.zarr", "--scheduler", "serial"]
    result = longvid(*words, *SAMPLING)
    assert result.returncode == 0, result.stderr
    return made


def test_info_and_verify_speak_in_80_columns_and_in_json(folder: Path) -> None:
    for words in (["info", folder / "x.zarr", "--videos"], ["verify", folder / "x.zarr"]):
        result = longvid(*words)
        assert result.returncode == 0, result.stderr
        assert max(map(len, result.stdout.splitlines())) <= 80
    facts = json.loads(longvid("info", folder / "x.zarr", "--json").stdout)
    assert facts["complete_videos"] == 2
    assert facts["recipe"]["encoder"] == "patch-statistics"


def test_verify_names_the_damaged_shard_and_repair_lets_it_be_made_again(folder: Path, tmp_path: Path) -> None:
    words = ["extract", folder, "-e", "patch-statistics", "-o", tmp_path / "y.zarr", "--scheduler", "serial", *SAMPLING]
    assert longvid(*words).returncode == 0
    shard = tmp_path / "y.zarr/videos/video-1/tokens/c.0.0.0"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    found = longvid("verify", tmp_path / "y.zarr")
    assert found.returncode == 1
    assert "video-1" in found.stdout
    assert longvid("repair", tmp_path / "y.zarr").returncode == 0
    assert longvid(*words).returncode == 0
    assert shard.read_bytes() == whole
    assert longvid("verify", tmp_path / "y.zarr").returncode == 0


def test_the_plan_tells_clips_and_bytes_and_makes_nothing(folder: Path, tmp_path: Path) -> None:
    words = ["extract", folder, "-e", "patch-statistics", "-o", tmp_path / "z.zarr", "--plan", "--json", *SAMPLING]
    plan = json.loads(longvid(*words).stdout)
    made = json.loads(longvid("info", folder / "x.zarr", "--json").stdout)
    assert plan["totals"]["clips"] == made["num_clips"]
    assert plan["totals"]["bytes"] == made["token_bytes"]
    files = [path for path in (folder / "x.zarr" / "videos").glob("*/**/*") if path.is_file()]
    assert plan["totals"]["files"] == len(files)
    assert not (tmp_path / "z.zarr").exists()


def test_failed_videos_are_named_and_the_status_is_3(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    words = ["extract", folder / "video-0.mp4", tmp_path / "bad.mp4", "-e", "patch-statistics"]
    result = longvid(*words, "-o", tmp_path / "s.zarr", "--scheduler", "serial", *SAMPLING)
    assert result.returncode == 3
    assert "bad" in result.stderr
    assert "Traceback" not in result.stderr
    rows = [json.loads(line) for line in (tmp_path / "s.zarr.report.jsonl").read_text().splitlines()]
    assert {row["key"]: row["status"] for row in rows} == {"video-0": "done", "bad": "failed"}


@pytest.mark.parametrize(
    "words",
    [
        ["info", "/nonexistent/x.zarr"],
        ["verify", "/nonexistent/x.zarr"],
        ["extract", "a.mp4", "-e", "no-such-encoder", "-o", "x.zarr"],
        ["extract", "a.mp4", "-e", "patch-statistics", "-o", "x.zarr", "--option", "sized=3"],
        ["extract", "a.mp4", "-e", "patch-statistics", "-o", "x.zarr", "--sampling", "frames=0"],
        ["extract", "a.mp4", "-e", "patch-statistics", "-o", "x.zarr", "--pooling", "nonsense"],
        ["extract", "a.mp4", "-e", "patch-statistics", "-o", "x.zarr", "--dtype", "float8"],
        ["extract", "a.mp4", "-o", "x.zarr"],
        ["extract", "a.mp4", "-e", "patch-statistics", "-o", "x.zarr", "--scheduler", "tcp://127.0.0.1:1"],
        ["train", "nonexistent.yaml"],
        ["train", "epochs=3"],
        ["evaluate", "/nonexistent/run"],
        ["predict", "/nonexistent/run", "a.mp4"],
        ["report", "/nonexistent/run"],
        ["bench", "nonsense"],
        ["encoders", "nonsense"],
        ["nonsense"],
    ],
    ids=lambda words: " ".join(words[:1] + words[-1:]),
)
def test_wrong_use_is_one_line_and_status_2(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = longvid(*words)
    assert result.returncode == 2, result.stderr
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")


def test_options_are_read_as_values() -> None:
    from longvid.errors import ConfigError
    from pipelines.cli.options import parse_options, parse_sampling

    assert parse_options(["size=384", "name=a b", "deep=true"]) == {"size": 384, "name": "a b", "deep": True}
    sampling = parse_sampling("frames=16, fps=8,stride_seconds=2")
    assert sampling is not None
    assert (sampling.frames, sampling.fps, sampling.stride_seconds) == (16, 8, 2)
    with pytest.raises(ConfigError, match="framez"):
        parse_sampling("framez=3")


def test_decoders_come_with_what_they_cost_in_80_columns_and_in_json() -> None:
    result = longvid("decoders", "vis4mer", "selective-scan")
    assert result.returncode == 0, result.stderr
    assert max(map(len, result.stdout.splitlines()[:-1])) <= 80, "all but the explanation, which is one paragraph"
    assert "multi-scale S4" in result.stdout
    rows = json.loads(longvid("decoders", "vis4mer", "--json").stdout)
    assert [row["length"] for row in rows] == [3136, 11820]
    assert rows[0]["parameters"] == rows[1]["parameters"] > 1e6
    unknown = longvid("decoders", "vismer")
    assert unknown.returncode == 2
    assert "no decoder 'vismer'" in unknown.stderr
