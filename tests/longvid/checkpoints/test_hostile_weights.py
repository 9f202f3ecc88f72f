"""Every wrong or hostile file of weights is refused in one line; nothing in it runs or takes the memory it claims."""

import io
import json
import os
import pickle
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import Tensor, nn

from longvid.checkpoints import load_weights, save_weights
from longvid.decoders import build_decoder
from longvid.errors import LongvidError, WeightsError
from longvid.trained import load_trained
from longvid.weights import fit_state, read_checkpoint

STATE = {"weight": torch.arange(12.0).reshape(3, 4), "bias": torch.arange(3.0)}


class Sneaky:
    """Unpickling it would make a folder."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("pwned",)


def safetensors(header: str | dict[str, Any], body: bytes = bytes(64), length: int | None = None) -> bytes:
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def entry(dtype: str = "F32", shape: tuple[int, ...] = (4,), offsets: tuple[int, int] = (0, 16)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def saved(value: Any, **options: Any) -> bytes:
    out = io.BytesIO()
    torch.save(value, out, **options)
    return out.getvalue()


def repacked(content: bytes) -> bytes:
    """A torch archive with its entries compressed, and a gigabyte of zeros among them."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in archive.namelist():
            packed.writestr(name, archive.read(name) + bytes(2**26 if name.endswith("/0") else 0))
    return out.getvalue()


FILES: dict[str, tuple[str, bytes]] = {
    "empty safetensors": ("safetensors", b""),
    "truncated safetensors": ("safetensors", save(STATE)[:-5]),
    "truncated header": ("safetensors", save(STATE)[:20]),
    "header length that lies": ("safetensors", safetensors("{}", length=2**60)),
    "header longer than the file": ("safetensors", safetensors("{}", length=5000)),
    "header that is no JSON": ("safetensors", safetensors("{" * 20)),
    "header nested deep": ("safetensors", safetensors("[" * 100_000)),
    "overlapping offsets": ("safetensors", safetensors({"a": entry(), "b": entry()})),
    "offsets beyond the end": ("safetensors", safetensors({"a": entry(offsets=(0, 2**40))})),
    "unknown type": ("safetensors", safetensors({"a": entry("Q7")}, bytes(16))),
    "shape beyond its bytes": ("safetensors", safetensors({"a": entry(shape=(2**40, 2**40))}, bytes(16))),
    "pickle called safetensors": ("safetensors", saved(STATE)),
    "empty checkpoint": ("pth", b""),
    "text": ("pth", b"these are no weights"),
    "code": ("pth", saved({"state_dict": STATE, "x": Sneaky()})),
    "bare pickle with code": ("pth", pickle.dumps(Sneaky())),
    "old pickle with code": ("pth", saved({"x": Sneaky()}, _use_new_zipfile_serialization=False)),
    "truncated archive": ("pth", saved(STATE)[:-300]),
    "truncated old pickle": ("pth", saved(STATE, _use_new_zipfile_serialization=False)[:-20]),
    "zip bomb": ("pth", repacked(saved(STATE))),
    "zip of something else": ("pth", repacked(saved(STATE))[:0] + b"PK\x05\x06" + bytes(18)),
    "a text of 2**62 bytes": ("pth", b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"abc."),
    "nested deep": ("pth", b"\x80\x04" + b"]" * 50_000 + b"a" * 49_999 + b"."),
    "a shape it does not hold": ("pth", saved({"a": torch.zeros(1).expand(2**20, 2**20)})),
    "a sparse tensor": ("pth", saved({"a": torch.eye(3).to_sparse()})),
    "a tensor without numbers": ("pth", saved({"a": torch.empty(3, device="meta")})),
    "a list": ("pth", saved([1, 2])),
    "numbers for names": ("pth", saved({1: torch.zeros(1)})),
    "no tensors": ("pth", saved({"a": 1})),
}


