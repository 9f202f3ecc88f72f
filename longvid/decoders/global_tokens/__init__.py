"""The global-token decoder and its streaming form."""

from longvid.decoders.global_tokens.config import PRESETS, GlobalTokenConfig
from longvid.decoders.global_tokens.model import GlobalTokenDecoder
from longvid.decoders.global_tokens.streaming import StreamingGlobalTokens

__all__ = ["PRESETS", "GlobalTokenConfig", "GlobalTokenDecoder", "StreamingGlobalTokens"]
