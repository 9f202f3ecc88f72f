"""Every encoder by name, and `build_encoder`, which builds it.

A name is resolved in this order:

1. a key of `ENCODERS`;
2. `hf:ID`, a local folder that holds a Hugging Face `config.json`, or a hub id (it has a `/`);
3. `timm:NAME` or `torchvision:NAME` (optional extras);
4. `package.module:callable` for an encoder of your own, importable wherever extraction runs.

A name of the fourth kind is code, and so may only come from who calls: the command line, or a program of one's own.
What a store, a run or a recipe file names goes through `refuse_code` first, which imports nothing.

One line adds an encoder of your own: `ENCODERS["colour"] = build_colour`, where `build_colour(**options)` returns an
`Encoder`; `longvid.encoders.wrap` makes one of any function or module.
"""

import difflib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import PydanticSchemaGenerationError

from longvid.code_names import imported, is_code
from longvid.encoders.base import Encoder
from longvid.encoders.saved import as_learned, recorded_options
from longvid.encoders.wrapping import Autocast
from longvid.errors import EncoderError
from longvid.validation import as_type

Builder = Callable[..., Encoder]


@dataclass(frozen=True)
class EncoderEntry:
    """A known encoder: its builder, imported only when it is used, and its entries for a table."""

    builder: str
    """`package.module:callable`; called with `weights`, `seed` and the options it names."""
    summary: str
    """What it is, in a phrase."""
    licence: str = ""
    """Licence of the published weights; empty if there are none."""
    arguments: tuple[Any, ...] = ()
    """First arguments of the builder: the variant, if one builder makes several."""

    def load(self) -> Builder:
        """The builder itself, imported now."""
        builder = _imported(self.builder)
        return partial(builder, *self.arguments) if self.arguments else builder


ENCODERS: dict[str, EncoderEntry | Builder] = {
    "patch-statistics": EncoderEntry(
        "longvid.encoders.tiny:build_patch_statistics",
        "hand-made colour, edge and motion statistics of each patch; nothing is learned",
    ),
    **{
        f"dualformer-{size}": EncoderEntry(
            "longvid.encoders.dualformer.build:build_dualformer",
            f"DualFormer {size}: attention alternates between local windows and a pyramid of the whole clip",
            "Apache-2.0",
            (f"dualformer-{size}",),
        )
        for size in ("tiny", "small", "base")
    },
    "dualformer-nano": EncoderEntry(
        "longvid.encoders.dualformer.build:build_dualformer",
        "DualFormer with two narrow stages, for training on a laptop; ours, 8 frames of 32 x 32",
        "",
        ("dualformer-nano",),
    ),
    **{
        f"mobile-former-{size}": EncoderEntry(
            "longvid.encoders.mobile_former.build:build_mobile_former",
            f"Mobile-Former: an image net of {size[:-1]} million multiply-adds with a few global tokens",
            "none stated",
            (f"mobile-former-{size}",),
        )
        for size in ("26m", "52m", "96m", "151m", "214m", "294m", "508m")
    },
    **{
        name: EncoderEntry(
            "longvid.encoders.mobile_former.build:build_mobile_former",
            f"Video Mobile-Former: {what}",
            "none stated",
            (name,),
        )
        for name, what in {
            "video-mobile-former-500m": "tokens for the whole clip; 16 frames, time halved twice, 0.46 GFLOPs",
            "video-mobile-former-1g": "16 frames, time never reduced, 0.73 GFLOPs",
            "video-mobile-former-1g-32f": "32 frames, time halved twice, 0.92 GFLOPs",
            "video-mobile-former-2g": "wider, 16 frames, 2.1 GFLOPs",
            "video-mobile-former-4g": "wider, 16 frames, 4.3 GFLOPs",
            "video-mobile-former-6g": "widest, 12 frames, 5.7 GFLOPs",
        }.items()
    },
    "video-mobile-former-nano": EncoderEntry(
        "longvid.encoders.mobile_former.build:build_mobile_former",
        "Video Mobile-Former with three narrow blocks, for training on a laptop; ours, 8 frames of 32 x 32",
        "",
        ("video-mobile-former-nano",),
    ),
    **{
        name: EncoderEntry("longvid.encoders.xvit.build:build_xvit", f"X-ViT: {what}", "Apache-2.0", (name,))
        for name, what in {
            "xvit-b16-8f": "a ViT-B/16 on each frame that mixes channels with its neighbours, 8 frames, Kinetics",
            "xvit-b16-16f": "the same, 16 frames in two segments of 8",
            "xvit-ssv2-b16-8f": "half of the channels mixed, 8 frames, Something-Something v2",
            "xvit-ssv2-b16-16f": "the same, 16 frames in one segment",
            "xvit-b16-8f-summary": "with the paper's summary tokens, a reconstruction",
        }.items()
    },
    "xvit-nano": EncoderEntry(
        "longvid.encoders.xvit.build:build_xvit",
        "X-ViT with three narrow blocks, for training on a laptop; ours, 8 frames of 32 x 32",
        "",
        ("xvit-nano",),
    ),
}

