"""X-ViT: space-time mixing attention (arXiv 2106.05968)."""

from longvid.encoders.xvit.model import FrameTokens, XViT, XViTConfig

__all__ = ["FrameTokens", "XViT", "XViTConfig"]
