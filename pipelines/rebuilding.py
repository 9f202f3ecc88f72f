"""Builds the encoder of a run's features again, from its recipe.

A run and a store are files that people send each other. Their recipe names an encoder and its options; those are
followed where they name an encoder that longvid knows, with options that its builder declares, and weights that are
already on this machine. Code (`module:callable`) is never imported, and nothing is fetched, because a file says so:
for both, the caller gives `encoder`. What is built must be the encoder of the features, by the sha256 of its weights.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from longvid.clips.sampling import Sampling
from longvid.encoders import ENCODERS, Encoder
from longvid.encoders.huggingface.files import HUB_ID
from longvid.encoders.huggingface.text import TextEncoder, build_text_encoder
from longvid.encoders.origin import WeightsOrigin
from longvid.encoders.registry import PREFIXES, declared_options, names_code
from longvid.errors import ConfigError, EncoderError
from longvid.pipelines.extraction.job import ExtractionJob, prepared_spec
from longvid.pipelines.extraction.plan import DECODER, make_recipe
from longvid.stores import FeatureStore, Recipe

ALIGNED_POOLING = "embedding"
"""The pooling whose vectors lie in the space that a model shares with text."""


@dataclass(frozen=True)
class Given:
    """What the caller says about the encoder; None: nothing."""

    encoder: str | None = None
    """A name of a built-in encoder, a folder or hub id, or `module:callable`."""
    options: dict[str, Any] | None = None
    weights: str | None = None


def rebuilt(
    recipe: Recipe, made_with: dict[str, str], given: Given, *, source: str, device: str = "auto"
) -> tuple[ExtractionJob, Encoder]:
    """The extraction job that makes features of `recipe`, and its encoder.

    `made_with`: where the encoder was (`FeatureStore.made_with`). `source`: the run, for messages. Raises
    `EncoderError` for an encoder that only the user may name, `ConfigError` if it is not the encoder of the features.
    """
    job, encoder = built_again(recipe, made_with, given, source=source, device=device)
    weights = encoder.spec.weights_sha256
    if weights != recipe.weights_sha256:  # first: another encoder may not accept the size of these clips
        raise ConfigError(
            f"{source}: the encoder built here is not the one of the features (trained != built: weights_sha256: "
            f"{recipe.weights_sha256!r} != {weights!r}); give the weights that the features were made with (--weights "
            f"FILE, or --encoder {made_with.get('encoder', recipe.encoder)})"
        )
    try:
        differences = recipe.differences(make_recipe(job, encoder))
    except (RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(f"{source}: the encoder cannot encode the clips of the features ({_line(error)})") from error
    if differences:
        raise ConfigError(
            f"{source}: the encoder built here is not the one of the features (trained != built: "
            f"{'; '.join(differences)}); give the encoder and its options as they were at the extraction"
        )
    return job, encoder


def built_again(
    recipe: Recipe, made_with: dict[str, str], given: Given, *, source: str, device: str = "auto"
) -> tuple[ExtractionJob, Encoder]:
    """As `rebuilt`, but whatever encoder results: it may have other weights than the features' own."""
    return _built(job_of_recipe(recipe, made_with, given, source=source, device=device), source)


def text_encoder_of(store: FeatureStore, given: Given) -> TextEncoder:
    """The text tower of the model that made a store's features; its weights must be those of the recipe.

    Raises `EncoderError` for a store whose features are not in a space with text.
    """
    recipe = store.recipe
    if recipe.pooling != ALIGNED_POOLING:
        raise EncoderError(
            f"{store.location}: its features (encoder {recipe.encoder}, pooling {recipe.pooling}) are not in a space "
            "with text; extract with a model aligned with text and --pooling embedding, or search by example: --like"
        )
    job = job_of_recipe(recipe, store.made_with, given, source=store.location)
    name = str(job.encoder)
    if names_code(name):
        raise EncoderError(f"{name}: an encoder of your own has no text tower that longvid knows; search by --like")
    if recipe.encoder_config.get("weights", "").startswith("random"):
        raise EncoderError(f"{store.location}: its encoder has random weights, so no text belongs to its features")
    revision = job.encoder_options.get("revision")
    return build_text_encoder(
        name.removeprefix("hf:"), revision=revision, fetch=job.fetch, weights_sha256=recipe.weights_sha256
    )


