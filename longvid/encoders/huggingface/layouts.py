"""Token layouts and allowed inputs of the Hugging Face families.

Which tokens are patches, in which order, and which inputs work: one row per family, by the configuration's
`model_type`, taken from the families' own modelling code. A model of another type is accepted only if the shape of its
output leaves no doubt (`infer_layout`).
"""

from dataclasses import dataclass
from typing import Any, Literal

from longvid.errors import EncoderError


@dataclass(frozen=True)
class Layout:
    """How one family takes clips and orders its output tokens."""

    video: bool = False
    """Whether the model takes clips; an image model is given each frame separately."""
    class_token: bool = True
    """Whether the first token is a class token."""
    extra_tokens: int | str = 0
    """Tokens between the class token and the patches (registers, distillation): a number or a config field."""
    order: Literal["time token", "token time"] = "time token"
    """Order of a video model's patch tokens, slowest first."""
    clip: Literal["pooler", "class", "attentive", "none"] = "pooler"
    """Where the clip vector comes from; for an image model it is the mean of its frames' vectors. `attentive`: from an
    attentive pooler that was trained to classify."""
    any_size: bool = False
    """Whether other frame sizes work without a setting (position tables resized by the model, or rotary)."""
    any_frames: bool = False
    """Whether clip lengths other than the configured one work (a video model)."""
    frames_per_second: float = 1.0
    """Frame rate in training, if the authors state one; the default for sampling."""
    default_pooling: str = "mean"
    flat: bool = False
    """Whether a video model takes and gives its frames one after the other, without an axis of time."""
    default_frames: int = 1
    """Frames per clip where neither the user nor the configuration gives a number."""

    def prefix_tokens(self, config: Any) -> int:
        """Number of tokens before the first patch."""
        extra = getattr(config, self.extra_tokens) if isinstance(self.extra_tokens, str) else self.extra_tokens
        return int(self.class_token) + int(extra)


LAYOUTS: dict[str, Layout] = {
    "beit": Layout(),
    "clip_vision_model": Layout(default_pooling="clip"),
    "convnext": Layout(class_token=False, any_size=True),
    "convnextv2": Layout(class_token=False, any_size=True),
    "data2vec-vision": Layout(clip="class"),
    "deit": Layout(extra_tokens=1),
    "dinov2": Layout(clip="class", any_size=True),
    "dinov2_with_registers": Layout(extra_tokens="num_register_tokens", clip="class", any_size=True),
    "dinov3_vit": Layout(extra_tokens="num_register_tokens", clip="class", any_size=True),
    "ijepa": Layout(class_token=False, clip="none"),
    "metaclip_2_vision_model": Layout(default_pooling="clip"),
    # one token per frame; the authors sample 16 frames of a video of any length
    "pe_video_encoder": Layout(
        video=True, class_token=False, any_size=True, any_frames=True, default_pooling="clip", default_frames=16
    ),
    "resnet": Layout(class_token=False, any_size=True),
    "siglip2_vision_model": Layout(class_token=False, any_size=True, default_pooling="clip"),
    "siglip_vision_model": Layout(class_token=False, default_pooling="clip"),
    "swin": Layout(class_token=False),
    "swinv2": Layout(class_token=False),
    # divided attention folds time inside each place; 8 frames, one in 32 at 30 per second
    "timesformer": Layout(
        video=True, order="token time", clip="class", any_size=True, any_frames=True, frames_per_second=30 / 32
    ),
    # its register token is a second class token, for synthetic captions
    "tipsv2_vision_model": Layout(extra_tokens="num_register_tokens", any_size=True, default_pooling="clip"),
    # Kinetics: one frame in 4 at 30 per second
    "videomae": Layout(video=True, class_token=False, clip="none", frames_per_second=30 / 4),
    # with text: tokens of the layers before its pooling head
    "videoprism": Layout(video=True, class_token=False, default_pooling="clip"),
    "videoprism_vision_model": Layout(video=True, class_token=False, clip="none"),
    "vit": Layout(),
    "vit_mae": Layout(clip="class"),
    "vit_msn": Layout(clip="class"),
    # Kinetics: one frame in 2 at 30 per second
    "vivit": Layout(video=True, clip="class", frames_per_second=30 / 2),
    "vjepa2": Layout(video=True, class_token=False, clip="none", any_size=True, any_frames=True, frames_per_second=4.0),
    # each frame has a class token, and sends it to the others in every layer
    "xclip_vision_model": Layout(video=True, flat=True, default_pooling="clip", frames_per_second=4.0),
}


def is_video(config: Any) -> bool:
    """Whether the model takes clips: known from its family, else from a number of frames in its configuration."""
    layout = LAYOUTS.get(config.model_type)
    return layout.video if layout else configured_frames(config) is not None


def configured_frames(config: Any) -> int | None:
    """Frames per clip that the configuration was made for, if it says so."""
    for field in ("num_frames", "frames_per_clip"):
        if isinstance(getattr(config, field, None), int):
            return int(getattr(config, field))
    return None


def tubelet_frames(config: Any) -> int:
    """Number of frames that one time step of the tokens covers."""
    tubelet = getattr(config, "tubelet_size", 1)
    return int(tubelet[0]) if isinstance(tubelet, (list, tuple)) else int(tubelet)


def patch_sides(config: Any) -> tuple[int, int]:
    """Height and width of a patch in pixels; ViViT and VideoPrism store them in their tubelets, ConvNets
    count as 32 (their stride)."""
    if config.model_type == "pe_video_encoder":
        return 1, 1  # its frames' model divides them itself
    if config.model_type in ("vivit", "videoprism_vision_model"):
        return int(config.tubelet_size[1]), int(config.tubelet_size[2])
    patch = getattr(config, "patch_size", 32)
    return (int(patch[0]), int(patch[1])) if isinstance(patch, (list, tuple)) else (int(patch), int(patch))


def configured_size(config: Any) -> tuple[int, int] | None:
    """Frame (height, width) that the position table was made for, if the configuration says so."""
    for field in ("crop_size", "image_size"):
        size = getattr(config, field, None)
        if isinstance(size, (list, tuple)):
            return int(size[0]), int(size[1])
        if isinstance(size, int):
            return size, size
    return None


def infer_layout(model_type: str, tokens: int, places: int, *, video: bool) -> Layout:
    """Layout of an unknown family from the number of its output tokens; `places` of them would be patches.

    Raises `EncoderError` unless there are exactly the patches, or one token more, which every published family puts
    first and uses as its class token.
    """
    if tokens - places not in (0, 1):
        raise EncoderError(
            f"model_type={model_type!r} is not known here, and its {tokens} tokens are neither its {places} patches "
            f"nor one more; known are {', '.join(LAYOUTS)}"
        )
    class_token = tokens == places + 1
    return Layout(video=video, class_token=class_token, clip="class" if class_token else "none")
