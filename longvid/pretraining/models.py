"""A decoder with a mask and a readout, to be pretrained.

    model = pretraining_model(decoder, objective, num_tokens=1)
    model.begin(statistics)                                  # before the first step: mask and targets
    losses = model(tokens, lengths, masked)                  # (batch, length, dim), tokens per item, (batch, clips)

Whole clips are masked: a learned vector takes the place of each of their tokens before the decoder's first layer, so
that every later step keeps its place and time, which state spaces count. It starts at the mean feature. Readouts are
one linear layer per scale, repeated to full length and summed; they and the mask are left behind by fine-tuning.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from longvid.decoders.base import Decoder, States
from longvid.decoders.lv_mae import LVMAE
from longvid.decoders.lv_mae.parts import autoencoded
from longvid.decoders.sequence import repeat_to_length
from longvid.decoders.standardise import Standardised
from longvid.decoders.time_code import TimeCode
from longvid.errors import DecoderError
from longvid.layers.masks import zero_beyond
from longvid.layers.tokens import Write
from longvid.pretraining.objective import (
    ClipStatistics,
    Objective,
    error,
    masked_guesses,
    masked_mean,
    past_guesses,
    store_mean,
    targets_of,
)

READER_WIDTH = 128
"""Width in which the tokens alone are asked for a time."""


class Losses(NamedTuple):
    """Losses of a batch."""

    total: Float[Tensor, ""]
    """What is minimised."""
    loss: Float[Tensor, ""]
    """The part to compare with the constants."""
    constants: Mapping[str, Float[Tensor, ""]]
    """Losses of the guesses that need no model, on the same clips."""
    predicted: int
    """How many clips the means are over."""


class PretrainingModel(nn.Module):
    """A decoder and its objective; `forward` gives the losses of a batch."""

    mean: Tensor
    deviation: Tensor
    unit_mean: Tensor

    def __init__(self, decoder: Decoder, objective: Objective, *, dim: int, num_tokens: int) -> None:
        super().__init__()
        self.decoder = decoder
        self.objective = objective
        self.num_tokens = num_tokens
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("deviation", torch.ones(dim))
        self.register_buffer("unit_mean", torch.zeros(dim))

    @property
    def statistics(self) -> ClipStatistics:
        """Statistics of the clips, for targets."""
        return ClipStatistics(self.mean, self.deviation, self.unit_mean)

    def begin(self, statistics: ClipStatistics) -> None:
        """Take over the statistics of the stores, before the first step."""
        for name, value in statistics._asdict().items():
            getattr(self, name).copy_(value)

    def clips(
        self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch clips dim"]:
        """One embedding per clip; zeros for padding."""
        by_clip: Tensor = zero_beyond(tokens.to(self.mean.dtype), lengths).unflatten(1, (-1, self.num_tokens))
        return by_clip.mean(dim=2)

    def targets(
        self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch clips dim"]:
        """What should be predicted of each clip."""
        return targets_of(self.clips(tokens, lengths), self.objective, self.statistics)

    def forward(
        self,
        tokens: Float[Tensor, "batch length dim"],
        lengths: Int[Tensor, " batch"],
        masked: Bool[Tensor, "batch clips"],
    ) -> Losses:
        """Losses of a batch of windows; `lengths` counts tokens, `masked` marks clips."""
        raise TypeError(f"{type(self).__name__} must define forward")

    def param_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """The decoder's own groups, and one for what is added to it: no decay for vectors."""
        inside = {id(parameter) for parameter in self.decoder.parameters()}
        added = [p for p in self.parameters() if id(p) not in inside]
        own = self.decoder.param_groups(learning_rate, weight_decay)
        decayed = [p for p in added if p.ndim > 1]
        plain = [p for p in added if p.ndim <= 1]
        groups = [
            {"params": decayed, "lr": learning_rate, "weight_decay": weight_decay},
            {"params": plain, "lr": learning_rate, "weight_decay": 0.0},
        ]
        return own + [group for group in groups if group["params"]]


