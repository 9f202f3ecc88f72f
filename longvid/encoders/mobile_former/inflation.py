"""A video net initialised from an image net.

On a still video it gives the image net's logits. Every weight is copied. The taps along time, which the image net does
not have, become the unit impulse, which is the same as putting each 2D kernel into the centre of a cubic one.
Spreading the kernel over the taps instead (each one third of it) does not give the same logits: the zeros beyond the
clip's ends dim its first and last frames at every layer.
"""

import torch

from longvid.encoders.mobile_former.config import MobileFormerConfig
from longvid.encoders.mobile_former.model import MobileFormer
from longvid.weights.fit import fit_state


def inflate(image: MobileFormer, config: MobileFormerConfig, *, source: str = "the image net") -> MobileFormer:
    """The video net of `config` with the image net's weights; raises `WeightsError` if their widths differ.

    The class layer is copied if both have equally many classes, else initialised anew.
    """
    video = MobileFormer(config)
    with torch.no_grad():
        for kernel in video.temporal_taps():
            kernel.zero_()[:, :, config.time_taps // 2] = 1
    fresh = [".taps."] if image.config.num_classes == config.num_classes else [".taps.", "classifier."]
    copied = {name: tensor for name, tensor in image.state_dict().items() if not _is_any(name, fresh)}
    kept = [name for name in video.state_dict() if _is_any(name, fresh)]
    fit_state(video, copied, source=source, optional=kept)
    return video


def _is_any(name: str, parts: list[str]) -> bool:
    return any(part in name for part in parts)
