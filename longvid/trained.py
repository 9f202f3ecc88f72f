"""Loading a trained decoder from the folder of a run.

    decoder, task, windows = longvid.load_decoder("runs/order", seed=0)
    scores = decoder(tokens)            # (batch, length, dim) -> logits; standardisation is included

The folder is only data: it names a decoder of `DECODERS` and its settings. Nothing in it is imported or unpickled, and
the weights must have the sha256 that the training recorded. A decoder of the user's own (`module:callable`) has to be
given again by who calls: `load_decoder("runs/mine", decoder="my_module:MyDecoder")`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from longvid.decoders import DECODERS, Decoder, DecoderEntry, build_decoder, names_code
from longvid.decoders.joined import JoinedStreams, StreamLayout
from longvid.decoders.own import Builder, build_own
from longvid.decoders.part import PartOf
from longvid.decoders.segmentation.refined import Refined, RefinementSettings
from longvid.decoders.standardise import Standardised
from longvid.errors import ConfigError, DecoderError, LongvidError, WeightsError, short_reason
from longvid.files import read_json
from longvid.hub import local_run
from longvid.paths import inside
from longvid.tasks.task import Task
from longvid.validation import Made, made
from longvid.weights import state_sha256
from longvid.weights.files import read_safetensors, read_shapes
from longvid.weights.fit import fit_shapes, fit_state
from longvid.windows.rule import Windows

FORMAT = 1
"""Version of the format of a run's folder (`run.json`)."""
WEIGHTS_FILE = "best.safetensors"
RUN_FILE, SEED_FILE = "run.json", "result.json"
SMALL_SETTING = 2**16
"""A count that every decoder accepts, however small its weights are (chunks and lengths in tokens)."""

A_TENSOR_EACH = ("layers", "refinements", "refinement_layers", "refinement.stages", "refinement.layers")
"""Counts of parts that have weights of their own."""


class TrainedDecoder(NamedTuple):
    """The decoder of one seed of a run, with its task and its windows."""

    decoder: Decoder
    """In evaluation mode, on the CPU; takes tokens as stored, and standardises them where the training did."""
    task: Task
    windows: Windows
    """How a video is divided into the windows that the decoder sees at once."""


@dataclass(frozen=True)
class DecoderRecord:
    """Everything that is needed to build the decoder again."""

    name: str
    dim: int
    outputs: int
    max_length: int
    options: dict[str, Any] = field(default_factory=dict)
    standardise: bool = False
    part: list[int] | None = None
    """(first, stop) of the outputs that belong to this task, where the decoder was trained for several."""
    refinement: dict[str, Any] | None = None
    """Fields of `RefinementSettings`, and `tokens_per_clip`, where refinement stages follow the decoder."""

    streams: StreamLayout | None = None
    """The token streams of several stores, where the decoder was trained on such."""
    columns: list[tuple[int, int]] | None = None
    """Features that are standardised, as half-open ranges; None: all, if `standardise` says so."""

    def build(self, own: Builder | None = None) -> Decoder:
        """The decoder, freshly initialised; `own` builds it in place of what the name says.

        A name of the form `module:callable` is imported: build no record of a file whose name the caller did not give.
        """
        options: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in self.options.items()}
        dim = self.dim if self.streams is None else self.streams.inner_dim
        sizes: dict[str, Any] = {"dim": dim, "outputs": self.outputs, "max_length": self.max_length}
        if own is None:
            decoder = build_decoder(self.name, **(sizes | options))
        else:
            decoder = build_own(self.name, own, **sizes, options=options)
        if self.refinement is not None:
            given = dict(self.refinement)
            tokens = given.pop("tokens_per_clip", 1)
            decoder = Refined(decoder, made(RefinementSettings, given), tokens_per_clip=tokens)
        if self.streams is not None:
            decoder = JoinedStreams(decoder, self.streams)
        elif self.standardise:
            decoder = Standardised(decoder, self.dim, columns=self.columns)
        return PartOf(decoder, *self.part) if self.part is not None else decoder


@dataclass(frozen=True)
class GivenDecoder:
    """What the caller says about a run's decoder; None: nothing, so that it must be one of `DECODERS`."""

    decoder: str | Builder | None = None
    """`module:callable`, a name of `DECODERS`, or the class or function itself."""
    options: dict[str, Any] | None = None
    """Options that the run's record may not give to code: text."""


