"""Trained decoders as files that run without longvid: torch.export, ONNX.

    decoder, task, windows = longvid.load_decoder("runs/mine")
    program = longvid.export_decoder(decoder, length=60)         # tokens (batch, 60, dim) -> logits
    torch.export.save(program, "mine.pt2")
    longvid.export_onnx(decoder, "mine.onnx", length=60)         # needs longvid[onnx]

The input is `tokens`, float32, without padding: there are no `lengths`. Standardisation is part of the file; the mean
over windows and the softmax are not.

| decoder                                       | length       | batch | ONNX |
|-----------------------------------------------|--------------|-------|------|
| mean-linear, max-linear, temporal-convolution | fixed or any | any   | yes  |
| transformer, performer, selective-scan        | fixed        | any   | yes  |
| lstm, gru, global-tokens                      | fixed        | any   | yes  |
| vis4mer                                       | fixed        | any   | no   |
| hybrid                                        | fixed        | fixed | no   |

ONNX has no complex numbers, of which S4's kernels are made. An exported S4 layer computes its kernel in every call,
where longvid keeps it.
"""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from longvid.decoders.base import Decoder
from longvid.decoders.convolutional import Convolutional
from longvid.decoders.hybrid import Hybrid
from longvid.decoders.part import PartOf
from longvid.decoders.pooled import PooledLinear
from longvid.decoders.standardise import Standardised
from longvid.errors import BackendUnavailable, DecoderError, short_reason
from longvid.files import replacing

ANY_LENGTH = (Convolutional, PooledLinear)
"""Decoders whose program can take sequences of any length."""
ONE_BATCH = (Hybrid,)
"""Decoders whose program takes only batches of the size that it was made for."""
LONGEST, LARGEST = 2**20, 2**16
"""Largest length and batch of a program that takes any."""


class _WholeWindows(nn.Module):
    """A decoder whose only input is tokens."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, tokens: Float[Tensor, "batch length dim"]) -> Float[Tensor, "batch *steps outputs"]:
        """Logits of each item."""
        logits: Tensor = self.decoder(tokens)
        return logits


def export_decoder(decoder: Decoder, *, length: int | None, batch: int | None = None) -> Any:
    """The decoder as a `torch.export.ExportedProgram` of tokens (batch, length, dim), float32.

    `length`: tokens of every window; None: any, for the decoders that can. `batch`: None for any. Raises `DecoderError`
    for a length or a decoder that cannot be exported.
    """
    inner = decoder
    while isinstance(inner, Standardised | PartOf):
        inner = inner.decoder
    if length is None and not isinstance(inner, ANY_LENGTH):
        raise DecoderError(
            f"{type(inner).__name__} can only be exported for one length: give length=, the tokens of a window "
            "(clips per window times tokens per clip)"
        )
    if batch is None and isinstance(inner, ONE_BATCH):
        raise DecoderError(f"{type(inner).__name__} can only be exported for one size of batch: give batch=1, say")
    for name, value in (("length", length), ("batch", batch)):
        if value is not None and value < 1:
            raise DecoderError(f"{name}={value}: should be at least 1")
    device, dim = next(decoder.parameters()).device, inner.config.dim
    tokens = torch.zeros(batch or 2, length or 64, dim, device=device)
    dynamic: dict[int, Any] = {}
    if batch is None:
        dynamic[0] = torch.export.Dim("batch", min=1, max=LARGEST)
    if length is None:
        dynamic[1] = torch.export.Dim("length", min=2, max=LONGEST)
    module = _WholeWindows(decoder.eval())
    try:
        # a non-strict trace follows any Python; gradients stay on, so that no layer keeps what belongs to the trace
        with torch.enable_grad():
            return torch.export.export(module, (tokens,), dynamic_shapes={"tokens": dynamic or None}, strict=False)
    except DecoderError:
        raise
    except Exception as error:  # torch raises many kinds, for what a decoder of one's own may do
        raise DecoderError(f"{type(inner).__name__} cannot be exported: {short_reason(error)}") from error


def export_onnx(decoder: Decoder, path: str | Path, *, length: int | None, batch: int | None = None) -> Path:
    """The decoder as an ONNX file with the input `tokens` and the output `logits`; it appears whole or not at all.

    `length` and `batch` are those of `export_decoder`. Raises `BackendUnavailable` without the packages of
    longvid[onnx], `DecoderError` for a decoder that ONNX cannot express.
    """
    target = Path(path)
    try:
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise BackendUnavailable(
            f"ONNX export needs {error.name}, which is not installed: pip install 'longvid[onnx]'"
        ) from None
    program = export_decoder(decoder, length=length, batch=batch)
    try:
        made = torch.onnx.export(program, dynamo=True, verbose=False, input_names=["tokens"], output_names=["logits"])
        assert made is not None
    except Exception as error:  # torch's own errors, which name the operation in their last line
        raise DecoderError(
            f"{target}: ONNX cannot express this decoder (S4's kernels are complex numbers, which it lacks); use "
            "longvid.export_decoder, or another decoder"
        ) from error
    with replacing(target) as temporary:
        made.save(temporary)
    return target