class MaskedModel(PretrainingModel):
    """Losses over masked clips, however they are predicted."""

    def predict(
        self,
        tokens: Float[Tensor, "batch length dim"],
        lengths: Int[Tensor, " batch"],
        masked: Bool[Tensor, "batch clips"],
    ) -> tuple[Float[Tensor, "batch clips dim"], Float[Tensor, "batch clips dim"] | None]:
        """Predictions for every clip, and by the global tokens alone; those for visible clips mean nothing."""
        raise TypeError(f"{type(self).__name__} must define predict")

    def forward(
        self,
        tokens: Float[Tensor, "batch length dim"],
        lengths: Int[Tensor, " batch"],
        masked: Bool[Tensor, "batch clips"],
    ) -> Losses:
        """Losses of predictions and of the guesses, over the masked clips."""
        predicted, by_tokens = self.predict(tokens, lengths, masked)
        target, loss = self.targets(tokens, lengths), self.objective.loss
        with torch.no_grad():
            mean = store_mean(self.objective, self.statistics)
            guesses = masked_guesses(target, masked, lengths // self.num_tokens, mean)
            constants = {name: masked_mean(error(guess, target, loss), masked) for name, guess in guesses.items()}
        found = masked_mean(error(predicted.to(target.dtype), target, loss), masked)
        total = found
        if by_tokens is not None:
            second = masked_mean(error(by_tokens.to(target.dtype), target, loss), masked)
            total = found + self.objective.token_weight * second
        return Losses(total, found.detach(), constants, int(masked.sum()))


class MaskedStates(MaskedModel):
    """Any decoder that shows its states: masked clips stay as steps, with a learned vector in their place."""

    def __init__(self, decoder: Decoder, objective: Objective, *, dim: int, num_tokens: int) -> None:
        super().__init__(decoder, objective, dim=dim, num_tokens=num_tokens)
        self.mask_token = nn.Parameter(torch.zeros(dim))
        self.readouts = nn.ModuleList(nn.Linear(width, dim) for width in decoder.state_widths())
        token_dim = getattr(decoder.config, "token_dim", 0)
        has_tokens = token_dim > 0 and decoder.config.has("tokens") and objective.token_weight > 0
        self.reader = TokenReader(token_dim, dim) if has_tokens else None

    def begin(self, statistics: ClipStatistics) -> None:
        """The mask starts at the mean feature: a small vector would be the loudest input after a norm."""
        super().begin(statistics)
        with torch.no_grad():
            self.mask_token.copy_(statistics.mean)

    def predict(
        self,
        tokens: Float[Tensor, "batch length dim"],
        lengths: Int[Tensor, " batch"],
        masked: Bool[Tensor, "batch clips"],
    ) -> tuple[Float[Tensor, "batch clips dim"], Float[Tensor, "batch clips dim"] | None]:
        """Predictions from the states of all scales, and from the global tokens where there are any."""
        hidden = masked.repeat_interleave(self.num_tokens, dim=1)[..., None]
        given = torch.where(hidden, self.mask_token, tokens.to(self.mask_token.dtype))
        states = self.decoder.states(given, lengths)
        steps = read_out(states, self.readouts, tokens.shape[1])
        predicted = steps.unflatten(1, (-1, self.num_tokens)).mean(dim=2)
        if self.reader is None or states.tokens is None:
            return predicted, None
        return predicted, self.reader(states.tokens, masked.shape[1], lengths // self.num_tokens)


class MaskedAutoencoding(MaskedModel):
    """LV-MAE's own way: the encoder sees the visible clips alone, a second part reconstructs the others."""

    def __init__(self, decoder: Decoder, lv_mae: LVMAE, objective: Objective, *, dim: int, num_tokens: int) -> None:
        if num_tokens > 1:
            raise DecoderError(
                f"lv-mae takes one token per clip, and the store has {num_tokens}; extract with --pooling mean or class"
            )
        super().__init__(decoder, objective, dim=dim, num_tokens=1)
        self.reconstruction = lv_mae.reconstruction()

    def predict(
        self,
        tokens: Float[Tensor, "batch length dim"],
        lengths: Int[Tensor, " batch"],
        masked: Bool[Tensor, "batch clips"],
    ) -> tuple[Float[Tensor, "batch clips dim"], None]:
        """Predictions for every clip."""
        decoder, given = self.decoder, tokens
        if isinstance(decoder, Standardised):
            given = decoder.standardised(tokens)
        lv_mae = decoder.decoder if isinstance(decoder, Standardised) else decoder
        assert isinstance(lv_mae, LVMAE)
        return autoencoded(lv_mae.encoder, self.reconstruction, zero_beyond(given, lengths), masked, lengths), None


class NextClipModel(PretrainingModel):
    """Predicts later clips from what a causal decoder has seen up to the end of each clip."""

    def __init__(self, decoder: Decoder, objective: Objective, *, dim: int, num_tokens: int) -> None:
        super().__init__(decoder, objective, dim=dim, num_tokens=num_tokens)
        outputs = dim * len(objective.horizons)
        self.readouts = nn.ModuleList(nn.Linear(width, outputs) for width in decoder.past_widths())

    def forward(
        self,
        tokens: Float[Tensor, "batch length dim"],
        lengths: Int[Tensor, " batch"],
        masked: Bool[Tensor, "batch clips"],
    ) -> Losses:
        """Losses over all pairs of a clip and a later one; `masked` is not looked at."""
        predicted = self.predict(tokens, lengths)
        target, num_clips = self.targets(tokens, lengths), lengths // self.num_tokens
        mean = store_mean(self.objective, self.statistics)
        errors, counted = [], []
        guessed: dict[str, list[Tensor]] = {name: [] for name in self.objective.constants}
        with torch.no_grad():
            guesses = past_guesses(target, mean)
        for index, horizon in enumerate(self.objective.horizons):
            ahead = max(0, target.shape[1] - horizon)
            later, place = target[:, horizon:], torch.arange(ahead, device=target.device)
            counted.append(place + horizon < num_clips[:, None])
            errors.append(error(predicted[:, :ahead, index].to(target.dtype), later, self.objective.loss))
            for name, guess in guesses.items():
                guessed[name].append(error(guess[:, :ahead], later, self.objective.loss))
        valid = torch.cat(counted, dim=1)
        found = masked_mean(torch.cat(errors, dim=1), valid)
        constants = {name: masked_mean(torch.cat(values, dim=1), valid) for name, values in guessed.items()}
        return Losses(found, found.detach(), constants, int(valid.sum()))

    def predict(
        self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None
    ) -> Float[Tensor, "batch clips horizons dim"]:
        """What is expected after each clip, `horizons` clips later."""
        states = self.decoder.past_states(tokens.to(self.mean.dtype), lengths)
        ends = torch.arange(self.num_tokens, tokens.shape[1] + 1, self.num_tokens, device=tokens.device)
        parts = [
            finished(linear(scale.states), scale.stride, ends)
            for linear, scale in zip(self.readouts, states.scales, strict=True)
        ]
        predictions: Tensor = torch.stack(parts).sum(dim=0).unflatten(-1, (len(self.objective.horizons), -1))
        return predictions


class TokenReader(nn.Module):
    """Asks global tokens alone what was at each time: an attention of time codes over the tokens."""

    def __init__(self, token_dim: int, dim: int) -> None:
        super().__init__()
        self.time = TimeCode(READER_WIDTH, normalised=True)
        self.write = Write(READER_WIDTH, token_dim, heads=4, normalised=True)
        self.linear = nn.Linear(READER_WIDTH, dim)

    def forward(
        self, tokens: Float[Tensor, "batch num_tokens token_dim"], length: int, lengths: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch length dim"]:
        """A prediction for each time."""
        asked = self.time(length, lengths).expand(len(tokens), -1, -1)
        predictions: Tensor = self.linear(self.write(asked, tokens))
        return predictions


def read_out(states: States, readouts: nn.ModuleList, length: int) -> Float[Tensor, "batch length dim"]:
    """The sum of all scales through their linear layers, each repeated to the full length."""
    parts = [
        repeat_to_length(linear(scale.states), scale.stride, length, scale.lengths)
        for linear, scale in zip(readouts, states.scales, strict=True)
    ]
    return torch.stack(parts).sum(dim=0)


def finished(
    outputs: Float[Tensor, "batch steps dim"], stride: int, ends: Int[Tensor, " clips"]
) -> Float[Tensor, "batch clips dim"]:
    """For each clip, that ends before token `ends`, the last block of `stride` tokens that is whole by then.

    Reading the block that a clip lies in would show the clips to be predicted. Zeros before the first whole block.
    """
    before = torch.nn.functional.pad(outputs, (0, 0, 1, 0))
    return before[:, ends // stride]


def pretraining_model(decoder: Decoder, objective: Objective, *, dim: int, num_tokens: int) -> PretrainingModel:
    """The model that pretrains a decoder. Raises DecoderError for a decoder that cannot be, with the reason."""
    inner = decoder.decoder if isinstance(decoder, Standardised) else decoder
    if objective.name == "next-clip":
        return NextClipModel(decoder, objective, dim=dim, num_tokens=num_tokens)
    if isinstance(inner, LVMAE):
        return MaskedAutoencoding(decoder, inner, objective, dim=dim, num_tokens=num_tokens)
    return MaskedStates(decoder, objective, dim=dim, num_tokens=num_tokens)