def job_of_recipe(
    recipe: Recipe, made_with: dict[str, str], given: Given, *, source: str, device: str = "auto"
) -> ExtractionJob:
    """The extraction job that a recipe describes; nothing is built.

    Options in the recipe go only to a built-in encoder that declares them. A user's own encoder, which only `given` can
    name, gets the options of `given`.
    """
    name = given.encoder or _recorded(recipe, made_with, source)
    config, known = recipe.encoder_config, not names_code(name)
    recorded = {key: value for key, value in config.items() if key in declared_options(name)} if known else {}
    origin = WeightsOrigin.of_recipe(config)
    preprocessing = dict(recipe.preprocessing)
    backend = preprocessing.pop(DECODER, "auto")
    seed = config.get("seed", 0) if origin is None or origin.seed is None else origin.seed
    try:
        return ExtractionJob(
            encoder=name,
            encoder_options=recorded if given.options is None else given.options,
            weights=given.weights or _recorded_weights(recipe, made_with, given, source),
            seed=seed if known and isinstance(seed, int) else 0,
            sampling=Sampling.from_dict(recipe.sampling),
            pooling=recipe.pooling,
            preprocessing=preprocessing,
            backend=str(backend),
            dtype=recipe.dtype,
            precision=config.get("dtype", "float32"),
            device=device,
            fetch=given.encoder is not None,
        )
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{source}: the recipe of its features cannot be followed: {_line(error)}") from None


def _recorded(recipe: Recipe, made_with: dict[str, str], source: str) -> str:
    """The name to build again: a built-in encoder, or a folder on this machine. Raises `EncoderError` for others."""
    name, said = recipe.encoder, made_with.get("encoder", "")
    if name in ENCODERS:
        return name
    for code in (name, said):
        if names_code(code):
            raise EncoderError(
                f"{source}: its features were made by someone's own encoder, {code!r}; code is not imported because a "
                f"file names it: if you trust it, give --encoder {code} (in Python encoder={code!r})"
            )
    if said and not _is_here(Path(said) / "config.json"):
        raise EncoderError(
            f"{source}: its encoder was the model in {said}, which is gone; give its folder by --encoder FOLDER (in "
            "Python encoder=)"
        )
    prefix, _, rest = name.partition(":")
    if not said and not (prefix in PREFIXES and HUB_ID.fullmatch(rest)):
        raise EncoderError(
            f"{source}: its features were made by {name!r}, which is not a built-in encoder; give what built it by "
            "--encoder module:callable (in Python encoder=)"
        )
    return said or name


def _recorded_weights(recipe: Recipe, made_with: dict[str, str], given: Given, source: str) -> str | None:
    """The weights file that the features were made with; None for another encoder or built-in weights."""
    said = made_with.get("weights")
    if said is None or given.encoder not in (None, recipe.encoder) or recipe.encoder_config.get("weights") != "loaded":
        return None
    if not _is_here(Path(said)):
        raise ConfigError(
            f"{source}: the weights of its encoder were in {said}, which is gone; give their file by --weights FILE "
            "(in Python weights=)"
        )
    return said


def _is_here(path: Path) -> bool:
    """Whether a path that a file names is an ordinary file here; network shares are never touched."""
    return path.is_absolute() and not str(path).startswith(("//", "\\\\")) and path.is_file()


def _built(job: ExtractionJob, source: str) -> tuple[ExtractionJob, Encoder]:
    """The job with the image size of the recipe's frames, and the encoder built from it."""
    try:
        encoder = replace(job, preprocessing={}).build()
        natural, wanted = encoder.spec.preprocessing, prepared_spec(encoder.spec, job.preprocessing).preprocessing
        sized = isinstance(job.encoder, str) and not names_code(job.encoder) and "size" not in job.encoder_options
        if sized and wanted.height == wanted.width != natural.height and "size" in declared_options(str(job.encoder)):
            job = replace(job, encoder_options={**job.encoder_options, "size": wanted.height})
            encoder = replace(job, preprocessing={}).build()
        encoder.spec = prepared_spec(encoder.spec, job.preprocessing)
        return job, encoder
    except (RuntimeError, TypeError) as error:
        raise ConfigError(f"{source}: its encoder {job.encoder!r} cannot be built: {_line(error)}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
