"""DualFormer as an encoder: variants, input, and published cost."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from longvid.clips.preprocessing import Preprocessing
from longvid.clips.sampling import Sampling
from longvid.encoders.base import EncoderSpec, PublishedFigures
from longvid.encoders.dualformer.config import VARIANTS, DualFormerConfig
from longvid.encoders.dualformer.model import DualFormer
from longvid.encoders.dualformer.official import LAYOUT, is_image_model, load_image_weights
from longvid.encoders.dualformer.sizes import fitted_size
from longvid.errors import EncoderError
from longvid.plain import as_json
from longvid.weights import read_checkpoint, state_sha256
from longvid.weights.layout import load_layout
from longvid.weights.saved import is_saved, load_saved

LICENCE = "Apache-2.0"
ARCHITECTURE = "dualformer"

_NOTE = (
    "published GFLOPs are multiply-adds (norms included) summed over 4 test views; published parameters leave the "
    "classifier out"
)
_SOURCE = "README of the authors' repository (sail-sg/dualformer), Kinetics-400"
PUBLISHED: dict[str, PublishedFigures] = {
    "dualformer-tiny": PublishedFigures(21.8e6, 240.0, _SOURCE, _NOTE, 2 / 4),
    "dualformer-small": PublishedFigures(48.9e6, 636.0, _SOURCE, _NOTE, 2 / 4),
    "dualformer-base": PublishedFigures(86.8e6, 1072.0, _SOURCE, _NOTE, 2 / 4),
    "dualformer-nano": PublishedFigures(None, None, "longvid's own", "for training on a laptop"),
}


@dataclass(frozen=True)
class InputRecipe:
    """The input that the weights fine-tuned on a data set were trained on."""

    fps: float
    """Every second frame (Kinetics) or every fourth of video at 30 frames per second."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    """Per RGB channel, of pixel values scaled to 0..1."""


_KINETICS = InputRecipe(15.0, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
# 104, 117, 128 looks like a BGR mean, yet the weights were trained with it on RGB pixels of 0..255
_FINE_TUNED = InputRecipe(7.5, mean=(104 / 255, 117 / 255, 128 / 255), std=(1 / 255, 1 / 255, 1 / 255))

INPUT_RECIPES: dict[str, InputRecipe] = {
    "kinetics": _KINETICS,
    "diving48": _FINE_TUNED,
    "hmdb51": _FINE_TUNED,
    "ucf101": _FINE_TUNED,
}


def build_dualformer(
    name: str,
    *,
    weights: str | Path | None = None,
    seed: int = 0,
    trained_on: str = "kinetics",
    frames: int | None = None,
    size: int | None = None,
    fps: float | None = None,
    odd_sizes: str = "refuse",
) -> DualFormer:
    """The released variant `name`, with its input sampled and normalised as by the authors.

    `weights`: a file: the authors' checkpoint, one that `save_weights` wrote, or a DualFormer image model to start
    from; None or "random": seeded random weights, since the authors' are not on any hub. `trained_on` chooses frame
    rate and normalisation. Default sampling: clips of `frames` frames that follow each other without a gap (the
    authors' own test takes four clips per video: `views.view_frames`). `frames`: a multiple of 16, `size`: of 224;
    the kernels stay those of 32 x 224 x 224 (`dualformer-nano`: 8 x 32 x 32). `fps`: instead of the data set's rate.
    `odd_sizes`: see `sizes`.
    """
    if trained_on not in INPUT_RECIPES:
        raise EncoderError(f"trained_on={trained_on!r} is not one of {', '.join(INPUT_RECIPES)}")
    frames, size = frames or VARIANTS[name].video_size[0], size or VARIANTS[name].video_size[1]
    fitted_size(VARIANTS[name], (frames, size, size), odd_sizes)
    model, source = _weighted(name, weights, seed)
    model.odd_sizes = odd_sizes
    model.spec = EncoderSpec(
        name=name,
        sampling=Sampling(frames=frames, fps=fps or INPUT_RECIPES[trained_on].fps),
        preprocessing=_preprocessing(INPUT_RECIPES[trained_on], size),
        poolings=("tokens", "spatial", "temporal", "mean", "clip"),
        config={**as_json(model.config), "odd_sizes": odd_sizes},
        weights=source,
        weights_sha256=state_sha256(model.state_dict()),
        licence=LICENCE,
        weights_seed=seed if weights is None or weights == "random" else None,
    )
    return model


def _preprocessing(recipe: InputRecipe, size: int) -> Preprocessing:
    """The short side resized to `size`, then a centre crop, as in the authors' tests."""
    return Preprocessing(height=size, width=size, short_side=size, mean=recipe.mean, std=recipe.std)


def _weighted(name: str, weights: str | Path | None, seed: int) -> tuple[DualFormer, str]:
    """The model and the source of its weights."""
    if weights is None or weights == "random":
        return _random(VARIANTS[name], seed), f"random (seed {seed})"
    checkpoint = read_checkpoint(weights)
    if is_image_model(checkpoint):
        model = _random(VARIANTS[name], seed)
        load_image_weights(model, checkpoint)
        return model, f"{weights} (an image model, inflated)"
    loaded = (
        load_saved(weights, {ARCHITECTURE: LAYOUT.from_config})
        if is_saved(checkpoint)
        else load_layout(LAYOUT, weights)
    )
    if not isinstance(loaded, DualFormer) or _body(loaded.config) != _body(VARIANTS[name]):
        raise EncoderError(f"{weights}: these weights are for a model other than {name}")
    return loaded, str(weights)


def _random(config: DualFormerConfig, seed: int) -> DualFormer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DualFormer(config)


def _body(config: DualFormerConfig) -> DualFormerConfig:
    """The configuration without the fields in which weights of one variant may differ."""
    return replace(config, num_classes=None, token_label=False, head_dropout=0.0, drop_path=0.0)
