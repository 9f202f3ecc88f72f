"""Mobile-Former as an encoder: variants, input, and published cost."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from longvid.clips.preprocessing import Preprocessing
from longvid.clips.sampling import Sampling
from longvid.encoders.base import EncoderSpec, PublishedFigures
from longvid.encoders.mobile_former.config import IMAGE_CONFIGS, NANO_CONFIG, MobileFormerConfig, for_video
from longvid.encoders.mobile_former.inflation import inflate
from longvid.encoders.mobile_former.model import MobileFormer
from longvid.encoders.mobile_former.official import LAYOUT
from longvid.errors import EncoderError
from longvid.plain import as_json
from longvid.weights import read_checkpoint, state_sha256
from longvid.weights.layout import load_layout
from longvid.weights.saved import is_saved, load_saved

ARCHITECTURE = "mobile_former"
LICENCE = "none stated by the author of the published image weights"
NANO = "video-mobile-former-nano"
CROP = 0.875
"""Share of the shorter side that the crop keeps, as in the image author's evaluation."""


@dataclass(frozen=True)
class Variant:
    """One net and the clips that it is made for."""

    config: MobileFormerConfig
    frames: int = 1
    fps: float = 1.0
    size: int = 224


_IMAGES = {f"mobile-former-{size}": Variant(config) for size, config in IMAGE_CONFIGS.items()}

# Named by the multiply-adds of one clip. A clip lasts two seconds (32 frames: four), about what Kinetics nets of this
# size are given. Strides in time are in the blocks that leave maps of 14x14 and 7x7.
_VIDEOS = {
    "video-mobile-former-500m": Variant(for_video(IMAGE_CONFIGS["52m"], time_strides=(1, 2, 2)), 16, 8.0),
    "video-mobile-former-1g": Variant(for_video(IMAGE_CONFIGS["52m"]), 16, 8.0),
    "video-mobile-former-1g-32f": Variant(for_video(IMAGE_CONFIGS["52m"], time_strides=(1, 2, 2)), 32, 8.0),
    "video-mobile-former-2g": Variant(for_video(IMAGE_CONFIGS["151m"]), 16, 8.0),
    "video-mobile-former-4g": Variant(for_video(IMAGE_CONFIGS["294m"]), 16, 8.0),
    "video-mobile-former-6g": Variant(for_video(IMAGE_CONFIGS["508m"]), 12, 6.0),
    NANO: Variant(for_video(NANO_CONFIG), 8, 8.0, size=32),
}
VARIANTS: dict[str, Variant] = {**_IMAGES, **_VIDEOS}

_SOURCE = "README of the authors' repository (AAboys/MobileFormer), ImageNet-1k"
_NOTE = "one 224x224 image; multiply-adds, including those of norms and activations"
_MILLIONS = {"26m": 3.2, "52m": 3.5, "96m": 4.6, "151m": 7.6, "214m": 9.4, "294m": 11.4, "508m": 14.0}
PUBLISHED: dict[str, PublishedFigures] = (
    {
        f"mobile-former-{size}": PublishedFigures(
            millions * 1e6, int(size[:-1]) / 1000, _SOURCE, _NOTE, flops_factor=2.0
        )
        for size, millions in _MILLIONS.items()
    }
    | {
        name: PublishedFigures(
            None,
            None,
            "abstract of arXiv 2208.12257: nets of 0.5 to 6 GFLOPs, none of them named",
            "a reconstruction: widths of the image nets, named by multiply-adds per clip",
        )
        for name in _VIDEOS
        if name != NANO
    }
    | {NANO: PublishedFigures(None, None, "longvid's own", "for training on a laptop")}
)


def build_mobile_former(
    name: str,
    *,
    weights: str | Path | None = None,
    seed: int = 0,
    frames: int | None = None,
    size: int | None = None,
    fps: float | None = None,
) -> MobileFormer:
    """The variant `name`; it takes any number of frames and any size.

    `weights`: a file: one that `save_weights` wrote, or the image author's checkpoint, which `inflate` turns into a
    video net; None or "random": seeded random weights, since those of neither paper are on any hub.
    `frames` per clip, `size` in pixels per side, `fps`: instead of the variant's own. The image variants treat the
    frames of a clip as one set, ignoring their order.
    """
    variant = VARIANTS[name]
    size = size or variant.size
    if weights is None or weights == "random":
        model, source = _seeded(variant.config, seed), f"random (seed {seed})"
    else:
        model, source = _load(name, weights, seed), str(weights)
    model.spec = EncoderSpec(
        name=name,
        sampling=Sampling(frames=frames or variant.frames, fps=fps or variant.fps),
        preprocessing=Preprocessing(
            height=size,
            width=size,
            short_side=round(size / CROP),
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
        ),
        default_pooling="clip",
        poolings=("tokens", "spatial", "temporal", "mean", "clip", "global"),
        config=as_json(model.config),
        weights=source,
        weights_sha256=state_sha256(model.state_dict()),
        licence=LICENCE,
        weights_seed=seed if weights is None or weights == "random" else None,
    )
    return model


def _seeded(config: MobileFormerConfig, seed: int) -> MobileFormer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MobileFormer(config)


def _load(name: str, path: str | Path, seed: int) -> MobileFormer:
    """The net in a file of ours or of the author's; inflated if it is the image net of the requested variant."""
    wanted = VARIANTS[name].config
    ours = is_saved(read_checkpoint(path))
    model = load_saved(path, {ARCHITECTURE: LAYOUT.from_config}) if ours else load_layout(LAYOUT, path)
    if isinstance(model, MobileFormer) and _body(model.config) == _body(wanted):
        return model
    if isinstance(model, MobileFormer) and model.config.time_taps == 1 and _body(model.config) == _body(_image(wanted)):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return inflate(model, wanted, source=str(path))
    raise EncoderError(f"{path}: these weights are for a model other than {name}")


def _body(config: MobileFormerConfig) -> MobileFormerConfig:
    """The configuration without what weights of one variant may differ in."""
    return replace(config, num_classes=1, dropout=0.0)


def _image(video: MobileFormerConfig) -> MobileFormerConfig:
    """The image net that a video net is built on."""
    return replace(video, blocks=tuple(replace(block, time_stride=1) for block in video.blocks), time_taps=1)
