"""Encoders made from functions or modules, or run in half precision."""

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from longvid.encoders.base import NO_WEIGHTS, Encoder, EncoderOutput, EncoderSpec
from longvid.errors import EncoderError
from longvid.weights import state_sha256

ClipFunction = Callable[[Tensor], EncoderOutput | Tensor]


def wrap(function: ClipFunction, spec: EncoderSpec) -> Encoder:
    """An encoder made from any function or module that takes clips (batch, 3, time, height, width).

    It returns tokens (batch, time, token, dim), or an `EncoderOutput` if there is also a class or clip vector.
    If the spec's `weights_sha256` is empty, it is filled in from the module's weights. A function has none: only what
    you put into `spec.config` distinguishes two versions of it in a recipe.
    """
    return FunctionEncoder(function, spec)


class FunctionEncoder(Encoder):
    """An encoder that calls `function`; a module's weights become its own."""

    def __init__(self, function: ClipFunction, spec: EncoderSpec) -> None:
        super().__init__()
        self.function = function
        weights = function.state_dict() if isinstance(function, nn.Module) else {}
        if not weights:
            spec = replace(spec, weights=NO_WEIGHTS, weights_seed=None)
        self.spec = replace(spec, weights_sha256=spec.weights_sha256 or state_sha256(weights))

    def forward(self, clips: Float[Tensor, "batch channel time height width"]) -> EncoderOutput:
        """The function's result as an `EncoderOutput`."""
        output = self.function(clips)
        if isinstance(output, EncoderOutput):
            return output
        if not isinstance(output, Tensor) or output.ndim != 4 or len(output) != len(clips):
            got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise EncoderError(
                f"{self.spec.name}: the function returned {got} for clips {tuple(clips.shape)}; "
                "it must return tokens (batch, time, token, dim) or an EncoderOutput"
            )
        return EncoderOutput(output)


AUTOCAST_TYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class Autocast(Encoder):
    """An encoder run under autocast; the weights stay float32, and so does the output."""

    def __init__(self, encoder: Encoder, dtype: str) -> None:
        super().__init__()
        if dtype not in AUTOCAST_TYPES:
            raise EncoderError(f"dtype={dtype!r} is not one of float32, {', '.join(AUTOCAST_TYPES)}")
        self.encoder = encoder
        self.dtype = AUTOCAST_TYPES[dtype]
        self.spec = replace(encoder.spec, config={**encoder.spec.config, "dtype": dtype})

    def forward(self, clips: Float[Tensor, "batch channel time height width"]) -> EncoderOutput:
        """The encoder's output, computed in the lower precision."""
        with torch.autocast(device_type=clips.device.type, dtype=self.dtype):
            output: EncoderOutput = self.encoder(clips)
        return output._replace(**{name: part.float() for name, part in output._asdict().items() if part is not None})
