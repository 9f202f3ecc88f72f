"""A model's own preprocessing, read from its published JSON.

The JSON is read directly, because the processor classes need torchvision and the geometry must be known before
decoding. Its dialects: `size` as a number, `{"height", "width"}` or `{"shortest_edge"}`; `crop_size`; ConvNeXT's
`crop_pct`; ViViT's `offset`. A rescale factor and offset are folded into mean and std, which longvid applies to 0..1
pixels.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from longvid.clips.preprocessing import Preprocessing
from longvid.encoders.huggingface.files import read_object
from longvid.errors import EncoderError
from longvid.video.frames import Interpolation

Settings = dict[str, Any]
Channels = tuple[float, float, float]

PIL_FILTERS: dict[int, Interpolation] = {0: "nearest", 2: "bilinear", 3: "bicubic", 4: "area"}

# processors whose default filter is bicubic, for files without `resample` (the default of others is bilinear)
BICUBIC_BY_DEFAULT = ("CLIP", "DeiT", "Bit", "Siglip", "Beit", "ConvNext")


def read_processor(folder: Path, *, video: bool) -> Settings | None:
    """The processor's JSON settings, or None if the folder has none. Video models prefer their video processor's."""
    names = ["video_preprocessor_config.json"] if video else []
    for name in [*names, "preprocessor_config.json"]:
        if (folder / name).is_file():
            return read_object(folder / name)
    if (folder / "processor_config.json").is_file():
        nested = read_object(folder / "processor_config.json")
        for part in [*["video_processor"] * video, "image_processor"]:
            if isinstance(nested.get(part), dict):
                return dict(nested[part])
    return None


def preprocessing_of(
    settings: Settings, *, default: tuple[int, int], source: str, interpolation: Interpolation | None = None
) -> Preprocessing:
    """The `Preprocessing` that the processor's settings describe.

    `default` is the (height, width) used if they give none; `interpolation` overrides the filter that they name.
    Raises `EncoderError`, quoting the setting, if longvid has no equivalent.
    """
    mean, std = _normalisation(settings, source)
    geometry = _geometry(settings, default, source)
    return replace(geometry, interpolation=interpolation or _filter(settings, source), mean=mean, std=std)


def with_size(preprocessing: Preprocessing, size: int) -> Preprocessing:
    """The same preprocessing for square frames of another size; a margin around the crop keeps its ratio."""
    scale = size / min(preprocessing.height, preprocessing.width)

    def scaled(side: int | None) -> int | None:
        return None if side is None else max(size, round(scale * side))

    short_side, squash_side = scaled(preprocessing.short_side), scaled(preprocessing.squash_side)
    return replace(preprocessing, height=size, width=size, short_side=short_side, squash_side=squash_side)


def _geometry(settings: Settings, default: tuple[int, int], source: str) -> Preprocessing:
    size = settings.get("size") if settings.get("do_resize", True) else None
    crop = settings.get("crop_size") if settings.get("do_center_crop", True) else None
    if crop is None:
        return _resized(size, settings, default, source)
    height, width = _sides(crop, source)
    if size is None:
        return Preprocessing(height=height, width=width)
    squash = isinstance(size, dict) and "shortest_edge" not in size
    # a bare number beside a crop is the shorter side in every processor but DeiT's
    if not squash and not (isinstance(size, int) and _kind(settings).startswith("DeiT")):
        short_side = max(min(_sides(size, source)), height, width)
        return Preprocessing(height=height, width=width, short_side=short_side)
    sides = _sides(size, source)
    if sides == (height, width):
        return Preprocessing(height=height, width=width, resize="squash")
    if sides[0] != sides[1]:
        raise EncoderError(f"{source}: frames squashed to {sides}, then cropped to {(height, width)}: not supported")
    return Preprocessing(height=height, width=width, resize="squash", squash_side=sides[0])


def _resized(size: Any, settings: Settings, default: tuple[int, int], source: str) -> Preprocessing:
    """Geometry without a crop of its own."""
    if not (isinstance(size, dict) and "shortest_edge" in size):
        height, width = default if size is None else _sides(size, source)
        return Preprocessing(height=height, width=width, resize="squash")
    edge = int(size["shortest_edge"])
    if "crop_pct" not in settings:
        # the processor would keep the whole frame; a store needs one shape, so the centre square is used
        return Preprocessing(height=edge, width=edge, short_side=edge)
    if edge >= 384:  # ConvNeXT squashes at 384 and beyond, and crops below
        return Preprocessing(height=edge, width=edge, resize="squash")
    return Preprocessing(height=edge, width=edge, short_side=int(edge / settings["crop_pct"]))


def _sides(size: Any, source: str) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    if isinstance(size, dict) and {"height", "width"} <= set(size):
        return int(size["height"]), int(size["width"])
    if isinstance(size, dict) and "shortest_edge" in size:
        return int(size["shortest_edge"]), int(size["shortest_edge"])
    raise EncoderError(f"{source}: size={size!r} in its processor settings is not supported by longvid")


def _kind(settings: Settings) -> str:
    return str(settings.get("image_processor_type") or settings.get("feature_extractor_type") or "")


def _filter(settings: Settings, source: str) -> Interpolation:
    resample = settings.get("resample", 3 if _kind(settings).startswith(BICUBIC_BY_DEFAULT) else 2)
    if resample not in PIL_FILTERS:
        raise EncoderError(
            f"{source}: resample={resample!r} is a filter that longvid does not have; "
            "pass interpolation='bicubic' to accept the nearest one"
        )
    return PIL_FILTERS[resample]


def _normalisation(settings: Settings, source: str) -> tuple[Channels, Channels]:
    """Mean and std for 0..1 pixels that equal the processor's: rescale, then normalise."""
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if settings.get("do_normalize", True):
        if "image_mean" not in settings or "image_std" not in settings:
            raise EncoderError(f"{source}: do_normalize is on, but image_mean and image_std are not given")
        mean, std = _channels(settings["image_mean"]), _channels(settings["image_std"])
    rescales = settings.get("do_rescale", True)
    span = 255 * settings.get("rescale_factor", 1 / 255) if rescales else 255.0
    shift = 1.0 if rescales and settings.get("offset", False) else 0.0
    return _channels([(m + shift) / span for m in mean]), _channels([s / span for s in std])


def _channels(value: Any) -> Channels:
    red, green, blue = value if isinstance(value, list) else (value,) * 3
    return float(red), float(green), float(blue)
