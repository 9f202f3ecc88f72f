"""Any timm image model as an encoder.

`timm:vit_large_patch16_224.augreg_in21k` is the one that ViS4mer uses for LVU.

An optional extra (`pip install 'longvid[timm]'`), imported when such an encoder is built. Each frame goes through the
model's `forward_features`; its prefix tokens are split off, the clip vector is the mean of the frames' pooled vectors.
"""

import math
from importlib import import_module
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from longvid.clips.preprocessing import Preprocessing
from longvid.clips.sampling import Sampling
from longvid.encoders.base import Encoder, EncoderOutput, EncoderSpec
from longvid.encoders.huggingface.files import model_folder, model_licence, weight_files
from longvid.errors import BackendUnavailable, EncoderError
from longvid.weights import fit_state, read_checkpoint, state_sha256


def optional_package(name: str) -> Any:
    """The imported package of the `timm` extra; `BackendUnavailable` names the remedy if it does not work here."""
    try:
        return import_module(name)
    except (ImportError, OSError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BackendUnavailable(
            f"{name} cannot be imported here ({reason}); pip install 'longvid[timm]', built for this torch"
        ) from error


def build_timm(
    name: str,
    *,
    weights: str | None = None,
    seed: int = 0,
    fetch: bool = True,
    frames: int = 1,
    size: int | None = None,
) -> "TimmEncoder":
    """The encoder of a timm model name.

    `weights`: None for the published ones, `"random"` for a seeded start, or a checkpoint file in timm's layout.
    `frames`: frames of a clip, one a second. `size`: side of square frames in pixels (default: the model's own).
    `fetch`: whether weights that are not in the local cache may be fetched.
    """
    timm = optional_package("timm")
    if not timm.is_model(name):
        near = ", ".join(timm.list_models(f"*{name.partition('.')[0]}*")[:5]) or "see timm.list_models()"
        raise EncoderError(f"timm has no model {name!r}; near: {near}")
    file, source, licence = _weights(timm, name, weights, seed, fetch=fetch)
    resized = {} if size is None else {"img_size": size}
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = timm.create_model(name, pretrained=False, num_classes=0, **resized)
    except TypeError as error:
        raise EncoderError(f"timm:{name}: this model has no option for size={size}") from error
    projection = None
    if file is not None:
        head = _fill(model, read_checkpoint(file).state, f"timm:{name}: {source}")
        projection = projection_of(head) if is_aligned(name) else None
    model.eval()
    poolings = ("tokens", "spatial", "temporal", "mean")
    has_class = bool(getattr(model, "has_class_token", False)) or getattr(model, "cls_token", None) is not None
    spec = EncoderSpec(
        name=f"timm:{name}",
        sampling=Sampling(frames=frames, fps=1.0, stride_seconds=float(frames)),
        preprocessing=_preprocessing(timm.data.resolve_model_data_config(model), name, size),
        poolings=(
            *poolings,
            *(["class", "class+tokens"] if has_class else []),
            "clip",
            *(["embedding"] if projection is not None else []),
        ),
        config={"frames": frames},
        weights=source,
        weights_sha256=state_sha256(model.state_dict()),
        licence=licence,
        weights_seed=seed if weights == "random" else None,
    )
    return TimmEncoder(model, spec, has_class=has_class, projection=projection)


def is_aligned(name: str) -> bool:
    """Whether a timm model is the image tower of a model of images and text, its head the projection into their space.

    PE-core and the CLIP towers are, unless they were fine-tuned to classify (`ft` in the tag).
    """
    architecture, _, tag = name.partition(".")
    return "pe_core" in architecture or ("_clip_" in architecture and "ft" not in tag.split("_"))


def projection_of(head: dict[str, Tensor]) -> nn.Linear | None:
    """The projection that the head of an aligned tower is, `weight` and perhaps `bias`; None without one."""
    weight, bias = head.get("weight"), head.get("bias")
    if weight is None or weight.ndim != 2:
        return None
    with torch.random.fork_rng(devices=[]):
        projection = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    projection.load_state_dict(head)
    return projection.eval()


class TimmEncoder(Encoder):
    """A timm model called on each frame; `projection` takes its pooled vectors into the space shared with text."""

    def __init__(self, model: Any, spec: EncoderSpec, *, has_class: bool, projection: nn.Module | None = None) -> None:
        super().__init__()
        self.projection = projection
        self.model: Any = model
        self.spec = spec
        self.has_class = has_class
        self.prefix_tokens = int(getattr(model, "num_prefix_tokens", 0))
        self.channels_last = getattr(model, "output_fmt", "NCHW") == "NHWC"

    def forward(self, clips: Float[Tensor, "batch channel time height width"]) -> EncoderOutput:
        """Tokens of each clip."""
        batch = len(clips)
        frames = rearrange(clips, "batch channel time height width -> (batch time) channel height width")
        features = self.model.forward_features(frames)
        pooled = self.model.forward_head(features, pre_logits=True)
        pooled = rearrange(pooled, "(batch time) dim -> batch time dim", batch=batch)
        embedding = self.projection(pooled).mean(1) if self.projection is not None else None
        if features.ndim == 4:
            features = features.flatten(1, 2) if self.channels_last else features.flatten(2).transpose(1, 2)
        features = rearrange(features, "(batch time) token dim -> batch time token dim", batch=batch)
        class_tokens = features[:, :, 0] if self.has_class else None
        return EncoderOutput(features[:, :, self.prefix_tokens :], class_tokens, pooled.mean(1), embedding=embedding)


def _weights(timm: Any, name: str, weights: str | None, seed: int, *, fetch: bool) -> tuple[str | None, str, str]:
    """File to load (None: random), what to call it, and its licence."""
    if weights == "random":
        return None, f"random (seed {seed})", ""
    if weights is not None:
        return weights, weights, ""
    published = timm.get_pretrained_cfg(name)
    if published is None or not published.hf_hub_id:
        raise EncoderError(f"timm:{name}: no weights are published for this name; use weights='random'")
    hub_id = published.hf_hub_id if "/" in published.hf_hub_id.rstrip("/") else f"timm/{name}"
    folder = model_folder(hub_id, fetch=fetch)
    file = weight_files(folder)[0]
    return str(file), f"{hub_id}@{folder.name[:12]}", model_licence(folder)


def _fill(model: Any, state: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """Load the state strictly except for its classifier, which is returned; timm itself is not strict without one.

    The file's own `checkpoint_filter_fn` renames entries of older checkpoints and resizes position tables.
    """
    renamed = getattr(import_module(type(model).__module__), "checkpoint_filter_fn", None)
    if renamed is not None:
        state = renamed(state, model)
    classifier = model.pretrained_cfg.get("classifier") or ()
    heads = tuple(f"{head}." for head in ([classifier] if isinstance(classifier, str) else classifier))
    fit_state(model, {key: value for key, value in state.items() if not key.startswith(heads)}, source=source)
    return {key.removeprefix(heads[0]): value for key, value in state.items() if key.startswith(heads[:1])}


def _preprocessing(settings: dict[str, Any], name: str, size: int | None) -> Preprocessing:
    """timm's own evaluation transform, from the model's data configuration."""
    height, width = settings["input_size"][1:] if size is None else (size, size)
    resized = math.floor(min(height, width) / settings["crop_pct"])
    mode = settings.get("crop_mode") or "center"
    interpolation = settings["interpolation"]
    if mode not in ("center", "squash") or interpolation not in ("bilinear", "bicubic", "nearest"):
        raise EncoderError(f"timm:{name}: crop_mode={mode!r} with {interpolation!r} is not supported by longvid")
    return Preprocessing(
        height=height,
        width=width,
        resize="squash" if mode == "squash" else "short_side",
        short_side=None if mode == "squash" else resized,
        squash_side=resized if mode == "squash" else None,
        interpolation=interpolation,
        mean=settings["mean"],
        std=settings["std"],
    )
