"""Sizes that a file claims are compared with what it holds before memory is taken, by every command."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from longvid.stores.canonical import digest

BOUNDED = """
import io, json, resource, sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
# what commands load is not what a file makes them take
import torch, transformers, h5py, lightning.pytorch, torch._dynamo
from longvid.pipelines.cli import main

def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024

resource.setrlimit(resource.RLIMIT_AS, (12 * 2**30, 12 * 2**30))
told = []
for words in json.loads(sys.argv[1]):
    before, out, err = peak(), io.StringIO(), io.StringIO()
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main(words)
        status = "none"
    except SystemExit as ended:
        status = ended.code
    except BaseException as error:
        status = repr(error)
    told.append({"words": words, "status": status, "err": err.getvalue(), "grown": peak() - before})
print(json.dumps(told))
"""
MOST_BYTES = 400 * 2**20
"""That a command may take beyond what it has loaded: a run of three videos needs a tenth."""

Bounded = Callable[..., list[str]]


@pytest.fixture
def bounded(world: Any) -> Bounded:
    """Runs commands in one process of bounded memory; each must end with status 2 and one line, which is given."""

    def run(*commands: list[object]) -> list[str]:
        words = json.dumps([[str(word) for word in command] for command in commands])
        done = subprocess.run(
            [sys.executable, "-c", BOUNDED, words], cwd=world.folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        lines = []
        for told in json.loads(done.stdout.splitlines()[-1]):
            assert told["status"] == 2, told
            assert told["grown"] < MOST_BYTES, told
            found = [line for line in told["err"].splitlines() if line.strip()]
            assert len(found) == 1, told
            assert found[0].startswith("error: "), told
            lines.append(found[0])
        return lines

    return run


def test_a_decoder_larger_than_its_weights_is_refused_before_it_is_built(world, bounded):
    claims: list[dict[str, Any]] = [
        {"dim": 10**9},
        {"outputs": 10**8},
        {"dim": 50_000, "outputs": 60_000},
        {"name": "gru", "options": {"width": 30_000}},
        {"name": "lstm", "options": {"layers": 10**6}},
        {"name": "transformer", "dim": 40_000},
        {"name": "vis4mer", "options": {"state_size": 60_000}},
        {"name": "global-tokens", "options": {"dilations": [1] * 100_000}},
        {"name": "performer", "options": {"features": 60_000, "width": 60_000}},
        {"name": "temporal-convolution", "options": {"width": 60_000}},
    ]
    commands = []
    for number, claim in enumerate(claims):
        run = world.folder / f"run-{number}"
        shutil.copytree(world.run, run)
        world.change(run / "run.json", lambda record, claim=claim: record["decoder"].update(claim))
        commands.append(["evaluate", run])
    for line in bounded(*commands):
        assert "best.safetensors" in line


def test_what_a_store_counts_is_compared_with_what_lies_there(world, bounded):
    def claim(document: Any, **changes: Any) -> None:
        attributes = document["attributes"]
        attributes.update(changes)
        checked = {name: value for name, value in attributes.items() if name not in ("status", "checksum")}
        attributes["checksum"] = digest(checked)

    video = next(path for path in (world.store / "videos").iterdir() if path.name == "v3")
    world.change(video / "zarr.json", lambda document: claim(document, num_clips=2**26))
    rows = {"name": "v3", "key": "v3", "num_clips": 10**15, "start_seconds": 0, "end_seconds": 1, "complete": True}

    def poison(document: Any) -> None:
        document["attributes"] = {"videos": [rows], "checksum": digest([rows])}

    world.change(world.store / "catalogue" / "zarr.json", poison)
    (line,) = bounded(["evaluate", world.run])
    assert "v3" in line


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[]", "5", '{"attributes": {"videos": 7}}', ""])
def test_a_catalogue_of_any_shape_is_a_copy_that_is_passed_over(world, longvid, text):
    (world.store / "catalogue" / "zarr.json").write_text(text)
    status, _, err = longvid("evaluate", world.run)
    assert (status, err) == (0, "")


WRONG: list[Any] = [None, -1, 10**30, "x" * 1000, [], {}, [[[]]], [{"a": []}], {"a": {"b": None}}, True, 1e308]


def test_an_evaluation_of_wrong_shapes_makes_a_report_or_one_line(world, longvid):
    file = world.run / "evaluation" / "test.json"
    sound = json.loads(file.read_text())
    tried = 0
    for name in sound:
        for value in WRONG:
            file.write_text(json.dumps(sound | {name: value}))
            status, _, err = longvid("report", world.run, "--out", "page.html")
            tried += 1
            if status:
                assert (status, len(err.strip().splitlines())) == (2, 1), (name, value, err)
                assert "test.json" in err, (name, value, err)
    assert tried > 50


@pytest.mark.parametrize("file", ["model.safetensors.index.json", "config.json", "preprocessor_config.json"])
@pytest.mark.parametrize("text", ["[" * 100_000, '{"weight_map": ' * 50_000, "[]", '{"weight_map": 5}'])
def test_documents_of_a_model_folder_are_of_bounded_depth(world, refused, vision_model, file, text):
    vision_model(world.folder / "dino")
    if file.startswith("model."):
        Path("dino/model.safetensors").unlink()
    Path("dino", file).write_text(text)
    line = refused("extract", world.video, "-e", "dino", "-o", "x.zarr", "--scheduler", "serial")
    assert file in line or "dino" in line


@pytest.mark.parametrize(
    "kept",
    [
        5,
        [1],
        {"state_dict": 5, "callbacks": {}},
        {"state_dict": {"a": 5}, "callbacks": {}},
        {"state_dict": {}, "callbacks": {"History": 5}},
        {"state_dict": {"a": torch.zeros(1).expand(2**20, 2**20)}, "callbacks": []},
        b"",
        b"PK\x05\x06" + bytes(18),
        b"\x80\x04" + b"]" * 50_000 + b"a" * 49_999 + b".",
    ],
    ids=["number", "list", "no state", "no tensor", "no callback", "claims", "empty", "empty archive", "deep"],
)
def test_a_checkpoint_to_go_on_from_of_any_kind_is_one_line(world, refused, kept):
    (world.run / "seed-0" / "result.json").unlink()
    file = world.run / "seed-0" / "resume.ckpt"
    if isinstance(kept, bytes):
        file.write_bytes(kept)
    else:
        torch.save(kept, file)
    line = refused("train", world.run / "recipe.yaml")
    assert "resume.ckpt: is damaged, or was not written by longvid" in line
    assert "delete it" in line


def test_an_hdf5_file_and_arrays_that_reach_elsewhere_are_refused_by_the_command(world, bounded):
    import h5py

    secret = np.arange(60, dtype=np.float32).reshape(3, 5, 4)
    with h5py.File("secret.h5", "w") as file:
        file["s"] = secret
    with h5py.File("link.h5", "w") as file:
        file["v"] = h5py.ExternalLink("secret.h5", "/s")
    with h5py.File("virtual.h5", "w") as file:
        layout = h5py.VirtualLayout(shape=secret.shape, dtype="f4")
        layout[:] = h5py.VirtualSource("secret.h5", "s", shape=secret.shape)
        file.create_virtual_dataset("v", layout)
    with h5py.File("reference.h5", "w") as file:
        file["v"] = secret
        file.create_dataset("cells", (2,), dtype=h5py.ref_dtype)[0] = file["v"].ref
    with h5py.File("huge.h5", "w") as file:
        file.create_dataset("v", (10**12, 5, 40), "f4", chunks=(100, 5, 40))
    Path("arrays").mkdir()
    np.save("arrays/v0.npy", np.array([world.poison()], dtype=object), allow_pickle=True)
    names = ["link.h5", "virtual.h5", "reference.h5", "huge.h5", "arrays"]
    lines = bounded(*(["import", name, f"{name}.zarr", "--seconds-per-clip", "1"] for name in names))
    for name, line in zip(names, lines, strict=True):
        assert name in line
    assert not any(world.folder.glob("*.zarr/videos/*/tokens/c*/**")), "nothing of them was taken"


def test_a_coin_json_nested_deep_is_one_line(world, bounded):
    for number, text in enumerate(('{"database": ' * 100_000, "[" * 100_000)):
        folder = world.folder / f"coin-{number}"
        folder.mkdir()
        (folder / "COIN.json").write_text(text)
    commands = [
        ["prepare", "coin", "--videos", folder, "--annotations", folder / "COIN.json", "-o", "m.jsonl"]
        for folder in sorted(world.folder.glob("coin-*"))
    ]
    for line in bounded(*commands):
        assert "COIN.json" in line
