"""Small models of every Hugging Face family, saved with random weights, and the clips they are given."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 16,
}
MAP = {"image_size": 64, "patch_size": 4}
PROCESSOR = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.25, 0.3], "resample": 3, "size": 32}


def small_config(family: str) -> Any:
    """A configuration of the family with two layers of width 32 and frames of 32 (maps: 64) pixels."""
    import transformers as hf

    configs: dict[str, Callable[[], Any]] = {
        "vit": lambda: hf.ViTConfig(**SMALL),
        "deit": lambda: hf.DeiTConfig(**SMALL),
        "beit": lambda: hf.BeitConfig(**SMALL),
        "dinov2": lambda: hf.Dinov2Config(**SMALL),
        "dinov2_with_registers": lambda: hf.Dinov2WithRegistersConfig(**SMALL, num_register_tokens=3),
        "dinov3_vit": lambda: hf.DINOv3ViTConfig(**SMALL, num_register_tokens=2),
        "clip_vision_model": lambda: hf.CLIPVisionConfig(**SMALL),
        "siglip_vision_model": lambda: hf.SiglipVisionConfig(**SMALL),
        "siglip2_vision_model": lambda: hf.Siglip2VisionConfig(
            **{k: v for k, v in SMALL.items() if k != "image_size"}, num_patches=4
        ),
        "vit_mae": lambda: hf.ViTMAEConfig(**SMALL),
        "vit_msn": lambda: hf.ViTMSNConfig(**SMALL),
        "ijepa": lambda: hf.IJepaConfig(**SMALL),
        "convnext": lambda: hf.ConvNextConfig(hidden_sizes=[8, 8, 16, 32], depths=[1, 1, 1, 1], image_size=64),
        "swin": lambda: hf.SwinConfig(embed_dim=16, depths=[1, 1], num_heads=[2, 2], window_size=2, **MAP),
        "videomae": lambda: hf.VideoMAEConfig(**SMALL, num_frames=4),
        "timesformer": lambda: hf.TimesformerConfig(**SMALL, num_frames=4),
        "vivit": lambda: hf.VivitConfig(**SMALL, num_frames=4, tubelet_size=[2, 16, 16]),
        "vjepa2": lambda: hf.VJEPA2Config(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            crop_size=32,
            patch_size=16,
            frames_per_clip=4,
            pred_hidden_size=24,
            pred_num_attention_heads=2,
            pred_num_hidden_layers=1,
        ),
    }
    return configs[family]()


@pytest.fixture
def save_model(tmp_path: Path) -> Callable[..., tuple[Path, Any]]:
    """Saves a model (a family's name: a small one) as a folder with processor settings; gives folder and model."""
    import transformers as hf

    hf.logging.set_verbosity_error()
    hf.logging.disable_progress_bar()

    def save(model: Any, processor: dict[str, Any] | None = None, **save_options: Any) -> tuple[Path, Any]:
        if isinstance(model, str):
            torch.manual_seed(3)
            size = 64 if model in ("convnext", "swin") else 32
            processor = processor or {**PROCESSOR, "size": size}
            model = hf.AutoModel.from_config(small_config(model))
        folder = tmp_path / f"small-{model.config.model_type}"
        model.eval().save_pretrained(folder, **save_options)
        (folder / "preprocessor_config.json").write_text(json.dumps(processor or PROCESSOR))
        return folder, model

    return save


@pytest.fixture
def make_clips() -> Callable[..., torch.Tensor]:
    """Seeded noise as clips (batch, 3, time, size, size)."""

    def make(time: int, size: int = 32, batch: int = 2) -> torch.Tensor:
        return torch.randn(batch, 3, time, size, size, generator=torch.Generator().manual_seed(7))

    return make
