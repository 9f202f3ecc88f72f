"""Windows of stored features for training and evaluation. Each name is imported when it is first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from longvid.data.plan import Windows
    from longvid.data.sampling import RandomWindows
    from longvid.data.windows import Draw, WindowBatch, WindowDataset, WindowItem, collate, split_by_presence

_HOMES = {
    "Draw": "longvid.data.windows",
    "RandomWindows": "longvid.data.sampling",
    "WindowBatch": "longvid.data.windows",
    "WindowDataset": "longvid.data.windows",
    "WindowItem": "longvid.data.windows",
    "Windows": "longvid.data.plan",
    "collate": "longvid.data.windows",
    "split_by_presence": "longvid.data.windows",
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
        raise AttributeError(f"module 'longvid.data' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
