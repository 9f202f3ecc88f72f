"""Windows of stored features for training and evaluation."""

from longvid.data.plan import Windows
from longvid.data.sampling import RandomWindows
from longvid.data.windows import Draw, WindowBatch, WindowDataset, WindowItem, collate, split_by_presence

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
