"""The front door of the command line: no words, the version, completion, and names that can be copied from a table."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import longvid
from longvid.benchmarks.known_tasks import KNOWN_TASKS
from longvid.errors import AnnotationError, short_reason
from longvid.pipelines.cli.main import main
from longvid.pipelines.prepare.benchmarks import load_benchmark
from longvid.pipelines.recipes import recipe_names

TORCHCODEC = """Could not load libtorchcodec. Likely causes:
          1. FFmpeg is not properly installed in your environment.
          2. The PyTorch version is not compatible."""


def command(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, env=os.environ | environment, check=False
    )


def printed(words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_without_words_the_help_is_shown_and_nothing_is_called_an_error() -> None:
    result = command("-m", "longvid")
    assert result.returncode == 0
    assert "Usage: longvid" in result.stdout
    assert "extract" in result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize(
    "words",
    [
        ["extract", "a.mp4", "-e", "patch-statistics", "-o", "x.zarr", "--dtype", "float8"],
        ["extract", "a.mp4", "-e", "patch-statistics", "-o", "x.zarr", "--precision", "float8"],
        ["evaluate", "run", "--predictions", "float8"],
    ],
    ids=["dtype", "precision", "predictions"],
)
def test_an_option_with_a_few_values_names_them(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: Invalid value for '{words[-2]}': 'float8' is not one of '")
    assert len(said.splitlines()) == 1


def test_the_version_is_told_by_every_way_in() -> None:
    for words in (["-m", "longvid", "--version"], ["-m", "longvid.pipelines.cli", "--version"]):
        assert command(*words).stdout == f"longvid {longvid.__version__}\n"


def test_a_shell_completes_commands_and_options() -> None:
    asked = {"_LONGVID_COMPLETE": "complete_bash", "COMP_CWORD": "1"}
    offered = command("-m", "longvid", COMP_WORDS="longvid ex", **asked).stdout.split()
    assert sorted(offered) == ["explain", "export", "extract"]
    asked["COMP_CWORD"] = "2"
    assert "--clips-per-shard" in command("-m", "longvid", COMP_WORDS="longvid extract --clips", **asked).stdout


def test_no_name_of_a_task_metric_or_recipe_is_broken_at_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = printed(["tasks"], capsys, monkeypatch)
    rows = said.partition("\n\n")[0].splitlines()  # below them stand sentences: in a file, each is one line
    assert len(rows) > len(KNOWN_TASKS)
    assert max(map(len, rows)) <= 80
    words = {word.strip(",()") for word in said.split()}
    assert set(KNOWN_TASKS) <= words
    assert {metric for task in KNOWN_TASKS.values() for metric in task.metrics} <= words
    bases = set(KNOWN_TASKS) & set(recipe_names()) | {"breakfast", "breakfast-segmentation", "coin", "coin-steps"}
    assert bases <= words, "the joint recipe asks several tasks and stands under --recipes"
    others = set(recipe_names()) - bases - {"lvu/all"}
    base_of = {name: max((base for base in bases if name.startswith(f"{base}-")), key=len) for name in others}
    assert {name.removeprefix(base) for name, base in base_of.items()} <= words
    said = printed(["tasks", "--recipes"], capsys, monkeypatch)
    assert max(map(len, said.splitlines())) <= 80
    assert set(recipe_names()) <= set(said.split())
    assert "relationship_split" in said.split()
    assert set(recipe_names()) == set(json.loads(printed(["tasks", "--json"], capsys, monkeypatch))["recipes"])


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (TORCHCODEC, "Could not load libtorchcodec"),
        ("Causes:\nnone known", "Causes"),
        ("libcudart.so.13: cannot open shared object file\nmore", "libcudart.so.13: cannot open shared object file"),
        ("", "OSError"),
    ],
)
def test_what_the_doctor_repeats_of_an_error_is_a_whole_clause(message: str, reason: str) -> None:
    assert short_reason(OSError(message)) == reason


def test_the_sample_of_coin_is_never_taken_for_coin(tmp_path: Path) -> None:
    (tmp_path / "COIN.sample.json").write_text('{"database": {}}')
    with pytest.raises(AnnotationError, match=r"holds no COIN\.json; .* to use COIN\.sample\.json in its place, name"):
        load_benchmark("coin", tmp_path, tmp_path)
    with pytest.raises(AnnotationError, match=r"COIN\.sample\.json"):
        load_benchmark("coin", tmp_path / "COIN.sample.json", tmp_path)


def test_who_reads_only_the_first_lines_gets_them_and_status_0() -> None:
    words = [sys.executable, "-m", "longvid", "results", "coin"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0
