"""Blocks that are computed again in the backward pass give the same gradients, and count their statistics once."""

import copy

import pytest
import torch

from longvid.encoders.learning import classifying, recompute_blocks


@pytest.mark.parametrize("name", ["xvit-nano", "dualformer-nano", "video-mobile-former-nano"])
def test_recomputed_blocks_learn_what_kept_ones_do(name):
    kept = classifying(name, classes=3, weights="random").train()
    again = copy.deepcopy(kept)
    assert recompute_blocks(again) > 0
    spec = kept.encoder.spec
    torch.manual_seed(1)
    clips = torch.randn(2, 3, spec.sampling.frames, spec.preprocessing.height, spec.preprocessing.width)
    for model in (kept, again):
        torch.manual_seed(2)  # of dropout
        model(clips).logsumexp(dim=1).sum().backward()
    found = dict(again.named_parameters())
    for key, weight in kept.named_parameters():
        if weight.grad is None:
            assert found[key].grad is None, key
        else:
            assert torch.equal(found[key].grad, weight.grad), key  # the same operations in the same order
    statistics = dict(again.named_buffers())
    for key, buffer in kept.named_buffers():
        assert torch.equal(statistics[key], buffer), key
