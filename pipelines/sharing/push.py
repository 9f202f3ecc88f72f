"""Pushes a store or a run to the Hugging Face Hub, with a card.

A store goes to a dataset repository, under its own name; a run to a model repository: configuration, metrics and
safetensors alone, with absolute paths of this machine cut to their last part. The token comes from the environment.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from longvid.errors import ConfigError
from longvid.files import write_bytes
from longvid.hub import RUN_FILES, hub_api, patient, told_of_the_hub
from longvid.pipelines.sharing.cards import card_of_run, store_card
from longvid.pretrained import RECORD_FILE
from longvid.safe_yaml import parse_yaml
from longvid.stores import FeatureStore
from longvid.tasks.folders import VIDEO_ENDINGS
from longvid.trained import RUN_FILE

PLACES = (
    "store",
    "stores",
    "manifest",
    "out",
    "path",
    "label_path",
    "run",
    "predictions",
    "made_with",
    "init",
    "classes_file",
)
"""Fields of a run's documents that hold places; what is inside them does too."""
NAMED = ("manifest.jsonl", "evaluation")
"""Files of a run that name each video."""


@dataclass(frozen=True)
class Pushed:
    """What was pushed, and where to."""

    place: str
    """What is given to other commands: `hf://...`."""
    page: str
    files: int


def push(source: str | Path, repo: str, *, license: str, private: bool = False, private_names: bool = False) -> Pushed:
    """Push a store's or a run's folder to `user/name`, which is made where it is not there.

    With `private_names` nothing is pushed that names a video file or a path: a run's manifest and predictions stay
    here, and `ConfigError` names what else does. `private`: a repository that is made is private. Raises `ConfigError`
    too for an empty licence, a folder that is neither, a store with incomplete videos, and a Hub that refuses.
    """
    folder = Path(source)
    if not license.strip():
        raise ConfigError("a licence is needed: --license cc-by-4.0, or the licence of the encoder and the videos")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise ConfigError(f"{repo!r}: is not a repository of the Hub; give user/name")
    if (folder / RUN_FILE).is_file() or (folder / RECORD_FILE).is_file():
        return _push_run(folder, repo, license, private=private, private_names=private_names)
    if (folder / "zarr.json").is_file():
        return _push_store(folder, repo, license, private=private, private_names=private_names)
    raise ConfigError(
        f"{folder}: holds neither a store nor a run; a store elsewhere has to be copied into a folder first"
    )


def _push_store(folder: Path, repo: str, license: str, *, private: bool, private_names: bool) -> Pushed:
    store = FeatureStore.open(folder)
    unfinished = len(store.keys(complete=False)) - len(store)
    if unfinished or not len(store):
        raise ConfigError(f"{folder}: {unfinished} videos are not complete; run the same `longvid extract` again")
    linked = next((path for path in sorted(folder.rglob("*")) if path.is_symlink()), None)
    if linked is not None:  # what it points to would be read and published
        raise ConfigError(f"{linked}: is a link, which no store holds; nothing was pushed: remove it, then push again")
    if private_names:
        _refuse_names(folder, [*store.keys(), *store.made_with.values()], "extract with keys that are not file names")
    place = f"hf://datasets/{repo}/{folder.name}"
    card = store_card(store, license=license, place=place)
    files = sum(path.is_file() for path in folder.rglob("*"))
    _send([(folder, folder.name)], repo, "dataset", card, private)
    return Pushed(place, f"datasets/{repo}", files + 1)


def _push_run(folder: Path, repo: str, license: str, *, private: bool, private_names: bool) -> Pushed:
    card = card_of_run(folder, license=license, place=f"hf://{repo}")
    with TemporaryDirectory(prefix="longvid-push-") as temporary:
        staged = Path(temporary)
        for path in _files_of_run(folder, private_names):
            write_bytes(staged / path.relative_to(folder), _content(path, private_names))
        if private_names:
            texts = (text for path in staged.rglob("*") for text in _texts(path))
            _refuse_names(folder, texts, "train with a manifest whose keys are not file names")
        files = sum(path.is_file() for path in staged.rglob("*"))
        _send([(staged, "")], repo, "model", card, private)
    return Pushed(f"hf://{repo}", repo, files + 1)


