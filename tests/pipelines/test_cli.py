"""The command line as a user meets it: what it prints, on how many lines, and with which status it ends."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from longvid.pipelines.cli import main
from longvid.pipelines.demo.videos import Script, encode
from longvid.stores import FeatureStore

SAMPLING = ["--sampling", "frames=1,fps=4,stride_seconds=0.25"]


def longvid(*words: str | Path, columns: int = 80) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    command = [sys.executable, "-m", "longvid.pipelines.cli", *map(str, words)]
    environment = os.environ | {"COLUMNS": str(columns), "PYTHONIOENCODING": "utf-8:strict"}
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
    result = longvid("info", folder / "x.zarr", "--videos")
    assert result.returncode == 0, result.stderr
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "1 frame at 4 per second, a clip every 0.25 s" in result.stdout
    result = longvid("verify", folder / "x.zarr")
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == 1, "in a file a sentence is a line"
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
    repaired = longvid("repair", tmp_path / "y.zarr")
    assert repaired.returncode == 0
    assert "`longvid extract` makes what 1 video lacks again" in repaired.stdout
    assert longvid(*words).returncode == 0
    assert shard.read_bytes() == whole
    assert longvid("verify", tmp_path / "y.zarr").returncode == 0


def test_exchanged_shards_are_named_and_the_same_extraction_makes_the_same_bytes_again(
    folder: Path, tmp_path: Path
) -> None:
    store = tmp_path / "y.zarr"
    words = ["extract", folder, "-e", "patch-statistics", "-o", store, "--scheduler", "serial", *SAMPLING]
    assert longvid(*words).returncode == 0
    files = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    shards = sorted(path for path in files if path.match("tokens/c.0.0.0"))
    for path, data in zip(shards, reversed([files[path] for path in shards]), strict=True):
        path.write_bytes(data)
    found = longvid("verify", store, columns=200)
    assert found.returncode == 1
    for key, other in (("video-0", "video-1"), ("video-1", "video-0")):
        assert f"video '{key}': shard 0:" in found.stdout
        assert f"is shard 0 of `tokens` of video '{other}', where something else lies: exchanged" in found.stdout
    assert longvid("export", store, tmp_path / "npy").returncode == 2
    assert longvid("repair", store).returncode == 0
    assert longvid(*words).returncode == 0
    assert {path: path.read_bytes() for path in store.rglob("*") if path.is_file()} == files


def test_a_store_of_version_0_1_0_is_sound_and_gains_digests(tmp_path: Path) -> None:
    old = Path(__file__).parents[1] / "stores/written_by_0_1_0.zarr"
    store = shutil.copytree(old, tmp_path / "old.zarr")
    found = longvid("verify", store, columns=200)
    assert found.returncode == 0
    assert "2 videos from version 0.1.0 without digests" in found.stdout
    assert "`longvid verify --record` records them" in found.stdout
    recorded = longvid("verify", store, "--record", columns=200)
    assert (recorded.returncode, "digests recorded for 2 videos" in recorded.stdout) == (0, True)
    again = longvid("verify", store, columns=200)
    assert (again.returncode, "without digests" in again.stdout) == (0, False)


def test_repair_puts_the_stores_own_document_back_from_its_copy(folder: Path, tmp_path: Path) -> None:
    store = shutil.copytree(folder / "x.zarr", tmp_path / "y.zarr")
    sound = (store / "zarr.json").read_bytes()
    (store / "zarr.json").write_bytes(sound.replace(b'"dim"', b'"dum"'))
    assert "there is a copy: run `longvid repair`" in " ".join(longvid("info", store).stderr.split())
    assert longvid("repair", store).returncode == 0
    assert (store / "zarr.json").read_bytes() == sound


def test_the_plan_tells_clips_and_bytes_and_makes_nothing(folder: Path, tmp_path: Path) -> None:
    words = ["extract", folder, "-e", "patch-statistics", "-o", tmp_path / "z.zarr", "--plan", "--json", *SAMPLING]
    plan = json.loads(longvid(*words).stdout)
    made = json.loads(longvid("info", folder / "x.zarr", "--json").stdout)
    assert plan["totals"]["clips"] == made["num_clips"]
    assert plan["totals"]["bytes"] == made["token_bytes"]
    files = [path for path in (folder / "x.zarr" / "videos").glob("*/**/*") if path.is_file()]
    assert plan["totals"]["files"] == len(files)
    assert plan["totals"]["disk_bytes"] == sum(path.stat().st_size for path in files)
    assert not (tmp_path / "z.zarr").exists()


def test_failed_videos_are_named_and_the_status_is_3(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    words = ["extract", folder / "video-0.mp4", tmp_path / "bad.mp4", "-e", "patch-statistics"]
    result = longvid(*words, "-o", tmp_path / "s.zarr", "--scheduler", "serial", *SAMPLING)
    assert result.returncode == 3
    assert result.stdout.count("bad.mp4: not a readable video") == 1
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
        ["extract", "a.mp4", "-e", "patch-statistics", "-o", "x.zarr", "--option", "size=big"],
        ["extract", "a.mp4", "-e", "os:system", "-o", "x.zarr"],
        ["extract", "a.mp4", "-e", "patch-statistics", "-o", "a.mp4"],
        ["extract", "a.mp4", "-e", "patch-statistics", "-o", "x.zarr", "--backend", "vlc"],
        ["extract", "a.mp4", "-e", "patch-statistics", "-o", "x.zarr", "--compression", "gzip"],
        ["extract", "a.mp4", "-e", "patch-statistics", "-o", "x.zarr", "--clips-per-shard", "0"],
        ["extract", "a.mp4", "-e", "patch-statistics", "-o", "x.zarr", "--batch-clips", "0"],
        ["extract", "a.mp4", "-e", "patch-statistics", "-o", "x.zarr", "--deadline-seconds", "0"],
        ["extract", "a.mp4", "-e", "patch-statistics", "-o", "x.zarr", "--sampling", "framez=3"],
        ["import", "nowhere", "x.zarr"],
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
def test_wrong_use_is_one_line_and_status_2(
    words: list[str],
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    shutil.copy(folder / "video-0.mp4", "a.mp4")
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")


def test_options_are_read_as_values() -> None:
    from longvid.errors import ConfigError
    from longvid.pipelines.cli.options import parse_options, parse_sampling

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


def test_names_of_any_bytes_are_printed_without_control_characters(folder: Path, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    for name in (b"new\nline.mp4", b"red\x1b[31m.mp4", b"latin\xe9.mp4", "[bold]\N{GRINNING FACE}.mp4".encode()):
        shutil.copy(folder / "video-0.mp4", os.fsencode(videos) + b"/" + name)
    (videos / "bad\x1b[32m.mp4").write_bytes(b"no video")
    words = ["extract", videos, "-e", "patch-statistics", "-o", tmp_path / "s.zarr", "--scheduler", "serial", *SAMPLING]
    for result in (longvid(*words), longvid("info", tmp_path / "s.zarr", "--videos")):
        assert result.returncode in (0, 3), result.stderr
        assert "\x1b" not in result.stdout + result.stderr
        for shown in ("new\\nline", "red\\x1b[31m", "latin\\udce9", "[bold]\N{GRINNING FACE}"):
            assert shown in result.stdout
    assert longvid("verify", tmp_path / "s.zarr").returncode == 0


def test_a_module_beside_the_working_folder_is_found(folder: Path, tmp_path: Path) -> None:
    source = """
        from longvid import EncoderSpec, Preprocessing, Sampling, wrap

        def build():
            spec = EncoderSpec("colour", Sampling(frames=1, fps=1.0, stride_seconds=1.0), Preprocessing(8, 8))
            return wrap(lambda clips: clips.mean(dim=(3, 4)).transpose(1, 2).unsqueeze(2), spec)
    """
    (tmp_path / "my_module.py").write_text(textwrap.dedent(source))
    # the installed command, unlike `python -m`, does not look into the working folder by itself
    code = "import sys; sys.path = [p for p in sys.path if p]; from longvid.pipelines.cli import main; main()"
    words = ["extract", folder / "video-0.mp4", "-e", "my_module:build", "-o", "x.zarr", "--scheduler", "serial"]
    command = [sys.executable, "-c", code, *map(str, words)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "weights" in (info := longvid("info", tmp_path / "x.zarr").stdout)
    assert "none" in info


def test_a_run_with_nothing_to_do_loads_no_encoder(folder: Path, tmp_path: Path) -> None:
    words = ["extract", folder, "-e", "patch-statistics", "-o", folder / "x.zarr", *SAMPLING, "--json"]
    log = tmp_path / "events.jsonl"
    report = json.loads(longvid(*words, "--scheduler", "local", "--log-file", log).stdout)
    assert report["counts"] == {"kept": 2}
    events = [json.loads(line)["event"] for line in log.read_text().splitlines()]
    assert "run ended" in events
    assert "encoder loaded" not in events


@pytest.mark.parametrize("command", ["extract", "info", "verify", "repair", "delete", "export", "import"])
def test_help_fits_80_columns_without_cutting_an_option(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main([command, "--help"])
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown


@pytest.mark.skipif(os.name != "posix", reason="no file has a colon in its name elsewhere")
def test_a_video_with_a_colon_in_its_name_is_extracted_from_its_own_folder(command, make_video, tmp_path):
    make_video(tmp_path / "col:on.mov")
    status, _, err = command(
        "extract", "col:on.mov", "--encoder", "patch-statistics", "--out", "f.zarr", "--scheduler", "serial"
    )
    assert (status, err) == (0, "")
    assert FeatureStore.open(tmp_path / "f.zarr").keys() == ["col:on"]
