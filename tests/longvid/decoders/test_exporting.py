"""Exported decoders give the numbers of the decoders they were made of; what cannot be exported says so in one line.

Programs are made in processes of their own: the checks of shapes that tests run with would become part of a trace.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from longvid.decoders import DECODERS

PYRAMID: dict[str, Any] = {"width": 16, "layers": 2}
SMALL: dict[str, dict[str, Any]] = {
    "global-tokens": {"width": 16, "token_dim": 16, "num_tokens": 3, "dilations": (1, 2)},
    "gru": {"width": 8},
    "hybrid": PYRAMID | {"state_size": 8, "num_tokens": 3, "token_dim": 16},
    "lstm": {"width": 8},
    "performer": PYRAMID | {"features": 32},
    "selective-scan": PYRAMID | {"state_size": 4, "chunk": 8},
    "temporal-convolution": {"width": 8, "layers": 3},
    "transformer": PYRAMID,
    "vis4mer": PYRAMID | {"state_size": 8},
}
ANY_LENGTH = ("mean-linear", "max-linear", "temporal-convolution")
NOT_ONNX = ("vis4mer", "hybrid")
CODE = """
import json, logging, sys, warnings
warnings.simplefilter("ignore"); logging.disable(logging.WARNING)
import torch
from longvid import build_decoder, export_decoder, export_onnx
from longvid.decoders.standardise import Standardised
from longvid.errors import LongvidError
name, options, what, place = json.loads(sys.argv[1])
options = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
torch.manual_seed(0)
decoder = Standardised(build_decoder(name, dim=12, outputs=3, max_length=32, **options), 12).eval()
decoder.mean += 0.5
batch = 5 if name == "hybrid" else None
length = None if what == "any" else 32
tokens = torch.randn(5, 77 if what == "any" else 32, 12)
try:
    if what == "onnx":
        import onnxruntime
        session = onnxruntime.InferenceSession(str(export_onnx(decoder, place, length=length, batch=batch)))
        (found,) = session.run(["logits"], {"tokens": tokens.numpy()})
        found = torch.from_numpy(found)
    else:
        torch.export.save(export_decoder(decoder, length=length, batch=batch), place)
        found = torch.export.load(place).module()(tokens)
except LongvidError as error:
    print(json.dumps({"error": str(error)}))
else:
    with torch.inference_mode():
        wanted = decoder(tokens)
    print(json.dumps({"shape": list(found.shape), "off": float((found - wanted).abs().max() / wanted.abs().max())}))
"""


def exported(name: str, what: str, folder: Path) -> dict[str, Any]:
    """What came of exporting a small decoder and running the file on other tokens than it was made with."""
    place = folder / ("x.onnx" if what == "onnx" else "x.pt2")
    asked = json.dumps([name, SMALL.get(name, {}), what, str(place)])
    done = subprocess.run([sys.executable, "-c", CODE, asked], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert place.exists() == ("error" not in found)
    return found


def assert_equal_numbers(found: dict[str, Any]) -> None:
    assert found.get("shape") == [5, 3], found
    assert found["off"] < 1e-4  # float32, sums in another order


@pytest.mark.parametrize("name", ["vis4mer", "global-tokens", "mean-linear"])
def test_an_exported_program_gives_the_same_logits(name: str, tmp_path: Path) -> None:
    assert_equal_numbers(exported(name, "fixed", tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(DECODERS) - {"vis4mer", "global-tokens", "mean-linear"}))
def test_every_decoder_is_exported_for_one_length(name: str, tmp_path: Path) -> None:
    assert_equal_numbers(exported(name, "fixed", tmp_path))


@pytest.mark.parametrize("name", ["temporal-convolution", "lstm"])
def test_any_length_is_for_the_decoders_that_can(name: str, tmp_path: Path) -> None:
    found = exported(name, "any", tmp_path)
    if name in ANY_LENGTH:
        assert_equal_numbers(found)
    else:
        assert "Recurrent can only be exported for one length: give length=" in found["error"]


@pytest.mark.parametrize("name", ["mean-linear", "vis4mer"])
def test_an_onnx_file_gives_the_same_logits_or_is_refused(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    found = exported(name, "onnx", tmp_path)
    if name in NOT_ONNX:
        assert "x.onnx: ONNX cannot express this decoder" in found["error"]
    else:
        assert_equal_numbers(found)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(DECODERS) - {"mean-linear", *NOT_ONNX}))
def test_every_other_decoder_becomes_an_onnx_file(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    assert_equal_numbers(exported(name, "onnx", tmp_path))
