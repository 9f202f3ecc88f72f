"""Runs at `hf://user/name` on the Hugging Face Hub, as local folders.

A run's configuration, metrics and safetensors are downloaded once per commit; nothing else is, and nothing in them is
imported or run. `HF_ENDPOINT` names another server, `HF_TOKEN` is the token of a private repository, `HF_HUB_OFFLINE`
takes what is there. The repository's commit can be given: `hf://user/name@0123abcd`.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from longvid.errors import BackendUnavailable, ConfigError, short_reason

if TYPE_CHECKING:
    from huggingface_hub import HfApi

SCHEME = "hf://"
RUN_FILES = ("*.json", "*.jsonl", "*.yaml", "*.csv", "*.safetensors", "README.md")
"""What of a run is pushed and fetched."""
_PLACE = re.compile(
    r"hf:/+(?P<datasets>datasets/)?(?P<repo>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[\w./-]+?))?(?:/(?P<path>.+))?/?"
)
REMEDY = "check the name, HF_TOKEN (for a private repository) and HF_ENDPOINT"


@dataclass(frozen=True)
class HubPlace:
    """A repository of the Hub, and a path in it."""

    repo: str
    kind: str
    """`model` (runs) or `dataset` (stores)."""
    revision: str | None = None
    path: str = ""


def hub_place(place: str | Path) -> HubPlace | None:
    """The place that a URL names; None for anything but `hf:`. A `Path`, which has lost a slash, is understood too.

    Raises `ConfigError` for a URL that names no repository.
    """
    text = str(place)
    if not text.startswith("hf:/"):
        return None
    match = _PLACE.fullmatch(text)
    if match is None or ".." in text:
        raise ConfigError(
            f"{text}: is no place on the Hub; hf://user/name is a run, hf://datasets/user/name/x.zarr a store"
        )
    kind = "dataset" if match["datasets"] else "model"
    return HubPlace(match["repo"], kind, match["revision"], match["path"] or "")


def hub_api() -> "HfApi":
    """The Hub's interface at `HF_ENDPOINT`, with the token of `HF_TOKEN` or of `hf auth login`."""
    import os

    try:
        from huggingface_hub import HfApi
    except ModuleNotFoundError:
        raise BackendUnavailable("hf:// needs huggingface_hub: pip install 'longvid[hub]'") from None
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=os.environ.get("HF_TOKEN"), library_name="longvid")


def local_run(run: str | Path) -> Path:
    """The folder of a run: `run` itself, or for `hf://user/name` a copy in this user's cache, made once per commit.

    Raises `ConfigError` with the remedy where the repository cannot be read.
    """
    place = hub_place(run)
    if place is None:
        return Path(run)
    if place.kind != "model":
        raise ConfigError(f"{run}: a run is in a model repository, hf://user/name; hf://datasets/... is a store")
    from platformdirs import user_cache_path

    api = hub_api()
    try:
        commit = api.model_info(place.repo, revision=place.revision).sha
        into = user_cache_path("longvid") / "runs" / place.repo.replace("/", "--") / str(commit)
        # into a folder of its own, not the Hub's cache: files there are links, which a run's folder may not hold
        api.snapshot_download(place.repo, revision=commit, local_dir=into, allow_patterns=list(RUN_FILES))
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(f"hf://{place.repo}: cannot be read: {short_reason(error)}; {REMEDY}") from None
    return into / place.path if place.path else into