@pytest.mark.parametrize("case", FILES)
def test_a_hostile_file_of_weights_is_refused_in_one_line(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ending, content = FILES[case]
    path = tmp_path / f"weights.{ending}"
    path.write_bytes(content)
    with pytest.raises(WeightsError) as raised:
        read_checkpoint(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 700
    assert not (tmp_path / "pwned").exists()


def test_a_folder_without_weights_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").mkdir()
    for path in (tmp_path, tmp_path / "x.safetensors", tmp_path / "absent.pth"):
        with pytest.raises(WeightsError, match="no such file of weights"):
            read_checkpoint(path)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused_by_name(number: float) -> None:
    module = nn.Linear(4, 3)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with pytest.raises(WeightsError, match=r"here: holds NaN or infinity \(1\): bias"):
        fit_state(module, STATE | {"bias": torch.tensor([0.0, number, 1.0])}, source="here")
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_a_buffer_may_be_a_mask_of_infinities_but_not_of_nan() -> None:
    module = nn.Module()
    module.register_buffer("mask", torch.zeros(2))
    fit_state(module, {"mask": torch.tensor([0.0, -np.inf])}, source="here")
    with pytest.raises(WeightsError, match="holds NaN"):
        fit_state(module, {"mask": torch.tensor([0.0, np.nan])}, source="here")


def test_large_weights_whose_sum_overflows_are_not_taken_for_infinite() -> None:
    module = nn.Linear(4, 3)
    fit_state(module, STATE | {"bias": torch.full((3,), 3e38)}, source="here")
    assert module.bias.min() > 2e38


@pytest.fixture
def own(tmp_path: Path) -> Callable[..., Path]:
    """Writes a small decoder as our own file, its header changed."""

    def write(change: Callable[[dict[str, Any]], Any]) -> Path:
        decoder = build_decoder("mean-linear", dim=8, outputs=3, max_length=16)
        config = decoder.config
        path = save_weights(decoder, tmp_path / "w.safetensors", architecture="mean-linear", config=config)
        checkpoint = read_checkpoint(path)
        header = change(json.loads(checkpoint.beside["longvid"]))
        text = header if isinstance(header, str) else json.dumps(header)
        path.write_bytes(save(checkpoint.state, metadata={"longvid": text}))
        return path

    return write


HEADERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no JSON": lambda _: "{",
    "deep": lambda _: "[" * 100_000,
    "a list": lambda _: [],
    "no format": lambda _: {},
    "architecture that is a list": lambda header: header | {"architecture": ["x"]},
    "code for an architecture": lambda header: header | {"architecture": "os:system"},
    "config that is a list": lambda header: header | {"config": [1]},
    "a terabyte of weights": lambda header: header | {"config": header["config"] | {"dim": 10**12}},
    "sizes of text": lambda header: header | {"config": header["config"] | {"dim": "wide"}},
    "negative sizes": lambda header: header | {"config": header["config"] | {"dim": -8}},
}


def test_our_own_file_is_loaded_as_it_was_written(own: Callable[..., Path]) -> None:
    assert sum(p.numel() for p in load_weights(own(lambda header: header)).parameters())


@pytest.mark.parametrize("case", HEADERS)
def test_a_poisoned_header_of_our_own_file_is_refused_in_one_line(case: str, own: Callable[..., Path]) -> None:
    path = own(HEADERS[case])
    with pytest.raises(LongvidError) as raised:
        load_weights(path)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 700


def test_a_run_whose_weights_are_nan_or_damaged_is_refused(tmp_path: Path) -> None:
    decoder = build_decoder("mean-linear", dim=8, outputs=3, max_length=16)
    state = {name: tensor.clone() for name, tensor in decoder.state_dict().items()}
    path = tmp_path / "best.safetensors"
    for damaged in ({name: tensor * np.nan for name, tensor in state.items()}, {"other": torch.zeros(1)}):
        path.write_bytes(save(damaged))
        with pytest.raises(
            WeightsError, match=r"best\.safetensors: weights do not fit the decoder .*train the seed again"
        ):
            load_trained(path, decoder, sha256=None)
    path.write_bytes(save(state)[:-3])
    with pytest.raises(WeightsError, match="cut short"):
        load_trained(path, decoder, sha256=None)


@pytest.mark.parametrize("flips", [300, pytest.param(4000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["safetensors", "archive", "old pickle"])
def test_a_flipped_bit_gives_other_numbers_or_one_line(kind: str, flips: int, tmp_path: Path) -> None:
    state: dict[str, Tensor] = STATE | {"half": torch.ones(5, dtype=torch.float16), "count": torch.tensor(7)}
    contents = {
        "safetensors": save(state, metadata={"a": "b"}),
        "archive": saved({"state_dict": state, "epoch": 1}),
        "old pickle": saved({"state_dict": state, "epoch": 1}, _use_new_zipfile_serialization=False),
    }
    whole, draw, refusals = contents[kind], np.random.default_rng(flips), list[str]()
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pth")
    used = np.flatnonzero(np.frombuffer(whole, np.uint8))
    for _ in range(flips):
        content = bytearray(whole)
        content[int(draw.choice(used))] ^= 1 << int(draw.integers(8))
        path.write_bytes(content)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                read_checkpoint(path)
        except WeightsError as error:
            refusals.append(str(error))
    assert len(refusals) > flips // 20
    assert not any("\n" in refusal for refusal in refusals)
