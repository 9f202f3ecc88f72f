"""Vision towers of models with text, and their way into its space.

| family (`model_type`)   | tower           | its vector in the shared space (pooling `embedding`)      |
|-------------------------|-----------------|-----------------------------------------------------------|
| clip, metaclip_2        | `vision_model`  | pooled vector of a frame, projected; mean over the frames |
| siglip, siglip2, tipsv2 | `vision_model`  | pooled vector of a frame; mean over the frames            |
| xclip                   | `vision_model`  | projected pooled vectors of the frames through its `mit`  |
| videoprism (LvT)        | `video_model`   | pooled vector of the clip, of length 1                    |
| pe_video                | `video_encoder` | pooled vector of the clip through `video_head`            |
| vjepa2, fine-tuned      | the encoder     | none; `clip` is the vector of its attentive pooler        |

The vectors are those of the models' own `get_image_features` and `get_video_features`; that of several frames is their
mean. Divide by the length before comparing with a text. All classes come from transformers; nothing that a model's
files name is imported.
"""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from longvid.errors import EncoderError, WeightsError


class Projected(nn.Module):
    """A pooled vector of each frame (batch, time, dim), projected; the mean over the frames."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.visual_projection = nn.Linear(config.vision_config.hidden_size, config.projection_dim, bias=False)

    def forward(self, pooled: Tensor) -> Tensor:
        """Vectors (batch, projection_dim)."""
        projected: Tensor = self.visual_projection(pooled)
        return projected.mean(dim=1)


class Integrated(nn.Module):
    """X-CLIP's: the frames' projected vectors through a transformer over time."""

    def __init__(self, config: Any) -> None:
        from transformers.models.x_clip.modeling_x_clip import XCLIPMultiframeIntegrationTransformer

        super().__init__()
        vision = config.vision_config
        self.visual_projection = nn.Linear(vision.hidden_size, config.projection_dim, bias=False)
        inner = copy(vision)
        inner.hidden_size, inner.intermediate_size = vision.mit_hidden_size, vision.mit_intermediate_size
        inner.num_hidden_layers, inner.num_attention_heads = (
            vision.mit_num_hidden_layers,
            vision.mit_num_attention_heads,
        )
        self.mit = XCLIPMultiframeIntegrationTransformer(inner)
        nn.init.normal_(self.mit.position_embedding, std=0.02)

    def forward(self, pooled: Tensor) -> Tensor:
        """Vectors (batch, projection_dim)."""
        vectors: Tensor = self.mit(self.visual_projection(pooled)).pooler_output
        return vectors


class Headed(nn.Module):
    """PE Video's: the clip's pooled vector through a norm and a linear layer."""

    def __init__(self, config: Any) -> None:
        from transformers.models.pe_video.modeling_pe_video import PeVideoContrastiveHead

        super().__init__()
        self.video_head = PeVideoContrastiveHead(config.video_config.hidden_size, config.text_config.hidden_size)

    def forward(self, pooled: Tensor) -> Tensor:
        """Vectors (batch, text width)."""
        vectors: Tensor = self.video_head(pooled)
        return vectors


class Unchanged(nn.Module):
    """Where the pooled vector is in the shared space already: of frames (batch, time, dim) their mean."""

    def __init__(self, config: Any) -> None:
        super().__init__()

    def forward(self, pooled: Tensor) -> Tensor:
        """Vectors (batch, dim)."""
        return pooled.mean(dim=1) if pooled.ndim == 3 else pooled


@dataclass(frozen=True)
class Aligned:
    """One family of models aligned with text."""

    embed: Callable[[Any], nn.Module]
    """Makes the step into the shared space from the whole model's configuration."""
    tower: str = "vision_model"
    """Where the tower's weights are in a checkpoint of the whole model."""
    config: str = "vision_config"
    """Field of the configuration that describes the tower."""


