"""A Hugging Face model as an encoder: its input, its output tokens.

Image models get each frame separately; video models get the clip in their own layout. The model's `last_hidden_state`
is split into class token, tokens without a place (registers, distillation: dropped) and patch tokens by time step. For
CLIP these are the tokens before `post_layernorm`, which its authors apply to the pooled
vector only.
"""

from collections.abc import Callable
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from longvid.encoders.base import Encoder, EncoderOutput, EncoderSpec
from longvid.encoders.huggingface.layouts import Layout, patch_sides, tubelet_frames
from longvid.errors import EncoderError

Inputs = dict[str, Tensor | bool]


class HuggingFaceEncoder(Encoder):
    """`model` called on clips, with its output sorted by `layout`.

    `interpolate`: let the model resize its position table to the frames. `pooled`: its pooled vector may be used
    (it was in the checkpoint). `pooler`: makes the pooled vector from the tokens; `embedding`: takes the pooled vectors
    of the frames, or that of the clip, into the space shared with text (`longvid.encoders.huggingface.aligned`).
    """

    def __init__(
        self,
        model: nn.Module,
        layout: Layout,
        spec: EncoderSpec,
        *,
        interpolate: bool = False,
        pooled: bool = True,
        pooler: nn.Module | None = None,
        embedding: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.layout = layout
        self.spec = spec
        self.interpolate = interpolate
        self.pooled = pooled and layout.clip == "pooler"
        self.pooler = pooler
        self.embedding = embedding
        config: Any = model.config
        self.model_type = str(config.model_type)
        self.prefix_tokens = layout.prefix_tokens(config)
        self.frames = None if layout.any_frames or not layout.video else spec.sampling.frames
        self.tubelet = tubelet_frames(config) if layout.video else 1

    def forward(self, clips: Float[Tensor, "batch channel time height width"]) -> EncoderOutput:
        """Tokens of each clip; raises `EncoderError` for clips of a length or size that the model does not take."""
        self._check(clips)
        return self._of_clips(clips) if self.layout.video and not self.layout.flat else self._of_frames(clips)

    def _of_frames(self, clips: Tensor) -> EncoderOutput:
        batch = len(clips)
        frames = rearrange(clips, "batch channel time height width -> (batch time) channel height width")
        output = self.model(**self._inputs(frames))
        hidden = output.last_hidden_state
        if hidden.ndim == 4:  # a feature map: its positions are the tokens
            hidden = hidden.flatten(2).transpose(1, 2)
        hidden = rearrange(hidden, "(batch time) token dim -> batch time token dim", batch=batch)
        class_tokens = hidden[:, :, 0] if self.layout.class_token else None
        clip, embedding = None, None
        if self.pooled:
            pooled = rearrange(output.pooler_output.flatten(1), "(batch time) dim -> batch time dim", batch=batch)
            clip = pooled.mean(1)
            embedding = self.embedding(pooled) if self.embedding is not None else None
        elif self.layout.clip == "class" and class_tokens is not None:
            clip = class_tokens.mean(dim=1)
        return EncoderOutput(hidden[:, :, self.prefix_tokens :], class_tokens, clip, embedding=embedding)

    def _of_clips(self, clips: Tensor) -> EncoderOutput:
        steps = clips.shape[2] // self.tubelet
        output = self.model(clips.transpose(1, 2).contiguous())  # (batch, time, channel, height, width)
        hidden = output.last_hidden_state
        pattern = {"time token": "batch (time token) dim", "token time": "batch (token time) dim"}[self.layout.order]
        tokens = rearrange(hidden[:, self.prefix_tokens :], f"{pattern} -> batch time token dim", time=steps)
        if self.pooler is not None:
            return EncoderOutput(tokens, clip=self.pooler(hidden))
        if self.pooled:
            pooled = output.pooler_output.flatten(1)  # VideoPrism keeps an axis of one query
            embedding = self.embedding(pooled) if self.embedding is not None else None
            return EncoderOutput(tokens, clip=pooled, embedding=embedding)
        return EncoderOutput(tokens, clip=hidden[:, 0] if self.layout.clip == "class" else None)

    def _inputs(self, frames: Tensor) -> Inputs:
        make = SPECIAL_INPUTS.get(self.model_type)
        if make is not None:
            return make(frames, self.model)
        return (
            {"pixel_values": frames, "interpolate_pos_encoding": True} if self.interpolate else {"pixel_values": frames}
        )

    def _check(self, clips: Tensor) -> None:
        _, channels, time, height, width = clips.shape
        wanted = self.spec.preprocessing
        if (channels, height, width) != (3, wanted.height, wanted.width):
            raise EncoderError(
                f"{self.spec.name}: frames of {channels} x {height} x {width}; it was built for "
                f"3 x {wanted.height} x {wanted.width} (option size=)"
            )
        if self.frames is not None and time != self.frames:
            raise EncoderError(f"{self.spec.name}: clips of {time} frames; this model takes exactly {self.frames}")
        if time % self.tubelet:
            raise EncoderError(
                f"{self.spec.name}: clips of {time} frames; one token covers {self.tubelet}, so give a multiple of it"
            )


def _siglip2_inputs(frames: Tensor, model: nn.Module) -> Inputs:
    """Input for SigLIP 2 (NaFlex): flattened patches, channels last within a patch, and the grid they come from."""
    side, _ = patch_sides(model.config)
    rows, columns = frames.shape[2] // side, frames.shape[3] // side
    patches = rearrange(
        frames, "batch channel (row y) (column x) -> batch (row column) (y x channel)", row=rows, column=columns
    )
    grid = torch.tensor([[rows, columns]], device=frames.device).expand(len(frames), -1)
    everything = torch.ones(patches.shape[:2], dtype=torch.long, device=frames.device)
    return {"pixel_values": patches, "pixel_attention_mask": everything, "spatial_shapes": grid}


def _mae_inputs(frames: Tensor, model: nn.Module) -> Inputs:
    """Input for MAE, which shuffles patches by this noise even if it masks none; rising noise keeps their order."""
    side_y, side_x = patch_sides(model.config)
    places = (frames.shape[2] // side_y) * (frames.shape[3] // side_x)
    noise = torch.arange(places, device=frames.device, dtype=torch.float32).expand(len(frames), -1)
    return {"pixel_values": frames, "noise": noise, "interpolate_pos_encoding": True}


SPECIAL_INPUTS: dict[str, Callable[[Tensor, nn.Module], Inputs]] = {
    "siglip2_vision_model": _siglip2_inputs,
    "vit_mae": _mae_inputs,
}
