"""Which windows an epoch of training draws: fixed by (seed, epoch)."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
from torch.utils.data import Sampler

from longvid.windows.dataset import Draw, WindowDataset

Drawing = Literal["windows", "videos"]


class RandomWindows(Sampler[Draw]):
    """As many random windows per epoch as there are videos, chosen in the main process.

    `draw="windows"`: each uniformly from all windows of all videos, so that long videos come up more often (the LVU
    protocol). `draw="videos"`: every video once, in random order, with one of its windows. Call `set_epoch` before
    each epoch; epochs do not depend on those before them.
    """

    def __init__(self, dataset: WindowDataset, *, draw: Drawing = "videos", seed: int = 0) -> None:
        self.draw = draw
        self.seed = seed
        self.epoch = 0
        self._windows_of_video = np.bincount(dataset.video_of_window, minlength=len(dataset.rows))

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration draws."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self._windows_of_video)

    def __iter__(self) -> Iterator[Draw]:
        rng = np.random.default_rng([self.seed, self.epoch])
        counts = self._windows_of_video
        if self.draw == "windows":
            windows = rng.integers(0, counts.sum(), len(counts))
        else:
            firsts = np.cumsum(counts) - counts
            windows = (firsts + rng.integers(0, counts))[rng.permutation(len(counts))]
        seeds = rng.integers(0, 2**31, len(counts))
        return (Draw(int(window), int(seed)) for window, seed in zip(windows, seeds, strict=True))
