"""One pass over a store's clips: the cosine of each with some queries.

Clips are read where they lie (mapped shards are not copied), converted to float32 block by block in a buffer that stays
in the processor's cache, and multiplied with all queries at once: memory is that of a block and of one video's scores.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from longvid.stores import StoredVideo
from longvid.stores.numbers import from_stored


class Scorer:
    """Cosines of clips with queries (queries, dim); several tokens of a clip count by their mean."""

    def __init__(self, queries: Float32[np.ndarray, "queries dim"]) -> None:
        self.num_queries = len(queries)
        units = torch.nn.functional.normalize(torch.from_numpy(np.ascontiguousarray(queries)).float(), dim=1)
        self._queries = units.T.contiguous()
        self._room = torch.empty(0)

    def of_video(self, video: StoredVideo) -> Float32[np.ndarray, "clips queries"]:
        """The scores of a video's clips; NaN for clips that are absent. Raises DamagedStore."""
        scores = np.empty((video.num_clips, self.num_queries), np.float32)
        first = 0
        with _mapped_arrays_may_be_read():
            for arrays in video.iter_chunks():
                found = self.of_clips(arrays)
                scores[first : first + len(found)] = found
                first += len(found)
        scores[~video.present] = np.nan
        return scores

    def of_clips(self, arrays: dict[str, np.ndarray]) -> Float32[np.ndarray, "clips queries"]:
        """The scores of some clips as they are stored, (clips, tokens, dim)."""
        tokens = arrays["tokens"]
        if tokens.shape[1] > 1:  # a scale per token has to be applied before the mean
            return self._of_rows(torch.from_numpy(from_stored(arrays)).float().mean(dim=1))
        # the scale of int8 has no effect on a cosine
        return self._of_rows(torch.from_numpy(tokens[:, 0]))

    def _of_rows(self, rows: Tensor) -> Float32[np.ndarray, "clips queries"]:
        if len(self._room) < len(rows):
            self._room = torch.empty(rows.shape)
        room = self._room[: len(rows)]
        room.copy_(rows)
        scores = (room @ self._queries).numpy()
        # the dot product of BLAS: twice as fast as torch's norm of each row
        lengths = np.sqrt(np.vecdot(room.numpy(), room.numpy()))
        scores /= np.maximum(lengths, np.finfo(np.float32).tiny)[:, None]
        return scores


@contextmanager
def _mapped_arrays_may_be_read() -> Iterator[None]:
    """Without torch's warning that the array of a mapped file must not be written to: nothing here does."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        yield
