"""Every wrong or hostile `.npy` folder is refused in one line, and nothing in it is run or followed."""

import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from zarr.storage import MemoryStore

from longvid.stores import FeatureStore, StoreError, verify
from longvid.stores.convert import export_npy, import_npy

pytestmark = pytest.mark.faults

ARRAY = np.arange(60, dtype=np.float32).reshape(3, 5, 4)


def saved(array: np.ndarray, **options: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array, **options)
    return out.getvalue()


def with_header(text: str, *, version: bytes = b"\x01\x00", length: int | None = None, body: bytes = b"") -> bytes:
    """A file whose header says `text`."""
    header = text.encode("latin-1")
    return (
        b"\x93NUMPY" + version + (length if length is not None else len(header)).to_bytes(2, "little") + header + body
    )


def of_shape(shape: str, descr: str = "'<f4'") -> bytes:
    return with_header(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n", body=ARRAY.tobytes())


class Sneaky:
    """Unpickling it would make a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("pwned",)


def archive() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("a.npy", saved(ARRAY))
    return out.getvalue()


FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is not a readable .npy file"),
    "no npy": (b"no numpy at all", "is not a readable .npy file"),
    "only the magic": (b"\x93NUMPY", "is not a readable .npy file"),
    "unknown version": (with_header("{}", version=b"\x09\x09"), "is not a readable .npy file"),
    "cut in the header": (saved(ARRAY)[:40], "is not a readable .npy file"),
    "cut in the numbers": (saved(ARRAY)[:-7], "is not a readable .npy file"),
    "header length that lies": (with_header("{}", length=65535), "is not a readable .npy file"),
    "header that is code": (with_header("__import__('os').mkdir('pwned')"), "is not a readable .npy file"),
    "header nested deep": (with_header("(" * 9000 + ")" * 9000), "is not a readable .npy file"),
    "header of other keys": (with_header("{'descr': '<f4'}"), "is not a readable .npy file"),
    "object array": (saved(np.array([Sneaky()], dtype=object)), "is not a readable .npy file"),
    "bare pickle": (b"\x80\x04\x95\x0f\x00\x00\x00\x00\x00\x00\x00]\x94.", "is not a readable .npy file"),
    "archive of arrays": (archive(), "is not a readable .npy file"),
    "a terabyte claimed": (of_shape("(250_000_000_000, 1, 1)"), "is not a readable .npy file"),
    "more than an address": (of_shape("(2**70, 5, 4)"), "is not a readable .npy file"),
    "shape beyond 64 bits": (of_shape(f"({2**70}, 5, 4)"), "is not a readable .npy file"),
    "negative shape": (of_shape("(-3, 5, 4)"), "is not a readable .npy file"),
    "shape of text": (of_shape("('3', 5, 4)"), "is not a readable .npy file"),
    "no clip": (saved(ARRAY[:0]), "an array of shape (0, 5, 4), expected (clip, token, dim)"),
    "no axis": (saved(np.float32(1)), "an array of shape (), expected (clip, token, dim)"),
    "integers": (saved(ARRAY.astype(int)), "features must be floating point"),
    "complex": (saved(ARRAY.astype(np.complex64)), "features must be floating point"),
    "records": (saved(np.zeros((3, 5, 4), [("a", "<f4"), ("b", "<f4")])), "features must be floating point"),
    "dates": (saved(np.zeros((3, 5, 4), "datetime64[s]")), "features must be floating point"),
    "text": (saved(np.full((3, 5, 4), "1.0")), "features must be floating point"),
    "unknown type": (of_shape("(3, 5, 4)", "'<f3'"), "is not a readable .npy file"),
    "nan": (saved(np.where(ARRAY == 7, np.nan, ARRAY)), "gave nan"),
    "infinity": (saved(np.where(ARRAY == 7, np.inf, ARRAY)), "gave inf"),
}


@pytest.mark.parametrize("case", FILES)
def test_a_hostile_npy_file_is_refused_in_one_line(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content, message = FILES[case]
    (tmp_path / "in").mkdir()
    (tmp_path / "in/v.npy").write_bytes(content)
    refused(tmp_path / "in", message, "v")
    assert not (tmp_path / "pwned").exists()


def refused(folder: Path, message: str, name: str) -> None:
    with pytest.raises(StoreError) as raised:
        import_npy(folder, MemoryStore(), seconds_per_clip=1)
    assert message in str(raised.value)
    assert name in str(raised.value)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 600


DEEP = "[" * 100_000 + "]" * 100_000
SIDECARS = {
    "deep": (DEEP, "v.json: is not JSON"),
    "deep where it can still be read": ('{"source": {"a": ' + "[" * 500 + "]" * 500 + "}}", "nested deeper than"),
    "deep seconds": ('{"seconds": ' + "[[" + "[" * 40 + "]" * 40 + "]]}", "but (1, 5, 4) were expected"),
    "no text": ("\udcff\udcfe", "v.json: is not a readable JSON file"),
    "ragged seconds": ('{"seconds": [[0, 1], [1]]}', "v.json: is not a readable list of seconds"),
    "seconds of text": ('{"seconds": [["a", "b"]]}', "v.json: is not a readable list of seconds"),
    "seconds that are an object": ('{"seconds": {"a": 1}}', "v.json: is not a readable list of seconds"),
    "seconds that are NaN": ('{"seconds": [[0, NaN]]}', "NaN is not JSON"),
    "seconds backwards": ('{"seconds": [[2, 3], [1, 2], [0, 1]]}', "clip 1 lies before clip 0"),
    "huge number": ('{"seconds": [[0, ' + "9" * 5000 + "]]}", "v.json: is not JSON"),
    "source that is a list": ('{"source": [1]}', "v.json: its source must be a JSON object"),
    "key that is a list": ('{"key": ["a"]}', "a key must be a string"),
    "key that is empty": ('{"key": ""}', "a key must be a string"),
}


@pytest.mark.parametrize("case", SIDECARS)
def test_a_hostile_sidecar_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    content, message = SIDECARS[case]
    np.save(tmp_path / "v.npy", ARRAY)
    (tmp_path / "v.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    refused(tmp_path, message, "")


RECIPE: dict[str, Any] = {
    "encoder": "e", "encoder_config": {}, "weights_sha256": "", "sampling": {}, "preprocessing": {}, "pooling": "p",
    "num_tokens": 5, "dim": 4, "dtype": "float32", "format": 1,
}  # fmt: skip
LAYOUT: dict[str, Any] = {"clips_per_shard": 4, "clips_per_chunk": 2, "compression": None}
DESCRIPTIONS = {
    "deep": (DEEP, "does not describe a store"),
    "a list": ("[]", "does not describe a store"),
    "recipe of text": (json.dumps({"recipe": "x", "layout": LAYOUT}), "recipe"),
    "huge dim": (json.dumps({"recipe": RECIPE | {"dim": 10**12}, "layout": LAYOUT}), "bytes per clip"),
    "huge chunk": (
        json.dumps({"recipe": RECIPE, "layout": LAYOUT | {"clips_per_shard": 10**9, "clips_per_chunk": 10**9}}),
        "describes",
    ),
    "huge shard": (json.dumps({"recipe": RECIPE, "layout": LAYOUT | {"clips_per_shard": 10**18}}), "describes shards"),
    "broken sizes": (json.dumps({"recipe": RECIPE, "layout": LAYOUT | {"clips_per_shard": 4.0}}), "describes shards"),
    "unknown layout": (json.dumps({"recipe": RECIPE, "layout": {"a": 1}}), "does not describe a store"),
    "unknown compression": (json.dumps({"recipe": RECIPE, "layout": LAYOUT | {"compression": "x"}}), "compression"),
}


@pytest.mark.parametrize("case", DESCRIPTIONS)
def test_a_hostile_description_of_a_store_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    content, message = DESCRIPTIONS[case]
    np.save(tmp_path / "v.npy", ARRAY)
    (tmp_path / "_store.json").write_text(content)
    refused(tmp_path, message, "")


@pytest.mark.skipif(os.name != "posix", reason="pipes and links of POSIX")
@pytest.mark.parametrize("kind", ["folder", "pipe", "dangling link", "link outside", "sidecar outside", "link loop"])
@pytest.mark.timeout(20)
def test_what_is_no_file_of_the_folder_is_not_opened(kind: str, tmp_path: Path) -> None:
    folder, file = tmp_path / "in", tmp_path / "in/v.npy"
    folder.mkdir()
    np.save(tmp_path / "secret.npy", ARRAY)
    (tmp_path / "secret.json").write_text('{"source": {"secret": 1}}')
    makers: dict[str, Callable[[], object]] = {
        "folder": file.mkdir,
        "pipe": lambda: os.mkfifo(file),
        "dangling link": lambda: file.symlink_to("nowhere"),
        "link outside": lambda: file.symlink_to(tmp_path / "secret.npy"),
        "sidecar outside": lambda: (np.save(file, ARRAY), (folder / "v.json").symlink_to(tmp_path / "secret.json")),
        "link loop": lambda: file.symlink_to(file),
    }
    makers[kind]()
    refused(folder, "link to a file outside" if "outside" in kind else "is not a regular file", "v.")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_either_byte_order_is_imported_as_the_numbers_it_holds(dtype: str, order: str, tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", ARRAY.astype(order + dtype))
    store = import_npy(tmp_path, MemoryStore(), seconds_per_clip=1)
    np.testing.assert_array_equal(store.video("v").read(0, 3), ARRAY)
    assert verify(store) == []


def test_a_source_that_names_another_type_of_number_is_not_believed_by_an_export(
    store: FeatureStore, tmp_path: Path, make_features: Callable[..., np.ndarray], write_video: Callable[..., None]
) -> None:
    for index, imported in enumerate(["text", {"dtype": "object"}, {"dtype": "int8"}, {"dtype": ["f4"]}, {}]):
        write_video(store, f"v{index}", make_features(3), source={"imported": imported})
    for file in export_npy(store, tmp_path / "out"):
        assert np.load(file).dtype == np.float16


def fuzzed(tmp_path: Path, flips: int, seed: int) -> list[str]:
    """Imports of folders with one bit flipped; returns what the refusals say. Another exception fails the test."""
    np.save(tmp_path / "v.npy", ARRAY)
    (tmp_path / "v.json").write_text('{"key": "v", "seconds": [[0, 1], [1, 2], [2, 3]], "source": {"a": 1}}')
    draw, refusals = np.random.default_rng(seed), list[str]()
    files = {name: (tmp_path / name).read_bytes() for name in ("v.npy", "v.json")}
    for _ in range(flips):
        name = str(draw.choice(list(files)))
        content = bytearray(files[name])
        content[int(draw.integers(len(content)))] ^= 1 << int(draw.integers(8))
        (tmp_path / name).write_bytes(content)
        try:
            import_npy(tmp_path, MemoryStore(), seconds_per_clip=1, dtype="float32")
        except StoreError as error:
            refusals.append(str(error))
        (tmp_path / name).write_bytes(files[name])
    return refusals


@pytest.mark.parametrize("flips", [300, pytest.param(2000, marks=pytest.mark.slow)])
def test_a_flipped_bit_gives_another_number_or_one_line(flips: int, tmp_path: Path) -> None:
    refusals = fuzzed(tmp_path, flips, seed=flips)
    assert flips > len(refusals) > flips // 10
    assert not any("\n" in refusal for refusal in refusals)
