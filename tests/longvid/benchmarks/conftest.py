"""The official annotation files where somebody has them, and small ones of the same layouts.

Official files are looked for in `LONGVID_ANNOTATIONS_DIR` (default: `../shared/data` next to the checkout), with the
folders `lvu_1.0`, `breakfast` and `coin`. They are no part of this project.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from longvid.errors import AnnotationError

DEFAULT_ANNOTATIONS = Path(__file__).parents[4] / "shared" / "data"


@pytest.fixture(scope="session")
def official() -> Callable[[str], Path]:
    """The path of an official file or folder, `official("lvu_1.0")`; skips the test where it is absent."""
    asked = os.environ.get("LONGVID_ANNOTATIONS_DIR")
    if asked and not Path(asked).is_dir():
        raise pytest.UsageError(f"LONGVID_ANNOTATIONS_DIR={asked} is not a folder")
    folder = Path(asked) if asked else DEFAULT_ANNOTATIONS

    def path(name: str) -> Path:
        if not (folder / name).exists():
            pytest.skip(f"no official {name} here; put it into LONGVID_ANNOTATIONS_DIR")
        return folder / name

    return path


@pytest.fixture(scope="session")
def attempt() -> Callable[[Callable[[], Any]], tuple[Any, str]]:
    """What a reader gives, and the text of the `AnnotationError` where it raises one instead."""

    def run(read: Callable[[], Any]) -> tuple[Any, str]:
        try:
            return read(), ""
        except AnnotationError as error:
            return None, str(error)

    return run


def video_id(number: int) -> str:
    """A YouTube id for a number; the first ones start with a dash, as 161 of LVU's do."""
    return f"-vid_{number:06d}"


@pytest.fixture
def lvu_folder(tmp_path) -> Callable[..., Path]:
    """Writes LVU lists: `lvu_folder(scene={"train": [("0", "office", 1, "tt1")], ...})`; a number names a video."""

    def write(durations: dict[int, int] | None = None, **tasks: dict[str, list[tuple]]) -> Path:
        headers = {
            "like_ratio": "like_count dislike_count youtube_id imdb_id",
            "view_count": "view_count youtube_id imdb_id",
        }
        for task, lists in tasks.items():
            (tmp_path / "lvu_1.0" / task).mkdir(parents=True, exist_ok=True)
            for split in ("train", "val", "test"):
                lines = [headers.get(task, "class_id class_name youtube_id imdb_id")]
                for *label, number, film in lists.get(split, []):
                    lines.append(" ".join([*map(str, label), video_id(number), film]))
                (tmp_path / "lvu_1.0" / task / f"{split}.csv").write_text("\n".join(lines) + "\n")
        if durations is not None:
            listed = "".join(f"{video_id(number)},{seconds}\n" for number, seconds in durations.items())
            (tmp_path / "lvu_1.0" / "lvu_durations.csv").write_text("videoid,duration\n" + listed)
        return tmp_path / "lvu_1.0"

    return write


COIN_RECORD: dict[str, Any] = {
    "duration": 30.0,
    "class": "MakePaperDice",
    "video_url": "https://www.youtube.com/embed/x",
    "start": 2.0,
    "end": 28.0,
    "subset": "training",
    "recipe_type": 78,
    "annotation": [
        {"id": "352", "segment": [3.0, 8.0], "label": "fold"},
        {"id": "350", "segment": [8.5, 20.0], "label": "draw dots"},
    ],
}


@pytest.fixture
def coin_file(tmp_path) -> Callable[..., Path]:
    """Writes a COIN.json: what each record has other than `COIN_RECORD`, by video number; None leaves a field out."""

    def write(changes: dict[int, dict[str, Any]], *, variant: bool = False) -> Path:
        records = {}
        for number, changed in changes.items():
            record = {name: value for name, value in (COIN_RECORD | changed).items() if value is not None}
            records[video_id(number)] = record
        path = tmp_path / "COIN.json"
        path.write_text(json.dumps(records if variant else {"database": records}, indent=1))
        return path

    return write
