"""From decoded frames to pooled tokens, on the encoder's device.

To a GPU frames go through pinned memory and a stream of their own, before the model is free: they are there when it
is. A batch that does not fit into the device's memory is encoded in halves, and so are later ones of that encoder:
the number of clips that fits is found by trial.
"""

import logging
import threading
from dataclasses import dataclass
from itertools import chain
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from longvid.encoders import Encoder
from longvid.encoders.pooling import pool

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Staged:
    """Frames on their way to a device, or on it."""

    frames: Tensor
    """Uint8, (batch, time, height, width, 3)."""
    copied: Any = None
    """The event after which they are there; None: they are."""

    def wait(self) -> Tensor:
        """The frames, for work that the current stream does from now on."""
        if self.copied is not None:
            stream = torch.cuda.current_stream(self.frames.device)
            stream.wait_event(self.copied)
            self.frames.record_stream(stream)
        return self.frames


def stage(frames: UInt8[np.ndarray, "batch time height width 3"], encoder: Encoder) -> Staged:
    """The frames on their way to the encoder's device."""
    device, here = device_of(encoder), torch.from_numpy(frames)
    if device.type != "cuda":
        return Staged(here.to(device))
    stream = _copy_stream(device)
    with torch.cuda.stream(stream):
        moved = here.pin_memory().to(device, non_blocking=True)
        return Staged(moved, stream.record_event())


def encode_frames(
    frames: UInt8[np.ndarray, "batch time height width 3"], *, encoder: Encoder, pooling: str
) -> Float32[np.ndarray, "batch num_tokens dim"]:
    """Pooled tokens of a batch of clips."""
    return encode_staged(stage(frames, encoder), encoder=encoder, pooling=pooling)


def encode_staged(staged: Staged, *, encoder: Encoder, pooling: str) -> Float32[np.ndarray, "batch num_tokens dim"]:
    """Pooled tokens of staged clips, all at once or in as many parts as the device's memory demands.

    Raises `torch.OutOfMemoryError` if a single clip does not fit.
    """
    frames = staged.wait()
    with torch.inference_mode():
        while True:
            fits = _FITS.get(encoder, len(frames))
            try:
                parts = [_encode(part, encoder, pooling) for part in frames.split(max(1, min(fits, len(frames))))]
                return (
                    np.concatenate([part.cpu().numpy() for part in parts]) if len(parts) > 1 else parts[0].cpu().numpy()
                )
            except torch.OutOfMemoryError:
                tried = min(fits, len(frames))
                if tried <= 1:
                    raise
            # outside of the handler, whose traceback keeps what the failed trial had on the device
            _FITS[encoder] = -(-tried // 2)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            _log.warning("%d clips do not fit into the device's memory; trying %d at once", tried, _FITS[encoder])


_FITS: "WeakKeyDictionary[Encoder, int]" = WeakKeyDictionary()
"""Clips that are encoded at once, for encoders whose batches did not fit."""


def _encode(frames: Tensor, encoder: Encoder, pooling: str) -> Tensor:
    return pool(encoder(encoder.spec.preprocessing.normalise(frames)), pooling).float()


def device_of(encoder: Encoder) -> torch.device:
    """The device of the encoder's weights."""
    for tensor in chain(encoder.parameters(), encoder.buffers()):
        return tensor.device
    return torch.device("cpu")


_local = threading.local()


def _copy_stream(device: torch.device) -> Any:
    """This thread's stream for copies to the device."""
    streams: dict[torch.device, Any] = _local.__dict__.setdefault("streams", {})
    if device not in streams:
        streams[device] = torch.cuda.Stream(device)
    return streams[device]
