"""Toy tasks that a decoder is trained on for a few seconds."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from longvid.decoders import build_decoder


def two_events(items: int, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Noise with two marked tokens; the label is which came first. The mean over time is the same for both."""
    tokens = 0.3 * torch.randn(items, length, 8, generator=generator)
    label = torch.randint(0, 2, (items,), generator=generator)
    early = torch.randint(0, length // 2 - 8, (items,), generator=generator)
    late = torch.randint(length // 2 + 8, length, (items,), generator=generator)
    row = torch.arange(items)
    tokens[row, early, label] += 4
    tokens[row, late, 1 - label] += 4
    return tokens, label


def needle(items: int, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Noise in which one token is one of four marks; the label is which."""
    marks = torch.randn(4, 32, generator=torch.Generator().manual_seed(7))
    tokens = torch.randn(items, length, 32, generator=generator)
    label = torch.randint(0, 4, (items,), generator=generator)
    place = torch.randint(0, length, (items,), generator=generator)
    tokens[torch.arange(items), place] = 9 * torch.nn.functional.normalize(marks, dim=1)[label]
    return tokens, label


TASKS = {"order": (two_events, 8, 2), "needle": (needle, 32, 4)}
"""Task -> (what makes items, width of a token, classes)."""


def accuracy_after_training(
    name: str, *, task: str = "order", learning_rate: float = 1e-2, steps: int = 200, **options: object
) -> float:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    make, dim, classes = TASKS[task]
    decoder = build_decoder(name, dim=dim, outputs=classes, max_length=128, **options)
    optimiser = torch.optim.AdamW(decoder.param_groups(learning_rate, 0.01))
    peaks = [group["lr"] for group in optimiser.param_groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, peaks, total_steps=steps)
    for _ in range(steps):
        tokens, label = make(16, 128, generator)
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(decoder(tokens), label).backward()
        optimiser.step()
        schedule.step()
    decoder.eval()
    tokens, label = make(256, 128, generator)
    with torch.no_grad():
        return (decoder(tokens).argmax(1) == label).float().mean().item()


@pytest.fixture(name="accuracy_after_training")
def accuracy_fixture() -> Callable[..., float]:
    """`accuracy_after_training(name, task=, learning_rate=, steps=, **options)` on items never seen."""
    return accuracy_after_training
