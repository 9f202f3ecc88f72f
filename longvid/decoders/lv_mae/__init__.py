"""LV-MAE: an encoder over one embedding per clip, pretrained by masking."""

from longvid.decoders.lv_mae.model import LVMAE, LVMAEConfig
from longvid.decoders.lv_mae.parts import ClipEncoder, MaskedAutoencoder

__all__ = ["LVMAE", "ClipEncoder", "LVMAEConfig", "MaskedAutoencoder"]
