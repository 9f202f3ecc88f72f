"""Encoders that misbehave, importable by dask workers."""

import ctypes
import os
import signal
import time

import torch
from torch import Tensor

from longvid.clips.preprocessing import Preprocessing
from longvid.clips.sampling import Sampling
from longvid.encoders import Encoder, EncoderSpec, wrap

SPEC = EncoderSpec(
    "poison", Sampling(frames=1, fps=4.0, stride_seconds=0.25), Preprocessing(height=32, width=32, resize="squash")
)


def _tokens(clips: Tensor) -> Tensor:
    return clips.mean(dim=(3, 4)).movedim(1, 2).unsqueeze(2)


def _is_marked(clips: Tensor) -> bool:
    """Whether the batch comes from the video that is all white."""
    return bool(clips.shape[0] > 1 and _is_white(clips))


def _is_white(clips: Tensor) -> bool:
    return bool((clips > 0.9).float().mean() > 0.9)


def build_killer() -> Encoder:
    """Kills its process when it sees the white video."""

    def kill(clips: Tensor) -> Tensor:
        if _is_marked(clips):
            os.kill(os.getpid(), signal.SIGKILL)
        return _tokens(clips)

    return wrap(kill, SPEC)


def build_sleeper() -> Encoder:
    """Never comes back from the white video."""

    def sleep(clips: Tensor) -> Tensor:
        while _is_marked(clips):
            time.sleep(1)
        return _tokens(clips)

    return wrap(sleep, SPEC)


def build_raiser() -> Encoder:
    """Has no room for a single clip of the white video."""

    def fail(clips: Tensor) -> Tensor:
        if _is_white(clips):
            raise torch.OutOfMemoryError("pretended")
        return _tokens(clips)

    return wrap(fail, SPEC)


def build_holder() -> Encoder:
    """Never comes back from the white video, and never lets go of the interpreter, as a hanging C library does."""

    def hold(clips: Tensor) -> Tensor:
        if _is_marked(clips):
            ctypes.PyDLL(None).sleep(1000)
        return _tokens(clips)

    return wrap(hold, SPEC)
