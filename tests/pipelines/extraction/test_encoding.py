"""Batches that do not fit into a device's memory are encoded in parts, whose size is found by trial."""

import logging

import numpy as np
import pytest
import torch

from longvid.encoders import build_encoder
from longvid.encoders.base import Encoder
from longvid.pipelines.extraction.encoding import encode_frames


class Small(Encoder):
    """An encoder on a device that holds so many clips."""

    def __init__(self, encoder: Encoder, most: int) -> None:
        super().__init__()
        self.encoder, self.most, self.spec = encoder, most, encoder.spec
        self.asked: list[int] = []

    def forward(self, clips):
        self.asked.append(len(clips))
        if len(clips) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return self.encoder(clips)


@pytest.fixture
def encoder() -> Encoder:
    return build_encoder("patch-statistics", size=32, dim=16)


@pytest.fixture
def frames() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (8, 1, 32, 32, 3), np.uint8)


def test_a_batch_that_does_not_fit_is_halved_until_it_does_and_later_ones_are_no_trial(
    encoder: Encoder, frames: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    whole = encode_frames(frames, encoder=encoder, pooling="mean")
    small = Small(encoder, 3)
    with caplog.at_level(logging.WARNING):
        parts = encode_frames(frames, encoder=small, pooling="mean")
    np.testing.assert_array_equal(parts, whole)
    assert small.asked == [8, 4, 2, 2, 2, 2]
    assert [record.message for record in caplog.records] == [
        "8 clips do not fit into the device's memory; trying 4 at once",
        "4 clips do not fit into the device's memory; trying 2 at once",
    ]
    small.asked.clear()
    encode_frames(frames[:5], encoder=small, pooling="mean")
    assert small.asked == [2, 2, 1]


def test_a_clip_that_does_not_fit_alone_is_an_error_in_the_devices_words(encoder: Encoder, frames: np.ndarray) -> None:
    with pytest.raises(torch.OutOfMemoryError, match=r"Tried to allocate 2.00 GiB"):
        encode_frames(frames, encoder=Small(encoder, 0), pooling="mean")
