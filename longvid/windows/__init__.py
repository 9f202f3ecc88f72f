"""Windows of stored features, for training and evaluation."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from longvid.windows.dataset import Draw, WindowBatch, WindowDataset, WindowItem, collate, split_by_presence
    from longvid.windows.joined import Join, JoinedStores
    from longvid.windows.rule import Windows
    from longvid.windows.sampler import RandomWindows

__all__ = [
    "Draw",
    "Join",
    "JoinedStores",
    "RandomWindows",
    "WindowBatch",
    "WindowDataset",
    "WindowItem",
    "Windows",
    "collate",
    "split_by_presence",
]

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "dataset": ["Draw", "WindowBatch", "WindowDataset", "WindowItem", "collate", "split_by_presence"],
        "joined": ["Join", "JoinedStores"],
        "rule": ["Windows"],
        "sampler": ["RandomWindows"],
    },
)
