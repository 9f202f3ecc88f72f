"""The decoder that the tutorial shows goes through train, evaluate, predict and report."""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from short_videos import extract_short_videos

import longvid as longvid_package
from longvid.decoders import DECODERS
from longvid.errors import ConfigError
from longvid.files import read_json
from longvid.pipelines.evaluation.evaluate import evaluate
from longvid.pipelines.evaluation.predict import predict

PAGE = (Path(__file__).parents[2] / "docs" / "tutorials" / "own-decoder.md").read_text(encoding="utf-8")
BLOCK = next(b for b in re.findall(r"```python[^\n]*\n(.*?)```", PAGE, flags=re.DOTALL) if "class LastState" in b)
LINES = re.findall(r"^(longvid (?:train|evaluate|predict) .*my_decoder:LastState.*)$", PAGE, flags=re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Features, and the tutorial's decoder in a module of the working folder, which is not on Python's path yet."""
    extract_short_videos(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    (tmp_path / "my_decoder.py").write_text(BLOCK, encoding="utf-8")
    yield tmp_path
    sys.modules.pop("my_decoder", None)


def test_it_is_about_ten_lines_long() -> None:
    assert len([line for line in BLOCK.splitlines() if line.strip()]) <= 11


def test_the_lines_of_the_tutorial_train_evaluate_and_predict_with_it(folder: Path, command: Callable) -> None:
    train, evaluate_line, predict_line = (line.split()[1:] for line in LINES)
    here = {
        "store=first.zarr": "store=features.zarr",
        "manifest=videos.csv": "manifest=manifest.jsonl",
        "new.mp4": "v3.mp4",
    }
    words = [here.get(word, word) for word in train]
    status, _, err = command(*words, "epochs=2", "tensorboard=false", "device=cpu", "standardise=true")
    assert status == 0, err
    status, out, err = command(*evaluate_line)
    assert status == 0, err
    assert "accuracy" in out
    status, out, err = command(*(here.get(word, word) for word in predict_line))
    assert status == 0, err
    assert "v3.mp4" in out
    status, _, err = command("report", "runs/own", "-o", "page.html")
    assert status == 0, err
    assert "my_decoder:LastState" in (folder / "page.html").read_text(encoding="utf-8")
    # in Python: by name, and as the class itself
    found = evaluate("runs/own", decoder="my_decoder:LastState", device="cpu")
    own = sys.modules["my_decoder"].LastState
    assert evaluate("runs/own", decoder=own, device="cpu").metrics == found.metrics
    assert predict("runs/own", "v3.mp4", decoder=own, device="cpu").answer in ("a", "b")
    decoder, _, _ = longvid_package.load_decoder("runs/own", decoder=own)
    assert decoder(torch.zeros(1, 3, 16)).shape == (1, 2)
    assert read_json(Path("runs/own/run.json"))["decoder"]["options"] == {"width": 32}


def test_longvid_decoders_shows_it(folder: Path, command: Callable) -> None:
    status, out, err = command("decoders", "my_decoder:LastState")
    assert status == 0, err
    assert "The last state of an LSTM" in out


def test_a_decoder_put_into_decoders_is_named_like_any_other(folder: Path, command: Callable) -> None:
    names: dict = {}
    exec(BLOCK, names)  # the tutorial's own code
    DECODERS["last-state"] = names["LastState"]
    words = ["store=features.zarr", "manifest=manifest.jsonl", "epochs=1", "tensorboard=false", "device=cpu", "out=own"]
    try:
        assert command("train", "decoder.name=last-state", *words)[0] == 0
        assert evaluate("own", device="cpu").decoder == "last-state"
    finally:
        DECODERS.pop("last-state")
    status, _, err = command("evaluate", "own")
    assert status == 2
    assert "give --decoder module:callable" in err
    assert command("evaluate", "own", "--decoder", "my_decoder:LastState")[0] == 0


def test_text_that_a_run_recorded_goes_to_code_only_if_it_is_given_again(folder: Path, command: Callable) -> None:
    (folder / "my_decoder.py").write_text(
        BLOCK.replace("width: int = 64", "width: int = 64, says: str = 'none'"), encoding="utf-8"
    )
    words = ["store=features.zarr", "manifest=manifest.jsonl", "epochs=1", "tensorboard=false", "device=cpu", "out=own"]
    own = ["decoder.name=my_decoder:LastState", "decoder.options.says=hello", "decoder.options.width=8"]
    status, _, err = command("train", *own, *words)
    assert status == 0, err
    status, _, err = command("evaluate", "own", "--decoder", "my_decoder:LastState")
    assert status == 2
    assert "repeat it by --decoder-option says=..." in err
    given = ["--decoder", "my_decoder:LastState", "--decoder-option", "says=hello"]
    status, _, err = command("evaluate", "own", *given)
    assert status == 0, err
    with pytest.raises(ConfigError, match="decoder_options="):
        evaluate("own", decoder="my_decoder:LastState")


def test_a_recipe_file_may_name_it_if_it_is_the_users_own(folder: Path, command: Callable) -> None:
    Path("mine.yaml").write_text(
        "store: features.zarr\nmanifest: manifest.jsonl\nout: own\nepochs: 1\ntensorboard: false\ndevice: cpu\n"
        "decoder: {name: 'my_decoder:LastState', options: {width: 8}}\n"
    )
    status, _, err = command("train", "mine.yaml")
    assert status == 2
    assert "decoder.name=my_decoder:LastState, or --allow-code" in err
    assert "my_decoder" not in sys.modules
    status, _, err = command("train", "mine.yaml", "decoder.name=my_decoder:LastState")
    assert status == 2
    assert "give decoder.options.width=... too" in err
    assert "my_decoder" not in sys.modules
    status, _, err = command("train", "mine.yaml", "--allow-code")
    assert status == 0, err
    assert "note: importing my_decoder:LastState" in err
