"""X-ViT as an encoder: variants, input, and published cost."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from longvid.clips.preprocessing import Preprocessing
from longvid.clips.sampling import Sampling
from longvid.encoders.base import EncoderSpec, PublishedFigures
from longvid.encoders.xvit.image_weights import is_image_transformer, start_from_image
from longvid.encoders.xvit.model import XViT, XViTConfig, start_from_scratch
from longvid.encoders.xvit.official import LAYOUT
from longvid.errors import EncoderError
from longvid.plain import as_json
from longvid.weights import read_checkpoint, state_sha256
from longvid.weights.layout import load_layout
from longvid.weights.saved import is_saved, load_saved

LICENCE = "Apache-2.0"
ARCHITECTURE = "xvit"


@dataclass(frozen=True)
class Variant:
    """One model of the paper and the clips that it was trained on."""

    config: XViTConfig
    frames: int
    fps: float
    size: int = 224
    from_scratch: bool = False
    """Random weights are those of `start_from_scratch`: the net is trained without an image model's."""


_KINETICS = XViTConfig(segment_frames=8, shift_div=8, num_classes=400)
_SOMETHING = XViTConfig(segment_frames=8, shift_div=4, num_classes=174)
# ours, for a laptop: a three-hundredth of B/16's weights
_NANO = XViTConfig(
    patch_size=8, dim=64, depth=3, num_heads=2, segment_frames=8, shift_div=4, aggregator_heads=2, head_dim=64
)
# Kinetics: 16 frames, every 16th of video at 30 per second; 8 frames are spread over the same 8.5 s.
# Something-Something: frames are spread over the whole video, which lasts about 4 s.
VARIANTS: dict[str, Variant] = {
    "xvit-b16-8f": Variant(_KINETICS, 8, 30 / 32),
    "xvit-b16-16f": Variant(_KINETICS, 16, 30 / 16),
    "xvit-ssv2-b16-8f": Variant(_SOMETHING, 8, 2.0),
    "xvit-ssv2-b16-16f": Variant(replace(_SOMETHING, segment_frames=16), 16, 4.0),
    "xvit-b16-8f-summary": Variant(replace(_KINETICS, summary_tokens=True), 8, 30 / 32),
    "xvit-nano": Variant(_NANO, 8, 8.0, size=32, from_scratch=True),
}

_NOTE = (
    "published GFLOPs are multiply-adds summed over 3 crops; parameters are counted in the authors' code, "
    "whose unused second classifier (new_fc) is left out here"
)
_SOURCE = "paper (arXiv 2106.05968), {}, 1 x 3 views"
PUBLISHED: dict[str, PublishedFigures] = {
    "xvit-b16-8f": PublishedFigures(94.098464e6, 425.0, _SOURCE.format("Kinetics-400"), _NOTE, 2 / 3),
    "xvit-b16-16f": PublishedFigures(94.098464e6, 850.0, _SOURCE.format("Kinetics-400"), _NOTE, 2 / 3),
    "xvit-ssv2-b16-8f": PublishedFigures(93.750876e6, 425.0, _SOURCE.format("Something-Something v2"), _NOTE, 2 / 3),
    "xvit-ssv2-b16-16f": PublishedFigures(93.750876e6, 850.0, _SOURCE.format("Something-Something v2"), _NOTE, 2 / 3),
    "xvit-b16-8f-summary": PublishedFigures(
        None, None, "paper (arXiv 2106.05968)", "reconstructed from the paper's text; no code or cost is published"
    ),
    "xvit-nano": PublishedFigures(None, None, "longvid's own", "for training on a laptop"),
}


def build_xvit(
    name: str,
    *,
    weights: str | Path | None = None,
    seed: int = 0,
    frames: int | None = None,
    size: int | None = None,
    fps: float | None = None,
    segment_frames: int | Literal["clip"] | None = None,
) -> XViT:
    """The variant `name`, with its input sampled and normalised as by the authors.

    `weights`: a file: the authors' checkpoint, one that `save_weights` wrote, or an image ViT (Hugging Face or timm
    layout) to start from; None or "random": seeded random weights, since the authors' are not on any hub.
    `frames` per clip: any multiple of `segment_frames`, by default the variant's own; "clip" makes a whole clip one
    segment, computed in chunks if it is long. `size`: pixels per side, a multiple of the patch (16).
    """
    variant = VARIANTS[name]
    model, source = _weighted(name, weights, seed)
    model.config = replace(model.config, segment_frames=_segment(model.config, segment_frames))
    clip_frames, size = frames or variant.frames, size or variant.size
    model.check_size(clip_frames, size, size)
    rate = fps or variant.fps * clip_frames / variant.frames
    model.spec = EncoderSpec(
        name=name,
        sampling=Sampling(frames=clip_frames, fps=rate),
        preprocessing=Preprocessing(height=size, width=size, short_side=size),
        default_pooling="class",
        poolings=("tokens", "class+tokens", "class", "spatial", "temporal", "mean", "clip"),
        config=as_json(model.config),
        weights=source,
        weights_sha256=state_sha256(model.state_dict()),
        licence=LICENCE,
        weights_seed=seed if weights is None or weights == "random" else None,
    )
    return model


def _segment(config: XViTConfig, asked: int | Literal["clip"] | None) -> int | None:
    if asked is None:
        return config.segment_frames
    return None if asked == "clip" else asked


def _weighted(name: str, weights: str | Path | None, seed: int) -> tuple[XViT, str]:
    """The model and the source of its weights."""
    config = VARIANTS[name].config
    if weights is None or weights == "random":
        return _random(config, seed, from_scratch=VARIANTS[name].from_scratch), f"random (seed {seed})"
    checkpoint = read_checkpoint(weights)
    if is_saved(checkpoint):
        model = load_saved(weights, {ARCHITECTURE: LAYOUT.from_config})
    elif is_image_transformer(checkpoint):
        model = start_from_image(_random(config, seed), checkpoint)
        return model, f"{weights} (an image model: what follows the backbone is random, seed {seed})"
    else:
        told = {"segment_frames": config.segment_frames, "shift_div": config.shift_div}
        model = load_layout(LAYOUT, weights, **told, summary_tokens=config.summary_tokens)
    if not isinstance(model, XViT) or _body(model.config) != _body(config):
        raise EncoderError(f"{weights}: these weights are for a model other than {name}")
    return model, str(weights)


def _random(config: XViTConfig, seed: int, *, from_scratch: bool = False) -> XViT:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = XViT(config)
        return start_from_scratch(model) if from_scratch else model


def _body(config: XViTConfig) -> XViTConfig:
    """The configuration without the fields in which weights of one variant may differ."""
    blocks = config.mixing if len(config.mixing) < config.depth else None
    return replace(config, num_classes=0, temporal_rows=0, mixed_blocks=blocks, drop_path=0.0, head_dropout=0.0)
