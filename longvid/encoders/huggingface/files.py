"""The files of a Hugging Face model: found, fetched and read safely.

They are read without running anything they contain. Weights are read from safetensors; if there is only a pickle, its
tensors alone are read, and it is refused if it holds code. The local cache is asked before the network, and a missing
network is noticed in seconds.
"""

import os
import re
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from torch import Tensor

from longvid.errors import EncoderError, WeightsError, short_reason
from longvid.files import read_json
from longvid.safe_yaml import parse_yaml
from longvid.weights import read_checkpoint

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
CONNECT_SECONDS = 3.0
SMALL_FILES = ("config.json", "preprocessor_config.json", "video_preprocessor_config.json", "processor_config.json")
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "merges.txt", "vocab.txt", "spiece.model", "tokenizer.model", "sentencepiece.bpe.model",
)  # fmt: skip
"""What the text tower of a model needs beside its weights."""
SAFE_INDEX, SAFE_FILE = "model.safetensors.index.json", "model.safetensors"
PICKLE_INDEX, PICKLE_FILE = "pytorch_model.bin.index.json", "pytorch_model.bin"


def model_folder(name: str, *, revision: str | None = None, weights: bool = True, fetch: bool = True) -> Path:
    """Folder that holds the files of a local model or a hub id; what is not in the cache is fetched.

    `weights=False`: configuration files are enough. Raises `EncoderError` if the folder does not exist, or if
    the hub has to be asked and cannot be, or must not be (`fetch=False`).
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise EncoderError(f"{name}: the folder holds no config.json, so it is not a Hugging Face model")
        return folder
    if not HUB_ID.fullmatch(name):
        raise EncoderError(f"{name}: neither an existing folder nor a hub id (owner/name)")
    cached = _cached_folder(name, revision)
    if cached is not None and (not weights or _has_weights(cached)):
        return cached
    if not fetch:
        raise EncoderError(
            f"{name} is not on this machine, and is not fetched because a file names it; where you trust it, give it "
            "yourself: --encoder (in Python encoder=) with its hub id, or with the local folder it is in now"
        )
    return _fetched_folder(name, revision, weights)


def weight_files(folder: Path) -> list[Path]:
    """Checkpoint files of a model folder: safetensors if there are any, else the pickle; empty if there are none."""
    for index, single in ((SAFE_INDEX, SAFE_FILE), (PICKLE_INDEX, PICKLE_FILE)):
        if (folder / index).is_file():
            return [folder / shard for shard in _shards(folder / index)]
        if (folder / single).is_file():
            return [folder / single]
    return []


def _shards(index: Path) -> list[str]:
    """Names of the files that an index lists; `WeightsError` for one that is not a file beside it."""
    listed = read_object(index).get("weight_map")
    names = list(listed.values()) if isinstance(listed, dict) else []
    strange = [name for name in names if not isinstance(name, str) or Path(name).name != name or "\\" in name]
    if strange or not names:
        what = f"names {strange[0]!r}, which is not a file beside it" if strange else "lists no files"
        raise WeightsError(f"{index}: {what}; fetch the model again")
    return sorted(set(names))


def read_state(paths: list[Path]) -> dict[str, Tensor]:
    """Tensors by name from checkpoint files. Raises `WeightsError` for one that is missing, damaged or holds code."""
    state: dict[str, Tensor] = {}
    for path in paths:
        state.update(read_checkpoint(path).state)
    return state


def model_licence(folder: Path) -> str:
    """The licence that the model card names; `""` if there is no card or it names none."""
    card = folder / "README.md"
    parts = card.read_text(errors="replace").split("---", 2) if card.is_file() else []
    if len(parts) < 3 or parts[0].strip():
        return ""
    try:
        header = parse_yaml(parts[1])
    except ValueError:
        return ""  # a card is prose: one that cannot be parsed names no licence
    licence = header.get("license", "") if isinstance(header, dict) else ""
    return ", ".join(licence) if isinstance(licence, list) else str(licence)


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object from a file; `EncoderError` names a file that does not hold one."""
    try:
        values = read_json(path)
    except (ValueError, RecursionError) as error:
        raise EncoderError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(values, dict):
        raise EncoderError(f"{path}: expected a JSON object, found {type(values).__name__}")
    return values


def _cached_folder(name: str, revision: str | None) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        # without the pattern, a snapshot that lacks any file of the repository, even an unused one, counts as absent
        folder = snapshot_download(name, revision=revision, local_files_only=True, allow_patterns=["config.json"])
    except LocalEntryNotFoundError:
        return None
    return Path(folder) if (Path(folder) / "config.json").is_file() else None


def _has_weights(folder: Path) -> bool:
    files = weight_files(folder)
    return bool(files) and all(file.is_file() for file in files)


def _fetched_folder(name: str, revision: str | None, weights: bool) -> Path:
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    # the client's http library has changed twice; both errors derive from the hub's own base error
    bases = [base for base in HfHubHTTPError.__bases__ if issubclass(base, Exception)]
    transport_errors: tuple[type[Exception], ...] = (*bases, OSError)
    remedy = f"fetch it where there is a network (`hf download {name}`), or give a local folder"
    if constants.HF_HUB_OFFLINE:
        raise EncoderError(f"{name} is not in the local cache and HF_HUB_OFFLINE is set; unset it, {remedy}")
    if not _reachable(constants.ENDPOINT):
        raise EncoderError(f"{name} is not in the local cache and {constants.ENDPOINT} cannot be reached; {remedy}")
    try:
        files = HfApi().list_repo_files(name, revision=revision)
        return Path(snapshot_download(name, revision=revision, allow_patterns=_wanted(files, weights)))
    except GatedRepoError as error:
        raise EncoderError(f"{name}: its owner asks for consent; accept it on the hub, then `hf auth login`") from error
    except RevisionNotFoundError as error:
        raise EncoderError(f"{name}: the hub has no revision {revision!r} of this model") from error
    except RepositoryNotFoundError as error:
        raise EncoderError(f"{name}: the hub has no such model, or it is private (`hf auth login`)") from error
    except transport_errors as error:
        raise EncoderError(f"{name}: could not be fetched ({short_reason(error)}); try again, or {remedy}") from error


def _wanted(files: list[str], weights: bool) -> list[str]:
    """Files worth fetching: configuration, model card, and one form of the weights."""
    wanted = [name for name in (*SMALL_FILES, *TOKENIZER_FILES, "README.md") if name in files]
    safe = [name for name in files if re.fullmatch(r"model[^/]*\.safetensors(\.index\.json)?", name)]
    pickled = [name for name in files if re.fullmatch(r"pytorch_model[^/]*\.bin(\.index\.json)?", name)]
    return wanted + (safe or pickled if weights else [])


def _reachable(endpoint: str) -> bool:
    """Whether the hub's host accepts a connection; behind a proxy only the request itself can tell.

    The hub's own client retries for 20 s or more before it reports that there is no network.
    """
    parts = urlsplit(endpoint)
    if any(os.environ.get(variable) for variable in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    try:
        socket.create_connection(
            (parts.hostname, parts.port or (80 if parts.scheme == "http" else 443)), timeout=CONNECT_SECONDS
        ).close()
    except OSError:
        return False
    return True
