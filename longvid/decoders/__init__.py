"""Long-range decoders: tokens of a whole window in, logits out."""

from dataclasses import fields
from typing import Any, get_type_hints

from longvid.decoders.attention import Performer, PerformerConfig, Transformer, TransformerConfig
from longvid.decoders.base import Decoder, DecoderConfig, DecoderEntry
from longvid.decoders.convolutional import Convolutional, ConvolutionalConfig
from longvid.decoders.global_tokens import GlobalTokenConfig, GlobalTokenDecoder
from longvid.decoders.hybrid import Hybrid, HybridConfig
from longvid.decoders.pooled import MaxPooledConfig, PooledConfig, PooledLinear
from longvid.decoders.recurrent import GRUConfig, Recurrent, RecurrentConfig
from longvid.decoders.selective import Selective, SelectiveConfig
from longvid.decoders.vis4mer import ViS4mer, ViS4merConfig
from longvid.errors import DecoderError
from longvid.options import as_type

__all__ = ["DECODERS", "Decoder", "DecoderConfig", "DecoderEntry", "build_decoder", "require_decoder"]

DECODERS: dict[str, DecoderEntry] = {
    "vis4mer": DecoderEntry(ViS4merConfig, ViS4mer, "multi-scale S4 (ViS4mer, ECCV 2022)"),
    "global-tokens": DecoderEntry(GlobalTokenConfig, GlobalTokenDecoder, "a few tokens read and write the sequence"),
    "hybrid": DecoderEntry(HybridConfig, Hybrid, "multi-scale S4 with global tokens between the scales"),
    "transformer": DecoderEntry(TransformerConfig, Transformer, "ViS4mer's stack with self-attention in place of S4"),
    "performer": DecoderEntry(PerformerConfig, Performer, "ViS4mer's stack with linear attention (FAVOR+)"),
    "selective-scan": DecoderEntry(SelectiveConfig, Selective, "ViS4mer's stack with Mamba-2's selective scan"),
    "temporal-convolution": DecoderEntry(ConvolutionalConfig, Convolutional, "residual dilated convolutions"),
    "lstm": DecoderEntry(RecurrentConfig, Recurrent, "the last state of an LSTM"),
    "gru": DecoderEntry(GRUConfig, Recurrent, "the last state of a GRU"),
    "mean-linear": DecoderEntry(PooledConfig, PooledLinear, "mean over time, one linear layer: blind to order"),
    "max-linear": DecoderEntry(MaxPooledConfig, PooledLinear, "maximum over time, one linear layer"),
}


def build_decoder(name: str, *, dim: int, outputs: int, max_length: int | None = None, **options: Any) -> Decoder:
    """The decoder called `name`, freshly initialised.

    dim: width of the tokens; outputs: number of logits; max_length: usual window length in tokens, for the decoders
    that care. `options` are fields of the decoder's config. Raises DecoderError for an unknown name or option and for a
    value of a wrong type.
    """
    require_decoder(name)
    entry = DECODERS[name]
    known = {field.name for field in fields(entry.config)}
    unknown = sorted(set(options) - known)
    if unknown:
        raise DecoderError(f"decoder {name!r} has no option {', '.join(unknown)}; it has {', '.join(sorted(known))}")
    options = {option: _of_its_type(name, entry.config, option, value) for option, value in options.items()}
    if max_length is not None and "max_length" in known:
        options["max_length"] = max_length
    return entry.module(entry.config(dim=dim, outputs=outputs, **options))


def require_decoder(name: str) -> None:
    """Raises DecoderError for a name that is no decoder's."""
    if name not in DECODERS:
        raise DecoderError(f"no decoder {name!r}; choose one of {', '.join(sorted(DECODERS))}")


def _of_its_type(name: str, config: type[DecoderConfig], option: str, value: Any) -> Any:
    """The value as its field's type, so that a recipe's `width: abc` is refused where it is read."""
    try:
        return as_type(get_type_hints(config)[option], value)
    except ValueError as fault:
        raise DecoderError(f"decoder {name!r}: option {option}={value!r}: {fault}") from None
