"""Windows of stored features, for training and evaluation."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from longvid.windows.dataset import Draw, WindowBatch, WindowDataset, WindowItem, collate, split_by_presence
    from longvid.windows.rule import Windows
    from longvid.windows.sampler import RandomWindows

_HOMES = {
    "Draw": "longvid.windows.dataset",
    "RandomWindows": "longvid.windows.sampler",
    "WindowBatch": "longvid.windows.dataset",
    "WindowDataset": "longvid.windows.dataset",
    "WindowItem": "longvid.windows.dataset",
    "Windows": "longvid.windows.rule",
    "collate": "longvid.windows.dataset",
    "split_by_presence": "longvid.windows.dataset",
}

__all__ = [
    "Draw",
    "RandomWindows",
    "WindowBatch",
    "WindowDataset",
    "WindowItem",
    "Windows",
    "collate",
    "split_by_presence",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'longvid.windows' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
