"""Preprocessing read from a processor's JSON does what the processor itself does to a frame."""

import json
from importlib import import_module

import numpy as np
import pytest
import torch
from PIL import Image

from longvid.clips.preprocessing import Preprocessing
from longvid.encoders.huggingface.processor import preprocessing_of, read_processor, with_size
from longvid.errors import EncoderError

FILTERS = {"nearest": Image.Resampling.NEAREST, "bilinear": Image.Resampling.BILINEAR}
FILTERS |= {"bicubic": Image.Resampling.BICUBIC, "area": Image.Resampling.BOX}
HALVES = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}


def frame_of(height, width):
    """A smooth picture with a mark off the centre: misplaced crops and stretched sides show."""
    rows, columns = np.mgrid[0:height, 0:width]
    frame = np.stack([rows * 255 / height, columns * 255 / width, (rows + columns) % 64], axis=-1)
    frame[height // 5 : height // 4, width // 3 : width // 2] = 255
    return frame.astype(np.uint8)


def prepared(preprocessing, frame):
    """One frame as the encoder gets it, resized by PIL as the processors do."""
    height, width = preprocessing.resized(*frame.shape[:2])
    resized = np.asarray(Image.fromarray(frame).resize((width, height), FILTERS[preprocessing.interpolation]))
    rows, columns = preprocessing.crop(height, width)
    return preprocessing.normalise(torch.from_numpy(resized[rows, columns].copy())[None, None])[0, :, 0]


SQUARE = {"height": 32, "width": 32}
PIL = "image_processing_pil_"
PROCESSORS = {
    "vit": (f"vit.{PIL}vit", "ViTImageProcessorPil", {"size": {"height": 24, "width": 32}}),
    "clip": (f"clip.{PIL}clip", "CLIPImageProcessorPil", {"size": {"shortest_edge": 40}, "crop_size": 32}),
    "deit": (f"deit.{PIL}deit", "DeiTImageProcessorPil", {"size": {"height": 40, "width": 40}, "crop_size": 32}),
    "dinov2": (f"bit.{PIL}bit", "BitImageProcessorPil", {"size": {"shortest_edge": 37}, "crop_size": 32}),
    "convnext": (f"convnext.{PIL}convnext", "ConvNextImageProcessorPil", {"size": {"shortest_edge": 32}}),
    "convnext-384": (f"convnext.{PIL}convnext", "ConvNextImageProcessorPil", {"size": {"shortest_edge": 384}}),
    "siglip": (f"siglip.{PIL}siglip", "SiglipImageProcessorPil", {"size": SQUARE}),
    "videomae": (
        f"videomae.{PIL}videomae",
        "VideoMAEImageProcessorPil",
        {"size": {"shortest_edge": 32}, "crop_size": SQUARE},
    ),
    "vivit": (
        "vivit.image_processing_vivit",
        "VivitImageProcessor",
        {"size": {"shortest_edge": 40}, "crop_size": SQUARE},
    ),
    "unscaled": (f"vit.{PIL}vit", "ViTImageProcessorPil", {"size": SQUARE, "do_rescale": False}),
    "unnormalised": (f"vit.{PIL}vit", "ViTImageProcessorPil", {"size": SQUARE, "do_normalize": False}),
}


@pytest.mark.parametrize("shape", [(48, 80), (60, 44), (64, 64)])
@pytest.mark.parametrize("name", PROCESSORS)
def test_a_frame_comes_out_as_from_the_models_own_processor(name, shape, tmp_path):
    module, kind, options = PROCESSORS[name]
    processor = getattr(import_module(f"transformers.models.{module}"), kind)(**options)
    processor.save_pretrained(tmp_path)
    frame = frame_of(*shape)
    expected = torch.as_tensor(np.asarray(processor([frame], return_tensors="np")["pixel_values"]))[0]
    settings = read_processor(tmp_path, video=False)
    preprocessing = preprocessing_of(settings, default=(32, 32), source=name)
    got = prepared(preprocessing, frame)
    expected = expected.reshape(got.shape)
    steps = (expected - got).abs() * torch.tensor(preprocessing.std)[:, None, None] * 255
    # a long side rounded instead of cut off, or a crop that starts half a pixel on, moves edges by at most one pixel
    assert steps.median() < 1.5
    assert (steps > 8).float().mean() < 0.15


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"size": 224}, Preprocessing(224, 224, "squash")),
        ({"size": {"height": 96, "width": 160}}, Preprocessing(96, 160, "squash")),
        ({"size": {"shortest_edge": 256}, "crop_size": 224}, Preprocessing(224, 224, short_side=256)),
        (
            {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 208}},
            Preprocessing(224, 208, short_side=256),
        ),
        ({"size": 224, "crop_size": 224, "do_center_crop": True}, Preprocessing(224, 224, short_side=224)),
        ({"size": 224, "crop_size": 192, "do_center_crop": False}, Preprocessing(224, 224, "squash")),
        (
            {"size": 256, "crop_size": 224, "feature_extractor_type": "DeiTFeatureExtractor"},
            Preprocessing(224, 224, "squash", squash_side=256, interpolation="bicubic"),
        ),
        (
            {"size": 224, "crop_size": 224, "feature_extractor_type": "CLIPFeatureExtractor"},
            Preprocessing(224, 224, short_side=224, interpolation="bicubic"),
        ),
        ({"size": {"shortest_edge": 288}}, Preprocessing(288, 288, short_side=288)),
        ({"do_resize": False, "size": 999}, Preprocessing(32, 48, "squash")),
        ({"max_num_patches": 256, "patch_size": 16}, Preprocessing(32, 48, "squash")),
    ],
)
def test_every_dialect_of_size_is_understood(settings, expected):
    assert preprocessing_of({**HALVES, **settings}, default=(32, 48), source="x") == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": {"longest_edge": 512}}, "longest_edge"),
        ({"size": 32, "resample": 1}, "resample=1 is a filter"),
        ({"size": 32, "image_mean": None, "do_normalize": True}, "image_mean and image_std"),
        ({"size": {"height": 40, "width": 48}, "crop_size": 32}, "squashed to"),
    ],
)
def test_a_setting_without_an_equal_here_is_quoted(settings, message):
    settings = {key: value for key, value in {**HALVES, **settings}.items() if value is not None}
    with pytest.raises(EncoderError, match=message):
        preprocessing_of(settings, default=(32, 32), source="x")