def load_decoder(
    run: str | Path,
    *,
    seed: int | None = None,
    decoder: str | Builder | None = None,
    decoder_options: dict[str, Any] | None = None,
) -> TrainedDecoder:
    """The decoder that a run trained with `seed` (None: its first), with its task and its windows.

    `decoder`, with `decoder_options`: what builds it, for one of the user's own.
    Raises `ConfigError` for a folder without such a run or seed, and for a run of several tasks, each of which has a
    folder of its own to load; `WeightsError` for weights that are not the ones that were trained.
    """
    folder = local_run(run)

    def parts(values: dict[str, Any]) -> tuple[DecoderRecord, Task, Windows]:
        if values["format"] != FORMAT:
            raise ConfigError(f"{folder}: run of format {values['format']!r}, this version reads {FORMAT}")
        if values["task"]["kind"] == "joint":
            raise ConfigError(f"{folder} was trained for several tasks; load one of its parts, {folder}/*")
        task, windows = Task.from_dict(values["task"]), made(Windows, values["windows"])
        return made(DecoderRecord, values["decoder"]), task, windows

    record, task, windows = read_made(inside(folder, RUN_FILE), parts, remedy="train a run with `longvid train`")
    trained = trained_seeds(folder)
    if not trained or (seed is not None and seed not in trained):
        there = ", ".join(map(str, trained)) or "none"
        raise ConfigError(
            f"{folder}: the training of seed {seed} is not finished (finished seeds: {there}); train it first"
        )
    place = inside(folder, f"seed-{trained[0] if seed is None else seed}")
    given = GivenDecoder(decoder, decoder_options)
    return TrainedDecoder(trained_decoder(record, place, source=str(folder), given=given), task, windows)


def trained_seeds(folder: Path) -> list[int]:
    """Seeds of a run whose training has finished, in ascending order."""
    names = (path.parent.name for path in folder.glob(f"seed-*/{SEED_FILE}"))
    return sorted(int(match[1]) for name in names if (match := re.fullmatch(r"seed-([0-9]{1,10})", name)))


def trained_decoder(
    record: DecoderRecord, seed_folder: Path, *, source: str, given: GivenDecoder | None = None
) -> Decoder:
    """The decoder with a seed's best weights, in evaluation mode; their sha256 must be the recorded one.

    Raises `DecoderError` for a decoder that is not in `DECODERS`, unless the caller has `given` it.
    """
    record, own = _permitted(record, given or GivenDecoder(), source)
    noted = read_made(
        inside(seed_folder, SEED_FILE), lambda values: values["weights_sha256"], remedy=f"train {source} again"
    )
    weights = inside(seed_folder, WEIGHTS_FILE)
    _require_held(record, own, weights, source=source)
    decoder = _built(record, own, source=source)
    load_trained(weights, decoder, sha256=noted)
    return decoder.eval()


def _permitted(record: DecoderRecord, given: GivenDecoder, source: str) -> tuple[DecoderRecord, Builder | None]:
    """The record with a name that may be built, and the caller's own builder where that is not a name."""
    own = None
    if given.decoder is None:
        if record.name not in DECODERS:
            how = f"--decoder {record.name}" if names_code(record.name) else "--decoder module:callable"
            raise DecoderError(
                f"{source} names the decoder {record.name!r}, which is not one of {', '.join(DECODERS)}; nothing is "
                f"imported because a file names it: if it is your own, give {how} (in Python decoder=, or put it into "
                "longvid.DECODERS first)"
            )
    elif isinstance(given.decoder, str):
        record = replace(record, name=given.decoder)
    else:
        own = given.decoder
    known = own is None and isinstance(DECODERS.get(record.name), DecoderEntry)
    options = record.options if known else _plain_sizes(record.options, given.options or {}, source)
    return replace(record, options=options | (given.options or {})), own


def _plain_sizes(options: dict[str, Any], given: dict[str, Any], source: str) -> dict[str, Any]:
    """The recorded options that may go to code: numbers, truth values and lists of them, and the head.

    Text could name a file or an address; `ConfigError` where it was not given again.
    """
    for name, value in options.items():
        parts = value if isinstance(value, list | tuple) else [value]
        plain = all(part is None or isinstance(part, bool | int | float) for part in parts)
        if not (plain or name in given or (name == "head" and value in ("video", "steps"))):
            raise ConfigError(
                f"{source}: its decoder was trained with {name}={str(value)[:40]!r}; what a file says is not given to "
                f"code unless it is a number: repeat it by --decoder-option {name}=... (in Python decoder_options=)"
            )
    return dict(options)


