"""DualFormer: local windows and a global pyramid (arXiv 2112.04674)."""

from longvid.encoders.dualformer.build import INPUT_RECIPES, PUBLISHED, build_dualformer
from longvid.encoders.dualformer.config import VARIANTS, DualFormerConfig, StageConfig
from longvid.encoders.dualformer.model import DualFormer
from longvid.encoders.dualformer.official import config_from_official, load_image_weights
from longvid.encoders.dualformer.token_label import token_label_loss, token_targets
from longvid.encoders.dualformer.views import mean_features, mean_probabilities, view_frames

__all__ = [
    "INPUT_RECIPES",
    "PUBLISHED",
    "VARIANTS",
    "DualFormer",
    "DualFormerConfig",
    "StageConfig",
    "build_dualformer",
    "config_from_official",
    "load_image_weights",
    "mean_features",
    "mean_probabilities",
    "token_label_loss",
    "token_targets",
    "view_frames",
]
