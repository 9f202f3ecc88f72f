"""The settings file of `longvid extract`.

It has every option of the command, and what only a file can say.

    inputs: [s3://lab/films/]
    out: films.zarr
    encoder: facebook/dinov2-base
    sampling: {frames: 1, fps: 2}
    storage:                                # fsspec's options by protocol or start of a URL; $NAME: of the environment
      s3: {endpoint_url: "https://s3.lab.org", key: $LAB_KEY, secret: $LAB_SECRET}
    scheduler: slurm
    slurm: {account: vision, partition: gpu, gpus: 2, memory: 64GB, walltime: "08:00:00", directive: [--qos=high]}

`encoders:` in the place of `encoder` and `out` is a list of encoders that share one decoding, each with its own `out`,
`sampling`, `preprocessing` (with the size), `pooling`, and so on. The command line overrides the file.
"""

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from longvid.errors import ConfigError
from longvid.pipelines.cli.options import parse_sampling
from longvid.safe_yaml import YAMLError, parse_yaml
from longvid.video.storage import Storage

if TYPE_CHECKING:
    from typer import Context as Context

    from longvid.pipelines.extraction.encoder_settings import EncoderSettings
    from longvid.pipelines.extraction.together import Target
else:
    # click's own class, wherever this version of typer keeps click: that is what a command gets
    Context = next(base for base in reversed(typer.Context.__mro__) if base.__name__ == "Context")

ONLY_IN_FILES = ("storage", "encoders", "preprocessing")
NOT_IN_FILES = ("settings_file", "help", "plan", "as_json", "allow_code")
"""What a single command decides."""
_KEPT = "longvid.extract"


def take_settings(context: Context, path: Path | None) -> Path | None:
    """Make the file's values the defaults of the command's options. Raises `ConfigError` that names the setting."""
    if path is None or context.resilient_parsing:
        return path
    from longvid.validation import shown

    values = read_settings(path)
    options = {str(one.name): one for one in context.command.params}
    known = [name for name in options if name not in NOT_IN_FILES]
    for name in values:
        if name not in known and name not in ONLY_IN_FILES:
            close = difflib.get_close_matches(name, [*known, *ONLY_IN_FILES], 1)
            hint = f"do you mean {close[0]!r}?" if close else f"there are {', '.join([*known, *ONLY_IN_FILES])}"
            raise ConfigError(f"{path}: no setting {name!r}; {hint}")
    kept: dict[str, Any] = {"file": path, "storage": values.pop("storage", {})}
    kept["encoders"] = _encoders(path, values)
    kept["preprocessing"] = _mapping(path, "preprocessing", values.pop("preprocessing", {}))
    context.meta[_KEPT] = kept
    words = {name: _as_words(path, name, value) for name, value in values.items()}
    for name, value in words.items():
        try:
            options[name].process_value(context, value)
        except typer.BadParameter as error:
            raise ConfigError(f"{path}: {name}={shown(values[name])}: {error.format_message()}") from None
    context.default_map = {**(context.default_map or {}), **words}
    return path


def read_settings(path: Path) -> dict[str, Any]:
    """The plain values of a settings file. Raises `ConfigError` that never shows a value of it."""
    try:
        values = parse_yaml(path.read_text("utf-8"))
    except YAMLError as error:
        where = f":{error.line}" if error.line else ""
        raise ConfigError(f"{path}{where}: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or 'not UTF-8'})") from None
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise ConfigError(f"{path}: is not a list of named settings, such as `out: films.zarr`")
    return {name.replace("-", "_"): value for name, value in values.items() if value is not None}


def storage_of(context: Context, *, retries: int, stall_seconds: float) -> Storage:
    """How URLs are reached: the options of the settings file, if one is given."""
    kept = context.meta.get(_KEPT, {})
    try:
        return Storage.read(kept.get("storage", {}), retries=retries, stall_seconds=stall_seconds)
    except ConfigError as error:
        raise ConfigError(f"{kept['file']}: {error}" if kept else str(error)) from None


