"""One pass over a store's clips: the cosine of each with some queries.

Clips are read where they lie: mapped shards are not copied. Blocks of them that fit into the processor's cache are
converted to float32 in one buffer (float32 is not even converted) and multiplied with all queries at once, so that a
clip comes from memory once. Memory is that of a block and of one video's scores for each thread.

A single query over float16 clips, the usual search, goes to NumKong where it is installed (extra `numkong`): one loop
that converts in registers, and compares with the query rounded to float16 as the clips are.
"""

import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float32, Shaped

from longvid.pipelines.machine.cores import available_cores
from longvid.stores import StoredVideo
from longvid.stores.numbers import from_stored

BLOCK_BYTES = 3 << 18
"""Bytes of a block in float32: with the clips that it is made of, it stays in the second cache of a core (2 MB)."""
VIDEOS_AHEAD = 4
"""Videos per thread that are handed out before their turn."""

Item = TypeVar("Item")
Found = TypeVar("Found")


class Scorer:
    """Cosines of clips with queries (queries, dim); several tokens of a clip count by their mean.

    Has a buffer of its own, so it belongs to one thread; `copy` gives another thread its own.
    """

    def __init__(self, queries: Float32[np.ndarray, "queries dim"]) -> None:
        _accept_read_only_arrays()
        wide = np.asarray(queries, np.float32)
        self._queries = wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        rows = max(1, BLOCK_BYTES // (4 * wide.shape[1]))
        self._block = torch.empty(rows, wide.shape[1])
        self._half = self._queries.astype(np.float16)

    @property
    def num_queries(self) -> int:
        """Number of queries that each clip is compared with."""
        return len(self._queries)

    def copy(self) -> "Scorer":
        """A scorer of the same queries, for another thread."""
        return Scorer(self._queries)

    def of_video(self, video: StoredVideo) -> Float32[np.ndarray, "clips queries"]:
        """The scores of a video's clips; NaN for clips that are absent. Raises DamagedStore.

        Where NumKong computes them, each may be off by as much as rounding a query to float16 can change a cosine:
        2**-11, in practice by less than a tenth of that.
        """
        of_rows = self._cosines_by_numkong if self._is_for_numkong(video) else self._cosines
        scores = of_rows(video.iter_chunks(), video.num_clips)
        if video.damaged:
            scores[~video.present] = np.nan
        return scores

    def of_clips(self, arrays: dict[str, np.ndarray]) -> Float32[np.ndarray, "clips queries"]:
        """The scores of some clips as they are stored, (clips, tokens, dim)."""
        return self._cosines([arrays], len(arrays["tokens"]))

    def _cosines(self, chunks: Iterable[dict[str, np.ndarray]], num_clips: int) -> Float32[np.ndarray, "clips queries"]:
        products = np.empty((num_clips, self.num_queries), np.float32)
        squares = np.empty(num_clips, np.float32)
        first, size = 0, len(self._block)
        for arrays in chunks:
            rows = _rows_of(arrays)
            for start in range(0, len(rows), size):
                part = rows[start : start + size]
                stop = first + len(part)
                self._multiply(part, products[first:stop], squares[first:stop])
                first = stop
        products /= np.maximum(np.sqrt(squares), np.finfo(np.float32).tiny)[:, None]
        return products

    def _is_for_numkong(self, video: StoredVideo) -> bool:
        return self.num_queries == 1 and video.dtype == np.float16 and video.num_tokens == 1 and _numkong() is not None

    def _cosines_by_numkong(
        self, chunks: Iterable[dict[str, np.ndarray]], num_clips: int
    ) -> Float32[np.ndarray, "clips queries"]:
        distances, first = np.empty((num_clips, self.num_queries)), 0
        for arrays in chunks:
            rows = _rows_of(arrays)
            _numkong().cdist(rows, self._half, "angular", out=distances[first : first + len(rows)])
            first += len(rows)
        return (1 - distances).astype(np.float32)

    def _multiply(
        self,
        rows: Shaped[np.ndarray, "clips dim"],
        products: Float32[np.ndarray, "clips queries"],
        squares: Float32[np.ndarray, " clips"],
    ) -> None:
        """Fill in the products of one block's rows with the queries and with themselves."""
        wide = rows
        if rows.dtype != np.float32:  # numpy converts float16 one by one, torch sixteen at a time
            block = self._block[: len(rows)]
            block.copy_(torch.from_numpy(rows))
            wide = block.numpy()
        if self.num_queries == 1:  # dot products of rows are faster than BLAS with a single column
            np.vecdot(wide, self._queries[0], out=products[:, 0])
        else:
            np.matmul(wide, self._queries.T, out=products)
        np.vecdot(wide, wide, out=squares)


def _rows_of(arrays: dict[str, np.ndarray]) -> Shaped[np.ndarray, "clips dim"]:
    """One vector per clip; where a clip has one token, without a copy."""
    tokens = arrays["tokens"]
    if tokens.shape[1] > 1:  # a scale per token has to be applied before the mean
        return torch.from_numpy(from_stored(arrays)).float().mean(dim=1).numpy()
    return tokens[:, 0]  # the scale of int8 has no effect on a cosine


def in_threads(
    work: Callable[[Scorer, Item], Found], scorer: Scorer, items: Iterable[Item], *, threads: int | None = None
) -> Iterator[tuple[Item, Found]]:
    """Pairs of item and `work(scorer, item)`, in the order of the items, by so many threads; None: one per core.

    Each thread has a scorer of its own and takes whole items; torch uses one thread meanwhile. An exception of the work
    is raised in its turn.
    """
    free: deque[Scorer] = deque()

    def one(item: Item) -> Found:
        own = free.pop() if free else scorer.copy()
        try:
            return work(own, item)
        finally:
            free.append(own)

    threads = threads or available_cores()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="longvid-search")
    ahead: deque[tuple[Item, Future[Found]]] = deque()
    try:
        for item in items:
            ahead.append((item, pool.submit(one, item)))
            if len(ahead) > VIDEOS_AHEAD * threads:
                first, future = ahead.popleft()
                yield first, future.result()
        while ahead:
            first, future = ahead.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)


@cache
def _numkong() -> Any:
    """The module, or None where it is not installed."""
    try:
        import numkong
    except ModuleNotFoundError:
        return None
    return numkong


@cache
def _accept_read_only_arrays() -> None:
    """Let torch say once that the array of a mapped file must not be written to: nothing here does."""
    array = np.zeros(1, np.float32)
    array.flags.writeable = False
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        torch.from_numpy(array)
