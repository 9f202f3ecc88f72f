"""Mobile-Former for images (arXiv 2108.05895) and clips (2208.12257)."""

from longvid.encoders.mobile_former.build import PUBLISHED, VARIANTS, build_mobile_former
from longvid.encoders.mobile_former.config import IMAGE_CONFIGS, BlockConfig, MobileFormerConfig, for_video
from longvid.encoders.mobile_former.inflation import inflate
from longvid.encoders.mobile_former.model import MobileFormer

__all__ = [
    "IMAGE_CONFIGS",
    "PUBLISHED",
    "VARIANTS",
    "BlockConfig",
    "MobileFormer",
    "MobileFormerConfig",
    "build_mobile_former",
    "for_video",
    "inflate",
]
