"""Decoders of the same settings on the same tokens, trained side by side."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from longvid.decoders.attentive.together import logits_together, share_tokens
from longvid.decoders.base import Decoder
from longvid.decoders.standardise import Standardised


class SideBySide(Decoder):
    """`members` in turn, or at once where they share the cost of the tokens; logits have a leading axis for them.

    Standardised members must have the same mean and scale.
    """

    def __init__(self, members: Sequence[Decoder]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.config = members[0].config

    @property
    def min_tokens(self) -> int:
        """The members' own."""
        first: Any = self.members[0]
        return int(first.min_tokens)

    def forward(
        self,
        tokens: Float[Tensor, "batch length dim"],
        lengths: Int[Tensor, " batch"] | None = None,
        *,
        before: Callable[[], object] | None = None,
    ) -> Float[Tensor, "members batch *steps outputs"]:
        """Scores of each member; `before` is called ahead of each, as one that seeds dropout is."""
        members: list[Any] = list(self.members)
        if all(isinstance(member, Standardised) for member in members):
            inner = [member.decoder for member in members]
            if share_tokens(inner):
                return logits_together(inner, members[0].standardised(tokens), lengths)
        elif share_tokens(members):
            return logits_together(members, tokens, lengths)
        found = []
        for member in members:
            if before is not None:
                before()
            found.append(member(tokens, lengths))
        return torch.stack(found)

    def stages_of_each(
        self,
        tokens: Float[Tensor, "batch length dim"],
        lengths: Int[Tensor, " batch"] | None = None,
        *,
        before: Callable[[], object] | None = None,
    ) -> list[Float[Tensor, "stages batch *steps outputs"]]:
        """Every stage of each member (`Decoder.stages`); `before` as for `forward`."""
        members: list[Any] = list(self.members)
        shared = members if not isinstance(members[0], Standardised) else [member.decoder for member in members]
        if share_tokens(shared):
            return [logits[None] for logits in self(tokens, lengths)]
        found = []
        for member in members:
            if before is not None:
                before()
            found.append(member.stages(tokens, lengths))
        return found

    def param_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """The groups of all members."""
        members: list[Any] = list(self.members)
        return [group for member in members for group in member.param_groups(learning_rate, weight_decay)]