PREFIXES: dict[str, EncoderEntry] = {
    "hf": EncoderEntry(
        "longvid.encoders.huggingface:build_huggingface",
        "any Hugging Face image or video model: hf:ID, a local folder, or a hub id",
        "the model card's",
    ),
    "timm": EncoderEntry(
        "longvid.encoders.timm:build_timm", "any timm image model (extra: longvid[timm])", "the model card's"
    ),
    "torchvision": EncoderEntry(
        "longvid.encoders.torchvision:build_torchvision",
        "Video Swin and other torchvision models (extra: longvid[timm])",
        "BSD-3-Clause code; weights as their data sets allow",
    ),
}


def build_encoder(
    name: str,
    *,
    weights: str | None = None,
    seed: int = 0,
    dtype: str = "float32",
    fetch: bool = True,
    **options: Any,
) -> Encoder:
    """The encoder of that name, in evaluation mode and without gradients.

    `weights`: None for the encoder's own, `"random"` for a seeded start, or what its builder takes (a file). Weights
    that were learned here bring the frames, size and rate they were learned on, unless these are given.
    `dtype`: `"bfloat16"` or `"float16"` run it under autocast; its output is float32 in any case. The choice changes
    the features, so it is part of `spec.config`.
    `fetch`: whether weights that are not on this machine may be fetched; without it they are an `EncoderError`.
    `options` go to the builder. Raises `EncoderError` for an unknown name (near matches are listed) or option.
    """
    builder = find_builder(name)
    learned_on = {option: value for option, value in recorded_options(weights).items() if option in _declared(builder)}
    options = learned_on | options
    encoder = builder(**_arguments(name, builder, weights=weights, seed=seed, fetch=fetch, options=options))
    if not isinstance(encoder, Encoder):
        raise EncoderError(
            f"{name}: its builder returned {type(encoder).__name__}, not an Encoder; "
            "longvid.encoders.wrap(function, spec) makes one"
        )
    encoder = as_learned(encoder, weights)
    if dtype != "float32":
        encoder = Autocast(encoder, dtype)
    return encoder.eval().requires_grad_(False)


def find_builder(name: str) -> Builder:
    """The callable that builds the encoder of that name, by the rules at the top of this file."""
    if name in ENCODERS:
        entry = ENCODERS[name]
        return entry.load() if isinstance(entry, EncoderEntry) else entry
    prefix, _, rest = name.partition(":")
    if prefix in PREFIXES and rest:
        return partial(PREFIXES[prefix].load(), rest)
    if (name and Path(name).is_dir()) or ("/" in name and ":" not in name):
        return partial(PREFIXES["hf"].load(), name)
    if names_code(name):
        return _imported(name)
    raise EncoderError(_unknown(name))


