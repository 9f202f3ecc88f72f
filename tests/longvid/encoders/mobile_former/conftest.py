"""A Mobile-Former small enough for tests, with weights in which nothing is zero, one or symmetric."""

from collections.abc import Callable

import pytest
import torch

from longvid.encoders.mobile_former import BlockConfig, MobileFormer, MobileFormerConfig

Scramble = Callable[..., MobileFormer]


@pytest.fixture
def tiny() -> MobileFormerConfig:
    """An image net with a block of every kind, down to a quarter of the input and once more by the stem."""
    blocks = (
        BlockConfig("lite", 8, 2),
        BlockConfig("down", 12, 3, stride=2, second_expansion=2),
        BlockConfig("standard", 12, 3),
        BlockConfig("down", 16, 3, stride=2, second_expansion=2),
        BlockConfig("standard", 20, 3),
    )
    return MobileFormerConfig(8, blocks, num_tokens=3, token_dim=32, fused_dim=24, num_classes=10)


@pytest.fixture
def scrambled() -> Scramble:
    """scrambled(config, seed=0): a net in evaluation mode, every weight, bias and running statistic random."""

    def build(config: MobileFormerConfig, seed: int = 0) -> MobileFormer:
        generator = torch.Generator().manual_seed(seed)
        net = MobileFormer(config).eval()
        with torch.no_grad():
            for name, tensor in net.state_dict().items():
                if name.endswith("running_var"):
                    tensor.uniform_(0.5, 1.5, generator=generator)
                elif tensor.is_floating_point():
                    fan_in = max(1, tensor[0].numel()) if tensor.ndim > 1 else 4
                    tensor.normal_(std=fan_in**-0.5, generator=generator)
                    if tensor.ndim == 1 and name.endswith("norm.weight"):
                        tensor.add_(1)
        return net

    return build
