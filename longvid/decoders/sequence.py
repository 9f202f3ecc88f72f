"""Operations on padded sequences; padding never affects the results."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from longvid.errors import DecoderError
from longvid.layers.masks import beyond, zero_beyond


def mean_over_time(
    x: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None
) -> Float[Tensor, "batch dim"]:
    """Mean of each item's own tokens."""
    if lengths is None:
        return x.mean(dim=1)
    return zero_beyond(x, lengths).sum(dim=1) / lengths[:, None]


def max_over_time(
    x: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None
) -> Float[Tensor, "batch dim"]:
    """Maximum of each item's own tokens."""
    if lengths is not None:
        x = x.masked_fill(beyond(x, lengths), -torch.inf)
    return x.amax(dim=1)


def halve(x: Float[Tensor, "batch length dim"]) -> Float[Tensor, "batch half dim"]:
    """Mean of each pair of tokens; an odd last token is dropped."""
    pairs = x.shape[1] // 2
    paired: Tensor = x[:, : 2 * pairs].unflatten(1, (pairs, 2))
    return paired.mean(dim=2)


def repeat_to_length(
    x: Float[Tensor, "batch coarse dim"], factor: int, length: int, lengths: Int[Tensor, " batch"] | None
) -> Float[Tensor, "batch length dim"]:
    """Each coarse token repeated at the `factor` steps it was made from; left-over last steps take the last token.

    `lengths` counts coarse tokens.
    """
    index = torch.arange(length, device=x.device) // factor
    if lengths is None:
        return x[:, index.clamp(max=x.shape[1] - 1)]
    index = torch.minimum(index[None, :], lengths[:, None] - 1)
    return x.gather(1, index[..., None].expand(-1, -1, x.shape[-1]))


def pool_time(
    x: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None, factor: int
) -> tuple[Float[Tensor, "batch coarse dim"], Int[Tensor, " batch"] | None]:
    """Mean of every `factor` tokens (fewer at an item's end), and the coarse lengths."""
    spare = -x.shape[1] % factor
    if spare == 0 and lengths is None:
        return x.unflatten(1, (-1, factor)).mean(dim=2), None
    ends = torch.full((len(x),), x.shape[1], device=x.device) if lengths is None else lengths
    sums = functional.pad(zero_beyond(x, ends), (0, 0, 0, spare)).unflatten(1, (-1, factor)).sum(dim=2)
    begins = torch.arange(sums.shape[1], device=x.device) * factor
    counts = (ends[:, None] - begins).clamp(1, factor)
    coarse = (ends + factor - 1).div(factor, rounding_mode="floor")
    return sums / counts[..., None], None if lengths is None else coarse


def checked_tokens(
    tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None, *, dim: int, minimum: int = 1
) -> Float[Tensor, "batch length dim"]:
    """The tokens with zeros in place of padding, even if that is NaN.

    Raises DecoderError for tokens of another width, items shorter than `minimum`, or lengths beyond the tokens.
    """
    if tokens.shape[-1] != dim:
        raise DecoderError(f"tokens are {tokens.shape[-1]} wide, the decoder was built with dim={dim}")
    shortest = tokens.shape[1] if lengths is None else int(lengths.min())
    if shortest < minimum:
        raise DecoderError(f"an item has {shortest} tokens; this decoder needs at least {minimum}: use longer windows")
    if lengths is not None and int(lengths.max()) > tokens.shape[1]:
        raise DecoderError(f"a length of {int(lengths.max())} is given for items of {tokens.shape[1]} tokens")
    return zero_beyond(tokens, lengths)