def names_code(name: str) -> bool:
    """Whether building that encoder would import a module that is not longvid's: `package.module:callable`."""
    prefix = name.partition(":")[0]
    if name in ENCODERS or prefix in PREFIXES or "/" in name or (name and Path(name).is_dir()):
        return False
    return is_code(name)


def refuse_code(name: str, *, source: str, remedy: str) -> None:
    """Raise `EncoderError` where a name that stands in a file (`source`) is code. Nothing is imported to find out."""
    if names_code(name):
        raise EncoderError(
            f"{source} names the encoder {name!r}, which is code; what a file names is never imported: {remedy}"
        )


def declared_options(name: str) -> list[str]:
    """The options that the builder of an encoder declares by name, without those every encoder is given."""
    return sorted(_declared(find_builder(name)) - EVERYONES)


def encoder_table() -> list[dict[str, str]]:
    """Name, summary and weights licence of every known encoder, then of the families named by a prefix."""
    rows = []
    for name, entry in ENCODERS.items():
        if isinstance(entry, EncoderEntry):
            rows.append({"name": name, "summary": entry.summary, "licence": entry.licence})
        else:
            summary = (inspect.getdoc(entry) or "an encoder of your own").splitlines()[0]
            rows.append({"name": name, "summary": summary, "licence": ""})
    for prefix, entry in PREFIXES.items():
        rows.append({"name": f"{prefix}:...", "summary": entry.summary, "licence": entry.licence})
    return rows


EVERYONES = {"weights", "seed", "fetch"}
"""What `build_encoder` offers every builder that takes it; never an option that a file can set."""


def _declared(builder: Builder) -> set[str]:
    """Names of the arguments that a builder declares."""
    parameters = inspect.signature(builder).parameters.values()
    return {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}


def _arguments(
    name: str, builder: Builder, *, weights: str | None, seed: int, fetch: bool, options: dict[str, Any]
) -> dict[str, Any]:
    """Arguments for the builder: `weights`, `seed` and `fetch` where it takes them, and options it knows."""
    parameters = list(inspect.signature(builder).parameters.values())
    takes = _declared(builder)
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    if weights is not None and not (takes_any or "weights" in takes):
        raise EncoderError(f"{name}: weights={weights!r} was given, but this encoder loads no weights")
    unknown = [] if takes_any else sorted(set(options) - takes)
    if unknown:
        known = ", ".join(sorted(takes - EVERYONES)) or "none"
        raise EncoderError(f"{name}: no option {', '.join(unknown)}; its options: {known}")
    options = {option: _of_its_type(name, builder, option, value) for option, value in options.items()}
    offered = {key: value for key, value in (("weights", weights), ("seed", seed)) if takes_any or key in takes}
    offered |= {"fetch": fetch} if "fetch" in takes else {}
    arguments = offered | options
    absent = [p.name for p in parameters if p.name in takes - arguments.keys() and p.default is p.empty]
    if absent:
        raise EncoderError(f"{name}: needs the option {', '.join(absent)}")
    return arguments


def _of_its_type(name: str, builder: Builder, option: str, value: Any) -> Any:
    """The value converted to the type the builder's annotation names, so that `size=abc` is refused early."""
    while isinstance(builder, partial):
        builder = builder.func
    try:
        hint = get_type_hints(builder).get(option, Any) if inspect.isfunction(builder) else Any
        return as_type(hint, value)
    except (NameError, PydanticSchemaGenerationError):  # a user's builder may have any annotation
        return value
    except ValueError as fault:
        raise EncoderError(f"{name}: option {option}={value!r}: {fault}") from None


def _imported(reference: str) -> Builder:
    """The callable that `package.module:callable` names."""
    return imported(reference, what="an encoder", error=EncoderError)


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, ENCODERS, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return (
        f"no encoder is called {name!r}: {hint}`longvid encoders` lists the built-in ones; also a Hugging Face id with "
        "its owner (facebook/dinov2-base) or a local folder, timm:NAME, torchvision:NAME, package.module:callable"
    )
