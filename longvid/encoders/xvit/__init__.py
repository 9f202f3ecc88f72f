"""X-ViT: space-time mixing attention (arXiv 2106.05968)."""

from longvid.encoders.xvit.model import FrameTokens, XViT, XViTConfig
from longvid.encoders.xvit.stream import stream_tokens

__all__ = ["FrameTokens", "XViT", "XViTConfig", "stream_tokens"]