ALIGNED: dict[str, Aligned] = {
    "clip": Aligned(Projected),
    "metaclip_2": Aligned(Projected),
    "pe_video": Aligned(Headed, "video_encoder", "video_config"),
    "siglip": Aligned(Unchanged),
    "siglip2": Aligned(Unchanged),
    "tipsv2": Aligned(Unchanged),
    "videoprism": Aligned(Unchanged, "video_model"),
    "xclip": Aligned(Integrated),
}
"""Families whose vision tower has a known way into the space of its text tower, by the whole model's `model_type`."""

TOWER_CLASSES = {
    "metaclip_2_vision_model": ("metaclip_2", "MetaClip2VisionModel"),
    "xclip_vision_model": ("x_clip", "XCLIPVisionModel"),
}
"""Towers that transformers' own table of bare models does not list: the module and the class."""


def tower_class(config: Any, whole: Any) -> Any:
    """transformers' class for a tower's configuration; None if there is none. `whole`: the whole model's."""
    from importlib import import_module

    from transformers import MODEL_MAPPING

    if whole.model_type == "videoprism":
        from transformers import VideoPrismVideoModel

        return VideoPrismVideoModel
    if config.model_type in TOWER_CLASSES:
        module, name = TOWER_CLASSES[config.model_type]
        return getattr(import_module(f"transformers.models.{module}.modeling_{module}"), name)
    if type(config) not in MODEL_MAPPING:
        return None
    found = MODEL_MAPPING[type(config)]
    return found[0] if isinstance(found, list | tuple) else found


def tower_state(state: dict[str, Tensor], whole: Any) -> dict[str, Tensor]:
    """The tower's part of a whole model's weights, under the tower's own names; all of a bare tower's."""
    if whole.model_type not in ("pe_video", "videoprism", "xclip", "metaclip_2", "tipsv2"):
        return state  # transformers knows where its older families keep the tower
    prefix = f"{ALIGNED[whole.model_type].tower}."
    own = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    return own or state


def embedding_of(whole: Any, state: dict[str, Tensor] | None, seed: int, source: str) -> nn.Module | None:
    """The step into the shared space, with a checkpoint's weights or (None) random ones; None for other models.

    None also for a checkpoint of the tower alone. Raises `WeightsError` for weights that do not fit.
    """
    family = ALIGNED.get(whole.model_type)
    if family is None:
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = family.embed(whole).eval()
    wanted = module.state_dict()
    if state is None or not wanted:
        return module
    held = {name: state[name] for name in wanted if name in state}
    if not held:
        return None
    absent = sorted(wanted.keys() - held.keys())
    if absent:
        raise WeightsError(f"{source}: the checkpoint lacks parts of its projection: {', '.join(absent[:6])}")
    try:
        module.load_state_dict(held)
    except RuntimeError as error:
        raise WeightsError(f"{source}: its projection does not fit config.json ({_line(error)})") from None
    return module


def attentive_pooler(config: Any, state: dict[str, Tensor] | None, source: str) -> nn.Module | None:
    """The trained pooler of a V-JEPA 2 that was fine-tuned to classify; None for one that was not."""
    if config.model_type != "vjepa2" or state is None or "pooler.query_tokens" not in state:
        return None
    from transformers.models.vjepa2.modeling_vjepa2 import VJEPA2AttentivePooler

    with torch.random.fork_rng(devices=[]):
        module = VJEPA2AttentivePooler(config).eval()
    try:
        module.load_state_dict(
            {name.removeprefix("pooler."): tensor for name, tensor in state.items() if name.startswith("pooler.")}
        )
    except RuntimeError as error:
        raise WeightsError(f"{source}: its pooler does not fit config.json ({_line(error)})") from None
    return module


def refuse_unbuildable(whole: Any, source: str) -> None:
    """Raise `EncoderError`, with the remedy, for a tower that needs a package which does not work here."""
    if whole.model_type not in ("pe_video", "pe_video_encoder"):
        return
    config = getattr(whole, "video_config", whole)
    if getattr(config.vision_config, "model_type", "") == "timm_wrapper":
        from longvid.encoders.timm import optional_package
        from longvid.errors import BackendUnavailable

        try:
            optional_package("timm")
        except BackendUnavailable as error:
            raise EncoderError(f"{source}: its frames go through a timm model: {error}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
