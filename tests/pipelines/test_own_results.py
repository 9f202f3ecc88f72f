"""One's own runs beside published numbers."""

import json
import subprocess
import sys
from pathlib import Path

from longvid.pipelines.evaluation.results import own_results


def test_a_damaged_run_is_named_and_the_others_are_listed(tmp_path: Path) -> None:
    for name, text in (("cut", '{"format": 1, "ta'), ("old", json.dumps({"format": 0})), ("list", "[1, 2]")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(text)
    said: list[str] = []
    assert own_results(tmp_path, "lvu/relationship", say=said.append) == []
    assert len(said) == 3
    for name, line in zip(("cut", "list", "old"), said, strict=True):
        assert str(tmp_path / name) in line
        assert line.endswith("its numbers are left out")
        assert "\n" not in line
    command = [
        sys.executable,
        "-m",
        "longvid.pipelines.cli",
        "results",
        "lvu/relationship",
        "--runs",
        str(tmp_path),
        "--json",
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("its numbers are left out") == 3
    json.loads(result.stdout)
