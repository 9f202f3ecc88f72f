"""The demo as a whole, small: every part runs, and what is there is kept."""

import json
from pathlib import Path

import pytest

from longvid.pipelines.demo.run import demo
from longvid.plain import as_json


def test_it_runs_both_stages_and_a_second_call_keeps_what_is_there(tmp_path: Path) -> None:
    first = demo(tmp_path, videos=20, seeds=(0,), epochs=2, workers=1, say=lambda text: None)
    assert [row.name for row in first.decoders] == ["vis4mer", "mean-linear"]
    assert first.test_videos == 4
    page = Path(first.report).read_text()
    assert "mean-linear" in page
    assert json.loads(json.dumps(as_json(first)))["videos"] == 20
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "videos").iterdir()}
    second = demo(tmp_path, videos=20, seeds=(0,), epochs=2, workers=1, say=lambda text: None)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "videos").iterdir()} == files
    assert [row.accuracy for row in second.decoders] == [row.accuracy for row in first.decoders]


@pytest.mark.slow
def test_the_long_range_decoder_learns_what_the_pooled_one_cannot(tmp_path: Path) -> None:
    result = demo(tmp_path, say=lambda text: None)
    accuracy = {row.name: row for row in result.decoders}
    assert min(accuracy["vis4mer"].seeds) >= 0.9
    assert max(accuracy["mean-linear"].seeds) <= 0.4
