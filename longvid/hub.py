"""Runs at `hf://user/name` on the Hugging Face Hub, as local folders.

A run's configuration, metrics and safetensors are downloaded once per commit; nothing else is, and nothing in them is
imported or run. `HF_ENDPOINT` names another server, `HF_TOKEN` is the token of a private repository, `HF_HUB_OFFLINE`
takes what was read last. The repository's commit can be given: `hf://user/name@0123abcd`.
"""

import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from longvid.errors import BackendUnavailable, ConfigError, LongvidError, short_reason
from longvid.files import write_bytes

if TYPE_CHECKING:
    from huggingface_hub import HfApi

SCHEME = "hf://"
RUN_FILES = ("*.json", "*.jsonl", "*.yaml", "*.csv", "*.safetensors", "README.md")
"""What of a run is pushed and fetched."""
_PLACE = re.compile(
    r"hf:/+(?P<datasets>datasets/)?(?P<repo>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[\w./-]+?))?(?:/(?P<path>.+))?/?"
)
_COMMIT = re.compile(r"[0-9a-f]{40,64}")
PAUSES, PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 5, 5.0, 300.0
"""How often a busy Hub is waited for, how long where it names no time, and at most; its limits count five minutes."""
BUSY = 429
Answer = TypeVar("Answer")
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
            f"{text}: is not a place on the Hub; hf://user/name is a run, hf://datasets/user/name/x.zarr a store"
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

    What a command writes into the copy (scores, say) stays there. Where the Hub cannot be reached, or must not be
    (`HF_HUB_OFFLINE`), the commit that was read last is taken. Raises `ConfigError` with the remedy where the
    repository cannot be read.
    """
    place = hub_place(run)
    if place is None:
        return Path(run)
    if place.kind != "model":
        raise ConfigError(f"{run}: a run is in a model repository, hf://user/name; hf://datasets/... is a store")
    from platformdirs import user_cache_path

    home = user_cache_path("longvid") / "runs" / place.repo.replace("/", "--")
    with told_of_the_hub(f"hf://{place.repo}", "cannot be read"):
        commit = _commit(place, home)
        # into a folder of its own, not the Hub's cache: files there are links, which a run's folder may not hold
        into, whole = home / commit / place.repo.partition("/")[2], home / f"{commit}.whole"
        if not whole.is_file():
            patient(
                hub_api().snapshot_download, place.repo, revision=commit, local_dir=into, allow_patterns=list(RUN_FILES)
            )
            write_bytes(whole, b"all files of the commit are there\n")
    return into / place.path if place.path else into


def _commit(place: HubPlace, home: Path) -> str:
    """The commit of the place's revision: what the Hub says, or said last."""
    noted = home / f"{quote(place.revision or 'main', safe='')}.commit"
    if place.revision and _COMMIT.fullmatch(place.revision) and (home / f"{place.revision}.whole").is_file():
        return place.revision
    try:
        about = patient(hub_api().model_info, place.repo, revision=place.revision)
    except _unreachable() as error:
        refused = getattr(error, "response", None) is not None  # the Hub answered
        if refused or not noted.is_file():
            raise
        return _named(noted.read_text(encoding="ascii").strip())
    _refuse_places_outside(place, [file.rfilename for file in about.siblings or ()])
    commit = _named(str(about.sha))
    write_bytes(noted, f"{commit}\n".encode())
    return commit


def _named(commit: str) -> str:
    """The name of a commit, which becomes the name of a folder."""
    if not _COMMIT.fullmatch(commit):
        raise ValueError(f"{commit[:80]!r} is not the name of a commit")
    return commit


def _refuse_places_outside(place: HubPlace, names: Iterable[str]) -> None:
    """Raises `ConfigError` for names that would be written outside the copy: a server may say anything."""
    for name in names:
        if name.startswith(("/", "\\")) or ":" in name or ".." in name.replace("\\", "/").split("/"):
            raise ConfigError(
                f"hf://{place.repo}: lists the file {name[:80]!r}, which lies outside it; do not use this repository"
            )


@contextmanager
def told_of_the_hub(place: str, what: str, *, then: str = "") -> Iterator[None]:
    """Turn what the Hub's client raises into `ConfigError`: the place, `what` happened, the reason and the remedy."""
    try:
        yield
    except LongvidError:
        raise
    except _unreachable(ValueError, RuntimeError) as error:
        raise ConfigError(f"{place}: {what}: {_reason(error)}; {REMEDY}{then}") from None


def patient(call: Callable[..., Answer], *words: Any, **named: Any) -> Answer:
    """What a call to the Hub returns; where the Hub asks for a pause (429), the call is made again after it."""
    for _ in range(PAUSES):
        try:
            return call(*words, **named)
        except OSError as error:
            response = getattr(error, "response", None)
            if response is None or response.status_code != BUSY:
                raise
            told = str(response.headers.get("Retry-After", ""))
            time.sleep(min(float(told), LONGEST_PAUSE_SECONDS) if told.isdecimal() else PAUSE_SECONDS)
    return call(*words, **named)


def _reason(error: Exception) -> str:
    """What the Hub said, in one line: the client's messages have the status first, the reason below, then advice."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = " ".join(lines[:2]) if getattr(error, "response", None) is not None else lines[0] if lines else ""
    if isinstance(error, RuntimeError) and error.__cause__ is not None:  # a thread's: the reason is its cause
        said = f"{said.rstrip('.')} ({short_reason(str(error.__cause__))})"
    return short_reason(said or type(error).__name__)


def _unreachable(*more: type[Exception]) -> tuple[type[Exception], ...]:
    """OSError, which is raised without a connection, what the HTTP library of the Hub has instead, and `more`."""
    loaded = (sys.modules.get(name) for name in ("httpx2", "httpx"))
    return (OSError, *more, *(module.HTTPError for module in loaded if module is not None))