def encoders_of(context: Context) -> "list[EncoderSettings]":
    """The `encoders` of the settings file; empty without. Raises `ConfigError` for options that it cannot override."""
    encoders: "list[EncoderSettings]" = context.meta.get(_KEPT, {}).get("encoders", [])
    if not encoders:
        return []
    from longvid.pipelines.extraction.encoder_settings import PER_ENCODER

    given = [name for name in (*PER_ENCODER, "recipe") if _is_told(context, name)]
    if given:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ConfigError(
            f"{context.meta[_KEPT]['file']}: says for each of its encoders what {flags} says; change it there"
        )
    return encoders


def targets_of_file(context: Context, common: Mapping[str, Any], *, allow_code: bool) -> "list[Target]":
    """A job and a store for each of the file's `encoders`, with the settings that all have in common."""
    from longvid.pipelines.extraction import ExtractionJob
    from longvid.pipelines.extraction.together import Target

    targets = []
    for own in encoders_of(context):
        refuse_code_of(own.encoder, context, allow_code=allow_code)
        job = ExtractionJob(
            encoder=own.encoder,
            encoder_options=own.option,
            weights=own.weights,
            seed=own.seed,
            sampling=parse_sampling(own.sampling),
            pooling=own.pooling,
            preprocessing=own.preprocessing,
            dtype=own.dtype or "float16",
            precision=own.precision,
            batch_clips=own.batch_clips,
            **common,
        )
        targets.append(Target(job, own.out, own.clips_per_shard, own.compression))
    return targets


def refuse_code_of(encoder: str, context: Context, *, allow_code: bool) -> None:
    """Raise an `EncoderError` for an encoder that is code and that only the settings file names."""
    if _KEPT not in context.meta or allow_code or _is_told(context, "encoder"):
        return
    from longvid.encoders.registry import refuse_code

    remedy = f"give --encoder {encoder}, or --allow-code if the file is your own"
    refuse_code(encoder, source=str(context.meta[_KEPT]["file"]), remedy=remedy)


def preprocessing_of(context: Context) -> dict[str, Any]:
    """The `preprocessing` of the settings file."""
    found: dict[str, Any] = context.meta.get(_KEPT, {}).get("preprocessing", {})
    return found


def _is_told(context: Context, name: str) -> bool:
    """Whether the command line itself gives the option."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _encoders(path: Path, values: dict[str, Any]) -> "list[EncoderSettings]":
    """The listed encoders; what stands beside the list holds for each that does not say otherwise."""
    from longvid.pipelines.extraction.encoder_settings import PER_ENCODER, EncoderSettings

    listed = values.pop("encoders", None)
    if listed is None:
        return []
    if not isinstance(listed, list) or not listed or not all(isinstance(one, dict) for one in listed):
        raise ConfigError(f"{path}: encoders: give a list of named settings, each with `encoder` and `out`")
    for name in ("encoder", "out", "recipe"):
        if name in values:
            raise ConfigError(f"{path}: {name}: is said by each of the encoders; leave it out here")
    common = {name: values.pop(name) for name in PER_ENCODER if name in values}
    found = []
    for number, one in enumerate(listed):
        own = {str(name).replace("-", "_"): value for name, value in (common | one).items()}
        if isinstance(own.get("sampling"), dict):
            own["sampling"] = _as_words(path, "sampling", own["sampling"])
        try:
            found.append(EncoderSettings(**own))
        except ConfigError as error:
            raise ConfigError(f"{path}: encoders[{number}]: {error}") from None
    values["encoder"] = [one.encoder for one in found]
    values["out"] = [one.out for one in found]
    return found


def _as_words(path: Path, name: str, value: Any) -> Any:
    """The value as the command line would give it."""
    if name == "sampling" and isinstance(value, Mapping):
        return ",".join(f"{inner}={_scalar(own)}" for inner, own in value.items())
    if name in ("option", "slurm") and isinstance(value, Mapping):
        return [
            f"{inner}={_scalar(one)}"
            for inner, own in value.items()
            for one in (own if name == "slurm" and isinstance(own, list) else [own])
        ]
    if name in ("inputs", "encoder", "out") and isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        raise ConfigError(f"{path}: {name}: should not be named values")
    return value


def _scalar(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _mapping(path: Path, name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: {name}: should be named values")
    return value
