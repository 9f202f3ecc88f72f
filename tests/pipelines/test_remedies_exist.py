"""Every command, option and setting that a message names exists, and the commands for a broken store mend it."""

import ast
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import numpy as np
import pytest
from typer.main import get_command

from longvid.errors import LongvidError
from longvid.pipelines.cli.main import app
from longvid.pipelines.training.config import TrainConfig
from longvid.stores import FeatureStore
from longvid.stores.errors import StoreError

ROOT = Path(__file__).parents[2]
ROOMS = ("stores", "longvid", "pipelines")
Command = Callable[..., tuple[int, str, str]]


def phrases(source: Path) -> Iterator[str]:
    """Every text in a file's code, `{}` for what is put in."""
    inside = set()
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            inside |= set(node.values)
            yield "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in inside:
            yield node.value


def all_phrases() -> Iterator[str]:
    for room in ROOMS:
        for source in (ROOT / room).rglob("*.py"):
            if not any(parent.is_symlink() for parent in source.parents):
                yield from phrases(source)


def commands() -> dict[str, click.Command]:
    """The commands of `longvid`, by name."""
    group = get_command(app)
    return dict(group.commands)  # type: ignore[attr-defined]


def options(command: click.Command) -> set[str]:
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}


def test_every_command_line_in_a_message_is_one_that_longvid_has():
    known, seen = commands(), set()
    for phrase in all_phrases():
        for told in re.findall(r"`longvid ([^`]*)`", phrase):
            for line in told.split(" && longvid "):
                words = line.split()
                for name in words[0].split("|"):
                    if name.startswith("-"):
                        continue  # an option of longvid itself
                    assert name in known, told
                    given = {word.partition("=")[0].rstrip(",") for word in words[1:] if word.startswith("-")}
                    assert given <= options(known[name]), told
                    seen.add(name)
    assert len(seen) > 12


def test_every_option_in_a_message_is_one_of_some_command():
    every = set().union(*(options(command) for command in commands().values()))
    elsewhere = {
        "pip": {"--force-reinstall"},
        "longvid itself": {"--version"},
        "sbatch": {"--gres", "--gpus", "--qos"},
        "tar": {"--sparse"},
        "dask": {"--tls-ca-file", "--tls-cert", "--tls-key", "--host", "--no-dashboard", "--dashboard-address"}
        | {"--worker-class"},
    }
    option = re.compile(r"(?<![\w-])--[a-z][a-z-]+[a-z]\b(?!-*[,>])")  # not the arrows of a drawing
    named = {name for phrase in all_phrases() for name in option.findall(phrase)}
    assert len(named) > 20
    assert named - every == set().union(*elsewhere.values())


def walk(command: Command, store: Path, told: str) -> None:
    """Run the command that a message names, on the store where it names none."""
    (line,) = re.findall(r"`longvid (\w+.*?)`", told)
    words = shlex.split(line)
    status, _, err = command(*words, *[] if len(words) > 1 else [store])
    assert status in (0, 1), err  # 1: something was found, and dealt with


def told_by(action: Callable[[], object]) -> str:
    """The one line of the error that ends an action."""
    with pytest.raises((LongvidError, StoreError)) as refused:
        action()
    assert "\n" not in str(refused.value)
    return str(refused.value)


def read(store: Path, key: str) -> np.ndarray:
    """All features of a video, read from a store that is opened anew."""
    video = FeatureStore.open(store).video(key)
    return video.read(0, video.num_clips)


@pytest.fixture
def store(make_data: Callable[..., Path]) -> Path:
    return make_data({"train": 4, "val": 2, "test": 2}) / "features.zarr"


def document(store: Path, key: str) -> Path:
    (found,) = [path for path in store.glob("videos/*/zarr.json") if f'"{key}"' in path.read_text()]
    return found


def test_a_damaged_document_is_repaired_by_the_command_that_its_message_names(store: Path, command: Command):
    document(store, "train/0").write_text("{")
    walk(command, store, told_by(lambda: read(store, "train/0")))
    keys = FeatureStore.open(store).keys()
    assert "train/0" not in keys
    assert len(keys) == 7


def test_an_exchanged_document_is_repaired_by_the_command_that_its_message_names(store: Path, command: Command):
    first, second = document(store, "train/0"), document(store, "train/1")
    second.write_bytes(first.read_bytes())
    walk(command, store, told_by(lambda: read(store, "train/1")))
    keys = FeatureStore.open(store).keys()
    assert "train/1" not in keys
    assert all(np.isfinite(read(store, key)).all() for key in keys)


def test_a_damaged_shard_is_repaired_by_the_command_that_its_message_names(store: Path, command: Command):
    shard = document(store, "train/0").parent / "tokens" / "c.0.0.0"
    held = bytearray(shard.read_bytes())
    held[5] ^= 1
    shard.write_bytes(held)
    walk(command, store, told_by(lambda: read(store, "train/0")))
    assert "not complete" in told_by(lambda: read(store, "train/0"))


def test_a_store_without_its_own_document_is_repaired_by_the_command_that_its_message_names(
    store: Path, command: Command
):
    before = FeatureStore.open(store).recipe
    (store / "zarr.json").unlink()
    walk(command, store, told_by(lambda: FeatureStore.create(store, before.model_copy(update={"dim": before.dim + 1}))))
    assert FeatureStore.open(store).recipe == before


def test_a_video_that_is_not_there_is_found_by_the_command_that_its_message_names(store: Path, command: Command):
    told = told_by(lambda: read(store, "train/77"))
    assert f"`longvid info {store} --videos`" in told
    status, out, _ = command("info", "--videos", store)
    assert status == 0
    assert "train/0" in out


def test_a_folder_without_a_run_gets_one_by_the_command_that_its_message_names(
    make_data: Callable[..., Path], recipe_for: Callable[..., TrainConfig], command: Command
):
    folder = make_data({"train": 4, "val": 2, "test": 2})
    status, _, err = command("evaluate", folder / "run")
    assert status == 2
    assert "`longvid train`" in err
    settings = ["epochs=1", "decoder.name=mean-linear", "tensorboard=false", "device=cpu", "seeds=[0]"]
    places = [f"store={folder / 'features.zarr'}", f"manifest={folder / 'manifest.jsonl'}", f"out={folder / 'run'}"]
    assert command("train", *places, *settings)[0] == 0
    assert command("report", folder / "run", "--out", folder / "page.html")[0] in (0, 2)
    assert command("evaluate", folder / "run")[0] == 0
