"""The classifier to test.

It is a run of `longvid finetune`, a file of ours, or the authors' checkpoint.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longvid.encoders.learning import Classifying, OwnClassifier
from longvid.encoders.registry import build_encoder, refuse_code
from longvid.encoders.saved import is_learned
from longvid.errors import ConfigError, WeightsError
from longvid.pipelines.learning.config import FinetuneConfig, kept_settings
from longvid.pipelines.training.recipe_files import is_elsewhere
from longvid.tasks import Manifest, carve_split
from longvid.weights.fit import fit_state
from longvid.weights.saved import read_weights

RUN_WEIGHTS = "best.safetensors"


@dataclass(frozen=True)
class Scorer:
    """A classifier and what is known of it."""

    model: Classifying
    name: str
    """The encoder's name in longvid."""
    classes: tuple[str, ...]
    """Class names that the weights keep; empty: they keep none, as the authors' checkpoints do."""


def open_scorer(place: str | Path, encoder: str | None = None) -> Scorer:
    """The model of a run's folder, or of a weights file for the encoder of that name, in evaluation mode.

    Raises ConfigError for a place that is neither, WeightsError for weights without a classifier.
    """
    place, options, fetch = Path(place), {}, True
    if place.is_dir():
        recipe = place / "recipe.yaml"
        if not (recipe.is_file() and (place / RUN_WEIGHTS).is_file()):
            raise ConfigError(
                f"{place}: holds no {RUN_WEIGHTS} and recipe.yaml of `longvid finetune`; name a run or a file"
            )
        settings = kept_settings(FinetuneConfig, recipe).encoder
        if encoder not in (None, settings.name):
            raise ConfigError(f"--encoder {encoder}: {place} trained {settings.name}; leave --encoder out")
        if encoder is None:  # a name in a file: neither imported nor fetched
            refuse_code(settings.name, source=str(recipe), remedy=f"give --encoder {settings.name}")
            fetch = False
        encoder, options, place = settings.name, dict(settings.options), place / RUN_WEIGHTS
    if not place.is_file():
        raise ConfigError(f"{place}: no such file or folder")
    if encoder is None:
        raise ConfigError(
            f"{place}: say which encoder the weights are for: --encoder dualformer-tiny (`longvid encoders`)"
        )
    return _opened(place, encoder, options, fetch=fetch)


def run_manifest(run: str | Path) -> Manifest:
    """The manifest that a run was trained on, with the validation videos that it set aside where none were listed.

    Raises ConfigError for a place that is not a run, or whose recipe names a manifest on a network.
    """
    recipe = Path(run) / "recipe.yaml"
    if not recipe.is_file():
        raise ConfigError(f"{run}: a weights file does not know its videos; give --manifest clips.jsonl")
    config = kept_settings(FinetuneConfig, recipe)
    if is_elsewhere(config.manifest):
        raise ConfigError(f"{recipe}: {config.manifest} is not opened just because a file names it; give --manifest")
    if not Path(config.manifest).is_file():
        raise ConfigError(f"{recipe}: its manifest {config.manifest} is not there; give --manifest")
    manifest = Manifest.read(config.manifest)
    used = Manifest(tuple(row for row in manifest if row.label is not None), name=manifest.name)
    if used.split("val"):
        return used
    return carve_split(used, fraction=config.validation.fraction, seed=config.validation.seed)


def _opened(weights: Path, name: str, options: dict[str, Any], *, fetch: bool) -> Scorer:
    encoder = build_encoder(name, weights=str(weights), fetch=fetch, **options)
    kept = read_weights(weights) if is_learned(weights) else None
    names = kept.extra.get("classes", []) if kept else []
    classes = tuple(str(one) for one in names) if isinstance(names, list) else ()
    if isinstance(encoder, OwnClassifier):
        outputs = getattr(encoder.config, "num_classes", None)
        if not outputs or (kept is not None and not classes):  # what was distilled has a classifier that never learned
            raise WeightsError(f"{weights}: holds no classifier; fine-tune it first (`longvid finetune`)")
        return Scorer(Classifying(encoder, classes=outputs).eval(), name, classes)
    head = {part.removeprefix("head."): tensor for part, tensor in (kept.beside if kept else {}).items()}
    if "1.weight" not in head or head["1.weight"].ndim != 2:
        raise WeightsError(f"{weights}: holds no classifier; fine-tune it first (`longvid finetune`)")
    outputs, dim = head["1.weight"].shape
    model = Classifying(encoder, classes=outputs, dim=dim)
    assert model.head is not None
    fit_state(model.head, head, source=f"{weights}: head")
    return Scorer(model.eval(), name, classes)
