"""Decoders of action segmentation: stages that refine each other."""

from longvid.decoders.segmentation.asformer import ASFormer, ASFormerConfig
from longvid.decoders.segmentation.ltcontext import LTContext, LTContextConfig
from longvid.decoders.segmentation.ms_tcn import MSTCN, MSTCNConfig, MSTCNPlusPlus, MSTCNPlusPlusConfig

__all__ = [
    "MSTCN",
    "ASFormer",
    "ASFormerConfig",
    "LTContext",
    "LTContextConfig",
    "MSTCNConfig",
    "MSTCNPlusPlus",
    "MSTCNPlusPlusConfig",
]
