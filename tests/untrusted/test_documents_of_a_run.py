"""Documents of a run with values that none can have: one line that names the file, whatever reads it."""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from longvid.errors import LongvidError
from longvid.files import read_json
from longvid.pipelines.prepare.download import _failures
from longvid.pipelines.reporting import report
from longvid.trained import load_decoder

pytestmark = pytest.mark.faults

HUGE = 10**400
CASES: list[tuple[str, tuple[Any, ...], Any]] = [
    ("run.json", ("windows", "seconds"), HUGE),
    ("run.json", ("windows", "stride_seconds"), float("inf")),
    ("run.json", ("task", "metrics"), [""]),
    ("run.json", ("store_recipe", "encoder_config"), -1),
    ("run.json", ("store_recipe", "sampling"), "all"),
    ("result.json", ("seeds", 0, "train_seconds"), float("inf")),
    ("evaluation/test.json", ("seeds", 0, "metrics", "accuracy"), float("inf")),
]
VALUES = [float("inf"), -1, 0, HUGE, 2**63, 1e308, True, None, "", [], {}, "x\x00", "../../x", [[[[]]]], "\ud800"]


def changed(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    """The value with another one at a place."""
    if not place:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[place[0]] = changed(value[place[0]], place[1:], new)
    return copy


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place of a JSON value, two of each list."""
    yield place
    if isinstance(value, dict | list):
        for name in value if isinstance(value, dict) else range(min(2, len(value))):
            yield from places(value[name], (*place, name))


def text(value: Any) -> str:
    """JSON in which an infinite number is one that only becomes so."""
    return json.dumps(value).replace("Infinity", "1e999")


def said_by(read: Callable[[], object]) -> str:
    """The message of a reader that refuses; empty for one that passes."""
    try:
        read()
    except LongvidError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(("file", "place", "value"), CASES)
def test_a_value_that_none_can_have_is_one_line_that_names_the_file(
    world: Any, refused: Callable[..., str], file: str, place: tuple[Any, ...], value: Any
) -> None:
    path = world.run / file
    path.write_text(text(changed(json.loads(path.read_text()), place, value)))
    assert file.rpartition("/")[2] in refused("report", world.run, "-o", world.folder / "page.html")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # 1e308 squared
@pytest.mark.parametrize("file", ["run.json", "result.json", "evaluation/test.json"])
def test_any_value_at_any_place_of_a_document_is_one_line_or_passes(world: Any, file: str) -> None:
    path, rng = world.run / file, random.Random(0)
    whole = json.loads(path.read_text())
    tried = 0
    for place in places(whole):
        for value in rng.sample(VALUES, 2):
            path.write_text(text(changed(whole, place, value)))
            for read in (lambda: load_decoder(world.run), lambda: report([world.run], world.folder / "page.html")):
                assert "\n" not in said_by(read), (place, value)
                tried += 1
    assert tried > 100


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity"])
def test_a_number_that_is_none_is_not_read(number: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(f'{{"a": [{number}]}}')
    with pytest.raises(ValueError, match="is not a number of JSON"):
        read_json(tmp_path / "x.json")


DEEP = "[" * 100_000


@pytest.mark.parametrize("keys", [DEEP, "[1e999]", "{}", '["nobody"]', "3"])
def test_names_of_kept_scores_of_any_kind_are_one_line(world: Any, refused: Callable[..., str], keys: str) -> None:
    path = world.run / "evaluation/test-scores.safetensors"
    with safe_open(path, "pt") as file:
        about = dict(file.metadata())
    save_file(load_file(path), path, about | {"keys": keys, "seeds": keys if keys == "[1e999]" else about["seeds"]})
    assert "run `longvid evaluate" in refused("compare", world.run, world.run)


@pytest.mark.parametrize(
    "line", ['{"key": ["a"]}', '{"key": "v9", "path": 3, "status": "failed", "reason": {}}', DEEP, "[]", '{"key"']
)
def test_a_report_of_any_kind_is_no_report_of_ours(
    world: Any, longvid: Callable[..., tuple[int, str, str]], line: str
) -> None:
    (world.folder / "features.zarr.report.jsonl").write_text(f"{line}\n")
    for words in (("info",), ("status",)):
        status, _, err = longvid(*words, world.store)
        assert status == 0, err


def test_a_list_of_failed_downloads_that_was_cut_short_is_read_to_its_last_line(tmp_path: Path) -> None:
    memory = tmp_path / "failures.jsonl"
    memory.write_text(f'{{"key": "a", "reason": "gone"}}\n{DEEP}\n[]\n{{"key": "b", "rea')
    assert _failures(memory) == {"a": "gone"}