def _built(record: DecoderRecord, own: Builder | None, *, source: str) -> Decoder:
    try:
        return record.build(own)
    except LongvidError:
        raise
    except (TypeError, ValueError, RuntimeError, MemoryError, OverflowError, ZeroDivisionError) as error:
        reason = short_reason(error)
        raise ConfigError(f"{source}: the decoder it describes cannot be built ({reason}); train it again") from None


def _require_held(record: DecoderRecord, own: Builder | None, weights: Path, *, source: str) -> None:
    """Refuse a decoder that is larger than its file of weights, before anything of it is allocated.

    First no setting may count more than the file can bear; then the decoder is built without numbers (on torch's meta
    device) and its shapes are compared with the file's header. A decoder of the caller's own may need numbers to be
    built, and is then held to the first alone.
    """
    _refuse_absent(weights)
    held = read_shapes(weights)
    numbers = max(SMALL_SETTING, sum(tensor.numel() for tensor in held.values()))
    counts = {"dim": record.dim, "outputs": record.outputs, **record.options}
    counts |= {f"refinement.{name}": value for name, value in (record.refinement or {}).items()}
    if record.streams is not None:
        counts |= {"width": record.streams.inner_dim, "streams": list(record.streams.dims)}
    for name, value in counts.items():
        told = len(value) if isinstance(value, list) else value
        a_tensor_each = name in A_TENSOR_EACH or isinstance(value, list)
        if isinstance(told, int) and told > (len(held) if a_tensor_each else numbers):
            raise ConfigError(
                f"{source}: its decoder has {name}={str(value)[:40]}, and {weights} holds {numbers:,} numbers in "
                f"{len(held):,} tensors, too few for it; run.json is damaged or was changed, copy the run again"
            )
    entry = None if own is not None else DECODERS.get(record.name)
    try:
        with torch.device("meta"):
            blank = _built(record, own, source=source)
    except Exception:
        if isinstance(entry, DecoderEntry) and entry.module.__module__.startswith("longvid."):
            raise
        return
    _fitting(fit_shapes, blank, held, weights)


def _fitting(fit: Callable[..., object], decoder: Decoder, state: Mapping[str, Tensor], weights: Path) -> None:
    """Run `fit`; an error names the file that does not fit and what to do."""
    try:
        fit(decoder, state, source=str(weights))
    except WeightsError as error:
        raise WeightsError(f"{weights}: weights do not fit the decoder ({error}); train the seed again") from None


def load_trained(path: Path, decoder: Decoder, *, sha256: str | None) -> str:
    """Load a seed's weights into its decoder, and return their digest. Nothing is unpickled.

    Raises `WeightsError` where they are missing, do not fit, or have another digest than `sha256` (None: any).
    """
    _refuse_absent(path)
    _fitting(fit_state, decoder, read_safetensors(path).state, path)
    found = weights_sha256(decoder)
    if sha256 is not None and found != sha256:
        raise WeightsError(
            f"{path}: is not what was trained (sha256 of the weights {found[:12]}, recorded {str(sha256)[:12]}): it is "
            "damaged or was replaced; copy the run again, or train the seed again"
        )
    return found


def _refuse_absent(weights: Path) -> None:
    if not weights.is_file():
        raise WeightsError(f"{weights}: no weights; the seed has not finished an epoch yet, train it first")


def weights_sha256(decoder: Decoder) -> str:
    """The digest that a training records; for a part of a decoder, the digest of the whole one."""
    return state_sha256((decoder.decoder if isinstance(decoder, PartOf) else decoder).state_dict())


def read_made(path: Path, make: Callable[[Any], Made], *, remedy: str) -> Made:
    """What `make` builds from a run's JSON file. Raises `ConfigError` with the remedy if that fails at any step."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; {remedy}")
    try:
        values = read_json(path)
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: is not readable ({error}); {remedy}") from None
    try:
        return make(values)
    except ConfigError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        reason = " ".join(str(error).split())[:300] if type(error) is ValueError else repr(error)[:300]
        raise ConfigError(f"{path}: does not hold what longvid writes there ({reason}); {remedy}") from None