def test_a_filter_can_be_chosen_over_the_processors():
    settings = {**HALVES, "size": 32, "resample": 1}
    assert preprocessing_of(settings, default=(32, 32), source="x", interpolation="area").interpolation == "area"


def test_vivits_offset_is_folded_into_mean_and_std():
    settings = {**HALVES, "size": 32, "rescale_factor": 1 / 127.5, "offset": True}
    preprocessing = preprocessing_of(settings, default=(32, 32), source="x")
    pixel = torch.full((1, 1, 1, 1, 3), 51, dtype=torch.uint8)
    expected = (51 / 127.5 - 1 - 0.5) / 0.5
    assert preprocessing.normalise(pixel)[0, 0].item() == pytest.approx(expected)


def test_a_video_model_prefers_its_video_processors_settings(tmp_path):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"size": 1}))
    (tmp_path / "video_preprocessor_config.json").write_text(json.dumps({"size": 2}))
    assert read_processor(tmp_path, video=True) == {"size": 2}
    assert read_processor(tmp_path, video=False) == {"size": 1}


def test_settings_nested_in_a_joint_processor_are_found(tmp_path):
    (tmp_path / "processor_config.json").write_text(
        json.dumps({"image_processor": {"size": 3}, "processor_class": "x"})
    )
    assert read_processor(tmp_path, video=False) == {"size": 3}
    assert read_processor(tmp_path, video=True) == {"size": 3}


def test_another_size_keeps_the_margin_around_the_crop():
    assert with_size(Preprocessing(224, 224, short_side=256), 448) == Preprocessing(448, 448, short_side=512)
    assert with_size(Preprocessing(224, 224, "squash"), 96) == Preprocessing(96, 96, "squash")
    deit = Preprocessing(224, 224, "squash", squash_side=256)
    assert with_size(deit, 112) == Preprocessing(112, 112, "squash", squash_side=128)
