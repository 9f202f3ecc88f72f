"""Small models of two towers, images or video and text, with random weights and a tokenizer of a few words."""

from pathlib import Path
from typing import Any

import torch

TEXT = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "vocab_size": 50,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
VISION = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 16,
}


def small_model(family):
    """A whole model of two towers, two layers wide 32, with seeded weights."""
    import transformers as hf

    wide = TEXT | {"hidden_size": 32}
    video = {k: v for k, v in VISION.items() if k not in ("num_hidden_layers", "patch_size")}
    prism = {"num_frames": 4, "tubelet_size": [1, 16, 16], "num_spatial_layers": 1, "num_temporal_layers": 1}
    prism |= {"num_auxiliary_layers": 1}
    mit = {"mit_hidden_size": 24, "mit_intermediate_size": 32, "mit_num_hidden_layers": 1, "mit_num_attention_heads": 2}
    no_mlp = {k: v for k, v in VISION.items() if k != "intermediate_size"}
    naflex = {k: v for k, v in VISION.items() if k != "image_size"} | {"num_patches": 4}
    makers = {
        "clip": lambda: hf.CLIPModel(hf.CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=8)),
        "metaclip_2": lambda: hf.MetaClip2Model(
            hf.MetaClip2Config(text_config=TEXT, vision_config=VISION, projection_dim=8)
        ),
        "siglip": lambda: hf.SiglipModel(hf.SiglipConfig(text_config=wide, vision_config=VISION)),
        "siglip2": lambda: hf.Siglip2Model(hf.Siglip2Config(text_config=wide, vision_config=naflex)),
        "tipsv2": lambda: hf.Tipsv2Model(hf.Tipsv2Config(text_config=wide, vision_config=no_mlp)),
        "xclip": lambda: hf.XCLIPModel(
            hf.XCLIPConfig(
                text_config=TEXT | {"hidden_size": 24},
                vision_config=VISION | mit | {"num_frames": 4},
                projection_dim=24,
                prompt_num_attention_heads=2,
            )
        ),
        "videoprism": lambda: hf.VideoPrismClipModel(
            hf.VideoPrismConfig(text_config=wide, vision_config=video | prism)
        ),
    }
    torch.manual_seed(5)
    model = makers[family]().eval()
    with torch.no_grad():
        for parameter in model.parameters():  # some families start with zeros, which would hide mistakes
            parameter.add_(0.05 * torch.randn(parameter.shape))
    return model


WORDS = [
    "<s>",
    "</s>",
    "<pad>",
    "<unk>",
    *["a", "man", "dog", "pours", "milk", "red", "blue", "square", "opens", "door"],
]


def save_tokenizer(folder: Path) -> Any:
    """Write a tokenizer of these words into a model's folder."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )
    tokenizer.save_pretrained(folder)
    return tokenizer
