"""The attentive probe: learned queries read every token once, after any self-attention blocks."""

from longvid.decoders.attentive.config import AttentiveConfig, FourLayerConfig
from longvid.decoders.attentive.model import AttentiveProbe

__all__ = ["AttentiveConfig", "AttentiveProbe", "FourLayerConfig"]