def _files_of_run(folder: Path, private_names: bool) -> Iterator[Path]:
    """Safetensors and configuration; no links, no points to resume from, which are pickles."""
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        wanted = path.is_file() and not path.is_symlink() and any(inside.match(pattern) for pattern in RUN_FILES)
        if wanted and inside.name != "README.md" and not (private_names and inside.parts[0] in NAMED):
            yield path


def _content(path: Path, private_names: bool) -> bytes:
    """A file's bytes, with absolute paths of this machine cut in documents."""
    data = path.read_bytes()
    if path.suffix == ".json":
        document = _cut(json.loads(data))
        if private_names and path.name == RUN_FILE:
            # who was left out is counted in `listed` alone
            document |= {name: {} for name in ("missing", "too_short") if name in document}
        return json.dumps(document, indent=1, ensure_ascii=False).encode()
    if path.suffix == ".jsonl":
        lines = [json.dumps(_cut(json.loads(line)), ensure_ascii=False) for line in data.decode().splitlines() if line]
        return "".join(f"{line}\n" for line in lines).encode()
    if path.suffix == ".yaml":
        return yaml.safe_dump(_cut(parse_yaml(data.decode())), sort_keys=False, allow_unicode=True).encode()
    return data


def _cut(value: Any, *, is_place: bool = False) -> Any:
    """The value with the last part alone of every absolute path at a place; labels may look like paths."""
    if isinstance(value, dict):
        return {key: _cut(inner, is_place=is_place or key in PLACES) for key, inner in value.items()}
    if isinstance(value, list):
        return [_cut(inner, is_place=is_place) for inner in value]
    if is_place and isinstance(value, str) and _is_path(value):
        return re.split(r"[/\\]", value.rstrip("/\\"))[-1]
    return value


def _is_path(text: str) -> bool:
    return bool(re.match(r"/.|[A-Za-z]:[/\\]|\\\\|file://", text))


def _texts(path: Path) -> Iterator[str]:
    """Every text in a document, keys of objects among them."""
    if path.suffix not in (".json", ".jsonl", ".yaml", ".csv"):
        return
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".csv":
        yield from re.split(r"[,\n]", text)
        return
    documents = map(json.loads, text.splitlines()) if path.suffix == ".jsonl" else [parse_yaml(text)]
    for document in documents:
        yield from _strings(document)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from (*_strings(key), *_strings(inner))
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def _refuse_names(folder: Path, texts: Any, remedy: str) -> None:
    named = sorted({text for text in texts if "\n" not in text and (_is_path(text) or _is_video_name(text))})
    if named:
        raise ConfigError(
            f"{folder}: {len(named)} texts are paths or names of video files ({', '.join(named[:3])}); nothing was "
            f"pushed: {remedy}, or push without --private-names"
        )


def _is_video_name(text: str) -> bool:
    return Path(text).suffix.lower() in VIDEO_ENDINGS or ("/" in text and " " not in text and "://" not in text)


def _send(folders: list[tuple[Path, str]], repo: str, kind: str, card: str, private: bool) -> None:
    """Make the repository, upload the folders, and then the card: a repository with a card is whole."""
    api = hub_api()
    with told_of_the_hub(repo, "the Hub did not take it", then=", then push again: what is there is not sent again"):
        patient(api.create_repo, repo, repo_type=kind, private=private, exist_ok=True)
        for folder, inside in folders:
            patient(api.upload_folder, repo_id=repo, repo_type=kind, folder_path=folder, path_in_repo=inside)
        readme = {"path_or_fileobj": card.encode(), "path_in_repo": "README.md"}
        patient(api.upload_file, repo_id=repo, repo_type=kind, **readme)
