"""A decoder of the user's own: what a class or function of theirs builds.

    class LastState(nn.Module):
        def __init__(self, dim: int, outputs: int, width: int = 64): ...
        def forward(self, tokens, lengths): ...          # (batch, length, dim), (batch,) -> logits (batch, outputs)

    DECODERS["last-state"] = LastState                   # or decoder.name=my_module:LastState

The builder is called with `dim` and `outputs`, with `max_length` (tokens of a window) and `head` if it declares them,
and with the options that it declares. Dense tasks need a `head`: if it is "steps", the logits are (batch, length,
outputs).

A module whose `forward` takes no lengths is given each item by itself, without padding. A `Decoder` is used as it is:
it must see to it that padding does not affect its results.
"""

import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

import torch
from jaxtyping import Float, Int
from pydantic import PydanticSchemaGenerationError
from torch import Tensor, nn

from longvid.decoders.base import Decoder, DecoderConfig
from longvid.decoders.sequence import checked_tokens
from longvid.errors import DecoderError
from longvid.validation import as_type

Builder = Callable[..., nn.Module]

FROM_THE_TASK = ("dim", "outputs", "head", "max_length")
"""Arguments that the store, the task and the windows decide; all others are options."""


def build_own(
    name: str, builder: Builder, *, dim: int, outputs: int, max_length: int | None, options: dict[str, Any]
) -> Decoder:
    """The decoder that `builder` makes. Raises DecoderError if it cannot be called so, or makes something else."""
    takes, takes_any = _arguments(builder)
    declared = takes | (options.keys() if takes_any else set())
    lacking = [argument for argument in ("dim", "outputs") if argument not in takes and not takes_any]
    if lacking:
        raise DecoderError(
            f"decoder {name!r}: {' and '.join(lacking)} must be among its arguments: it is called as "
            "builder(dim=width of the tokens, outputs=number of scores, ...)"
        )
    if options.get("head") == "video" and "head" not in declared:
        options = {option: value for option, value in options.items() if option != "head"}
    if "head" in options and "head" not in declared:
        raise DecoderError(
            f"decoder {name!r}: a dense task needs scores for every step; give it an argument `head`, and logits "
            "(batch, length, outputs) where that is 'steps'"
        )
    unknown = sorted(set(options) - declared)
    if unknown:
        known = ", ".join(sorted(takes - set(FROM_THE_TASK))) or "none"
        raise DecoderError(f"decoder {name!r} has no option {', '.join(unknown)}; its options: {known}")
    given: dict[str, Any] = {"dim": dim, "outputs": outputs}
    if max_length is not None and "max_length" in takes:
        given["max_length"] = max_length
    head = options.get("head", "video")
    made = builder(**given, **{option: _of_its_type(name, builder, option, value) for option, value in options.items()})
    if not isinstance(made, nn.Module):
        raise DecoderError(f"decoder {name!r}: its builder returned {type(made).__name__}, not a torch.nn.Module")
    config = DecoderConfig(dim=dim, outputs=outputs, head=head)
    if not isinstance(made, Decoder):
        return OwnDecoder(made, config, name=name)
    if not hasattr(made, "config"):
        made.config = config
    return made


class OwnDecoder(Decoder):
    """A module of the user's own as a decoder: padding is zero, and what comes out has the promised shape."""

    config: DecoderConfig

    def __init__(self, module: nn.Module, config: DecoderConfig, *, name: str) -> None:
        super().__init__()
        self.config = config
        self.module = module
        self._name = name
        self._takes_lengths = _num_inputs(module) > 1

    def forward(
        self, tokens: Float[Tensor, "batch length dim"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch *steps outputs"]:
        """Logits of each item."""
        tokens = checked_tokens(tokens, lengths, dim=self.config.dim)
        if self._takes_lengths:
            whole = torch.full((len(tokens),), tokens.shape[1], device=tokens.device) if lengths is None else lengths
            logits = self.module(tokens, whole)
        elif lengths is None:
            logits = self.module(tokens)
        else:
            logits = self._one_by_one(tokens, lengths)
        return self._checked(logits, tokens)

    def _one_by_one(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        items = [self.module(own[None, :length]) for own, length in zip(tokens, lengths.tolist(), strict=True)]
        if self.config.head == "video":
            return torch.cat(items)
        padded = torch.nn.utils.rnn.pad_sequence([item[0] for item in items], batch_first=True)
        return nn.functional.pad(padded, (0, 0, 0, tokens.shape[1] - padded.shape[1]))

    def _checked(self, logits: Any, tokens: Tensor) -> Tensor:
        steps = (tokens.shape[1],) if self.config.head == "steps" else ()
        wanted = (len(tokens), *steps, self.config.outputs)
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        if found != wanted or not isinstance(logits, Tensor):
            named = "(batch, length, outputs)" if steps else "(batch, outputs)"
            raise DecoderError(f"decoder {self._name!r}: its output is {found}, not logits {named} = {wanted}")
        return logits


def summary_of(builder: Builder) -> str:
    """The first line of its docstring, for lists of decoders."""
    own = builder.__doc__ if isinstance(builder, type) else inspect.getdoc(builder)  # not an inherited docstring
    return (own or "").strip().partition("\n")[0] or "a decoder of your own"


def _arguments(builder: Builder) -> tuple[set[str], bool]:
    """Names of the arguments that a builder declares, and whether it takes any others."""
    parameters = inspect.signature(builder).parameters.values()
    named = {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    return named, any(p.kind is p.VAR_KEYWORD for p in parameters)


def _num_inputs(module: nn.Module) -> int:
    """How many inputs its `forward` takes by position, at most 2."""
    parameters = inspect.signature(module.forward).parameters.values()
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return 2
    return min(2, sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters))


def _of_its_type(name: str, builder: Builder, option: str, value: Any) -> Any:
    """The value converted to the type that the builder's annotation names, so that `width=abc` is refused early."""
    function = builder.__init__ if isinstance(builder, type) else builder  # type: ignore[misc]
    try:
        hint = get_type_hints(function).get(option, Any) if inspect.isfunction(function) else Any
        return as_type(hint, value)
    except (NameError, PydanticSchemaGenerationError):  # a user's builder may have any annotation
        return value
    except ValueError as fault:
        raise DecoderError(f"decoder {name!r}: option {option}={value!r}: {fault}") from None
