"""Long-range decoders: tokens of a whole window in, logits out."""

from dataclasses import fields
from typing import Any

from longvid.code_names import imported, is_code
from longvid.decoders.attention import Performer, PerformerConfig, Transformer, TransformerConfig
from longvid.decoders.attentive import AttentiveConfig, AttentiveProbe, FourLayerConfig
from longvid.decoders.base import Decoder, DecoderConfig, DecoderEntry
from longvid.decoders.convolutional import Convolutional, ConvolutionalConfig
from longvid.decoders.global_tokens import GlobalTokenConfig, GlobalTokenDecoder
from longvid.decoders.hybrid import Hybrid, HybridConfig
from longvid.decoders.lv_mae import LVMAE, LVMAEConfig
from longvid.decoders.own import Builder, build_own
from longvid.decoders.pooled import MaxPooledConfig, PooledConfig, PooledLinear
from longvid.decoders.recurrent import GRUConfig, Recurrent, RecurrentConfig
from longvid.decoders.segmentation import (
    MSTCN,
    ASFormer,
    ASFormerConfig,
    LTContext,
    LTContextConfig,
    MSTCNConfig,
    MSTCNPlusPlus,
    MSTCNPlusPlusConfig,
)
from longvid.decoders.selective import Selective, SelectiveConfig
from longvid.decoders.vis4mer import ViS4mer, ViS4merConfig
from longvid.errors import DecoderError

__all__ = [
    "DECODERS",
    "Decoder",
    "DecoderConfig",
    "DecoderEntry",
    "build_decoder",
    "find_decoder",
    "names_code",
    "require_decoder",
]

DECODERS: dict[str, DecoderEntry | Builder] = {
    "vis4mer": DecoderEntry(ViS4merConfig, ViS4mer, "multi-scale S4 (ViS4mer, ECCV 2022)"),
    "global-tokens": DecoderEntry(GlobalTokenConfig, GlobalTokenDecoder, "a few tokens read and write the sequence"),
    "hybrid": DecoderEntry(HybridConfig, Hybrid, "multi-scale S4 with global tokens between the scales"),
    "transformer": DecoderEntry(TransformerConfig, Transformer, "ViS4mer's stack with self-attention in place of S4"),
    "performer": DecoderEntry(PerformerConfig, Performer, "ViS4mer's stack with linear attention (FAVOR+)"),
    "attentive": DecoderEntry(AttentiveConfig, AttentiveProbe, "a learned query reads every token (V-JEPA's probe)"),
    "attentive-4": DecoderEntry(
        FourLayerConfig, AttentiveProbe, "the same after three self-attention blocks (V-JEPA 2's probe)"
    ),
    "selective-scan": DecoderEntry(SelectiveConfig, Selective, "ViS4mer's stack with Mamba-2's selective scan"),
    "lv-mae": DecoderEntry(LVMAEConfig, LVMAE, "attention over one token per clip, pretrained by masking (LV-MAE)"),
    "temporal-convolution": DecoderEntry(ConvolutionalConfig, Convolutional, "residual dilated convolutions"),
    "ms-tcn": DecoderEntry(MSTCNConfig, MSTCN, "dilated convolutions in four stages (CVPR 2019)"),
    "ms-tcn++": DecoderEntry(MSTCNPlusPlusConfig, MSTCNPlusPlus, "MS-TCN, its first stage near and far (TPAMI 2020)"),
    "asformer": DecoderEntry(ASFormerConfig, ASFormer, "convolutions and windowed attention in stages (BMVC 2021)"),
    "ltcontext": DecoderEntry(LTContextConfig, LTContext, "windowed and sparse long attention in stages (ICCV 2023)"),
    "lstm": DecoderEntry(RecurrentConfig, Recurrent, "the last state of an LSTM"),
    "gru": DecoderEntry(GRUConfig, Recurrent, "the last state of a GRU"),
    "mean-linear": DecoderEntry(PooledConfig, PooledLinear, "mean over time, one linear layer: blind to order"),
    "max-linear": DecoderEntry(MaxPooledConfig, PooledLinear, "maximum over time, one linear layer"),
}


def build_decoder(name: str, *, dim: int, outputs: int, max_length: int | None = None, **options: Any) -> Decoder:
    """The decoder called `name`, freshly initialised; `package.module:callable` is imported (`longvid.decoders.own`).

    dim: width of the tokens; outputs: number of logits; max_length: usual window length in tokens, for the decoders
    that use it. `options` are fields of the decoder's config. Raises DecoderError for an unknown name or option, and
    for an impossible value.
    """
    entry = find_decoder(name)
    if not isinstance(entry, DecoderEntry):
        return build_own(name, entry, dim=dim, outputs=outputs, max_length=max_length, options=options)
    known = {field.name for field in fields(entry.config)}
    unknown = sorted(set(options) - known)
    if unknown:
        raise DecoderError(f"decoder {name!r} has no option {', '.join(unknown)}; it has {', '.join(sorted(known))}")
    if max_length is not None and "max_length" in known:
        options["max_length"] = max_length
    try:
        config = entry.config(dim=dim, outputs=outputs, **options)
    except DecoderError as error:
        raise DecoderError(f"decoder {name!r}: {error}") from None
    return entry.module(config)


def find_decoder(name: str) -> DecoderEntry | Builder:
    """The row of `DECODERS`, or what `package.module:callable` names, imported: only for a name that the caller gave.

    Raises DecoderError for an unknown name.
    """
    if name in DECODERS:
        return DECODERS[name]
    if is_code(name):
        return imported(name, what="a decoder", error=DecoderError)
    raise DecoderError(
        f"no decoder {name!r}; choose one of {', '.join(sorted(DECODERS))}, or module:callable for one of your own"
    )


def names_code(name: str) -> bool:
    """Whether building that decoder would import a module (`package.module:callable`); nothing is imported here."""
    return name not in DECODERS and is_code(name)


def require_decoder(name: str) -> None:
    """Raises DecoderError for a name that is neither in `DECODERS` nor of the form `package.module:callable`."""
    if not names_code(name):
        find_decoder(name)
