"""Exact cross attention from a few tokens to a sequence, in chunks.

The softmax of one token over all positions needs three numbers from every chunk: the largest score m, the sum s of
exp(score - m), and the sum a of exp(score - m) times the row. Two chunks merge by rescaling both to the larger m, in
any order, so a chunk can be forgotten once it has been read. The result is a / s.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

NOTHING = -1e30
"""Largest score of a chunk without positions; finite, so that two empty chunks merge without NaN."""


class ReadState(NamedTuple):
    """What has been read so far."""

    largest: Float[Tensor, "*batch heads num_tokens"]
    total: Float[Tensor, "*batch heads num_tokens"]
    weighted: Float[Tensor, "*batch heads num_tokens head_dim"]

    def merge(self, other: "ReadState") -> "ReadState":
        """The state after reading both."""
        largest = torch.maximum(self.largest, other.largest)
        mine, theirs = (self.largest - largest).exp(), (other.largest - largest).exp()
        return ReadState(
            largest,
            self.total * mine + other.total * theirs,
            self.weighted * mine[..., None] + other.weighted * theirs[..., None],
        )

    def seen(self) -> Float[Tensor, "*batch num_tokens dim"]:
        """Attention output of each token, heads joined; zero where nothing has been read."""
        return (self.weighted / self.total.clamp(min=1e-30)[..., None]).transpose(-3, -2).flatten(-2)


def read_chunk(
    query: Float[Tensor, "*batch num_tokens dim"],
    rows: Float[Tensor, "*batch length dim"],
    valid: Bool[Tensor, "*batch length"] | None,
    heads: int,
) -> ReadState:
    """State of one chunk; rows are both keys and values, heads are slices of their channels.

    Rows that are not valid have no effect, even if they hold NaN.
    """
    if valid is not None:
        rows = rows.masked_fill(~valid[..., None], 0.0)  # a weight of zero times NaN is NaN
    q = query.unflatten(-1, (heads, -1)).transpose(-3, -2)
    k = rows.unflatten(-1, (heads, -1)).transpose(-3, -2)
    scores = q @ k.mT
    if valid is None:
        largest = scores.amax(-1)
        weights = (scores - largest[..., None]).exp()
    else:
        mask = valid[..., None, None, :]
        largest = scores.masked_fill(~mask, NOTHING).amax(-1)
        weights = (scores - largest[..., None]).masked_fill(~mask, NOTHING).exp()
    return ReadState(largest, weights.sum(-1), weights @ k)


def read_in_chunks(
    query: Float[Tensor, "*batch num_tokens dim"],
    rows: Float[Tensor, "*batch length dim"],
    valid: Bool[Tensor, "*batch length"] | None,
    heads: int,
    chunk: int,
) -> ReadState:
    """State of all rows, `chunk` of them at a time."""
    state: ReadState | None = None
    for begin in range(0, rows.shape[-2], chunk):
        part = None if valid is None else valid[..., begin : begin + chunk]
        now = read_chunk(query, rows[..., begin : begin + chunk, :], part, heads)
        state = now if state is None else state.merge(now)
    assert state is not None
    return state


def prefixes(states: ReadState, before: ReadState | None) -> ReadState:
    """State after each segment of axis 1, merged with all earlier ones (and with `before`)."""
    merged = []
    running = before
    for largest, total, weighted in zip(*(part.unbind(1) for part in states), strict=True):
        now = ReadState(largest, total, weighted)
        running = now if running is None else running.merge(now)
        merged.append(running)
    return ReadState(*(torch.stack(parts, dim=1) for parts in zip(*merged, strict=True)))
