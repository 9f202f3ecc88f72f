"""S4 systems for tests."""

import math
from collections.abc import Callable, Iterator

import pytest
import torch

from longvid.ssm.hippo import legs_low_rank
from longvid.ssm.system import StateSpace

MakeSystem = Callable[..., StateSpace]


def make_system(
    channels: int = 3, *, state_size: int = 16, truncated_at: int = 0, dtype: torch.dtype = torch.complex64
) -> StateSpace:
    """HiPPO systems with steps over the whole usual range; p and q apart, as after training."""
    generator = torch.Generator().manual_seed(channels + state_size)

    def noise() -> torch.Tensor:
        return torch.randn(channels, state_size // 2, generator=generator, dtype=torch.complex128)

    w, p, b = legs_low_rank(state_size)
    step = torch.linspace(math.log(0.001), math.log(0.1), channels, dtype=torch.float64).exp()
    tensors = [w, p + 0.1 * noise(), p + 0.1 * noise(), b + 0.1 * noise(), noise()]
    w, p, q, b, c = (tensor.to(dtype) for tensor in tensors)
    real = torch.float64 if dtype == torch.complex128 else torch.float32
    return StateSpace(w, p, q, b, c, step.to(real), truncated_at)


@pytest.fixture(autouse=True)
def _unwritten_memory_is_nan() -> Iterator[None]:
    """What `torch.empty` gives is filled with NaN, so that an element nobody wrote shows."""
    asked = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)  # torch fills its memory only then
    assert torch.utils.deterministic.fill_uninitialized_memory
    yield
    torch.use_deterministic_algorithms(asked)


@pytest.fixture(name="make_system")
def make_system_fixture() -> MakeSystem:
    """`make_system(channels, state_size=, truncated_at=, dtype=)`."""
    return make_system
