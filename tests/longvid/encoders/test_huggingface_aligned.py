"""Models aligned with text give the vectors of their own `get_image_features` and `get_video_features`."""

import json

import pytest
import torch
from aligned_models import TEXT, VISION, small_model
from rounding import assert_same_numbers

from longvid.encoders import build_encoder
from longvid.encoders.huggingface.aligned import ALIGNED
from longvid.encoders.huggingface.layouts import LAYOUTS
from longvid.encoders.pooling import pool
from longvid.errors import EncoderError, WeightsError

ROUNDING = {"terms": 128, "layers": 32}

IMAGES = ["clip", "metaclip_2", "siglip", "tipsv2"]


def features_of(output):
    return output if isinstance(output, torch.Tensor) else output.pooler_output


@pytest.mark.parametrize("family", IMAGES)
@torch.no_grad()
def test_frames_get_the_models_own_image_vectors_and_a_clip_their_mean(family, save_model, make_clips):
    folder, model = save_model(small_model(family))
    clips = make_clips(2)
    encoder = build_encoder(str(folder))
    output = encoder(clips)
    own = torch.stack([features_of(model.get_image_features(pixel_values=clips[:, :, t])) for t in range(2)]).mean(0)
    assert_same_numbers(output.embedding, own, **ROUNDING)
    hidden = model.vision_model(pixel_values=clips[:, :, 1]).last_hidden_state
    assert_same_numbers(output.tokens[:, 1], hidden[:, -4:], **ROUNDING)
    assert pool(output, "embedding").shape == (2, 1, own.shape[-1])
    assert encoder.spec.poolings[-1] == "embedding"
    assert not any("text" in name for name in encoder.state_dict())


@torch.no_grad()
def test_siglip2_gives_the_vector_of_its_patches(save_model, make_clips):
    folder, model = save_model(small_model("siglip2"))
    clips = make_clips(1)
    encoder = build_encoder(str(folder))
    inputs = encoder._inputs(clips[:, :, 0])
    assert_same_numbers(encoder(clips).embedding, features_of(model.get_image_features(**inputs)), **ROUNDING)


@pytest.mark.parametrize("family", ["xclip", "videoprism"])
@torch.no_grad()
def test_clips_get_the_models_own_video_vector(family, save_model, make_clips):
    folder, model = save_model(small_model(family))
    clips = make_clips(4)
    encoder = build_encoder(str(folder))
    output = encoder(clips)
    assert encoder.spec.sampling.frames == 4
    own = features_of(model.get_video_features(clips.transpose(1, 2))).reshape(2, -1)
    assert_same_numbers(output.embedding, own, **ROUNDING)
    assert output.tokens.shape == (2, 4, 4, 32)
    alone = encoder(clips[1:])
    assert_same_numbers(output.tokens[1], alone.tokens[0], **ROUNDING)
    with pytest.raises(EncoderError, match="clips of 2 frames; this model takes exactly 4"):
        encoder(make_clips(2))


@torch.no_grad()
def test_xclip_gives_each_frames_tokens_and_class_token_in_order(save_model, make_clips):
    folder, model = save_model(small_model("xclip"))
    clips = make_clips(4, batch=1)
    output = build_encoder(str(folder))(clips)
    hidden = model.vision_model(clips[0].transpose(0, 1)).last_hidden_state
    assert_same_numbers(output.tokens[0], hidden[:, 1:], **ROUNDING)
    assert_same_numbers(output.class_tokens[0], hidden[:, 0], **ROUNDING)


@torch.no_grad()
def test_the_bare_videoprism_gives_time_major_tokens(save_model, make_clips):
    import transformers as hf

    whole = small_model("videoprism")
    torch.manual_seed(5)
    folder, model = save_model(hf.VideoPrismVisionModel(whole.config.vision_config))
    clips = make_clips(4)
    encoder = build_encoder(str(folder))
    hidden = model(clips.transpose(1, 2)).last_hidden_state
    assert_same_numbers(encoder(clips).tokens[:, 1, 2], hidden[:, 4 + 2], **ROUNDING)
    assert encoder.spec.poolings == ("tokens", "spatial", "temporal", "mean")


@torch.no_grad()
def test_a_fine_tuned_vjepa2_gives_its_attentive_poolers_vector(save_model, make_clips):
    import transformers as hf

    config = hf.VJEPA2Config(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        crop_size=32,
        patch_size=16,
        frames_per_clip=4,
        pred_hidden_size=24,
        pred_num_attention_heads=2,
        pred_num_hidden_layers=1,
        num_pooler_layers=1,
        num_labels=3,
    )
    torch.manual_seed(5)
    folder, model = save_model(hf.VJEPA2ForVideoClassification(config))
    clips = make_clips(4)
    encoder = build_encoder(str(folder))
    output = encoder(clips)
    hidden = model.vjepa2(clips.transpose(1, 2), skip_predictor=True).last_hidden_state
    assert_same_numbers(output.clip, model.pooler(hidden), **ROUNDING)
    assert_same_numbers(output.tokens.flatten(1, 2), hidden, **ROUNDING)
    assert encoder.spec.default_pooling == "clip"


@torch.no_grad()
def test_pe_video_says_which_package_its_frames_need(tmp_path):
    import transformers as hf

    hf.PeVideoConfig().save_pretrained(tmp_path)
    try:
        import timm  # noqa: F401
    except (ImportError, OSError, RuntimeError):
        with pytest.raises(EncoderError, match=r"its frames go through a timm model: timm cannot be imported here"):
            build_encoder(str(tmp_path), weights="random")
    else:
        pytest.skip("timm works here")


@torch.no_grad()
def test_pe_video_around_another_image_model_gives_one_token_per_frame_and_its_heads_vector(save_model, make_clips):
    import transformers as hf
    from transformers.models.pe_video.configuration_pe_video import PeVideoEncoderConfig

    image = hf.ViTConfig(**VISION, num_labels=12)
    inner = PeVideoEncoderConfig(
        vision_config=image,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        head_dim=16,
    )
    text = hf.ModernBertConfig(**TEXT | {"hidden_size": 24})
    torch.manual_seed(5)
    model = hf.PeVideoModel(hf.PeVideoConfig(text_config=text, video_config=inner)).eval()
    from longvid.encoders.huggingface.aligned import Headed
    from longvid.encoders.huggingface.model import HuggingFaceEncoder

    folder, _ = save_model("vit")
    spec = build_encoder(str(folder)).spec
    head = Headed(model.config)
    head.video_head.load_state_dict(model.video_head.state_dict())
    encoder = HuggingFaceEncoder(model.video_encoder, LAYOUTS["pe_video_encoder"], spec, embedding=head).eval()
    clips = make_clips(3)
    output = encoder(clips)
    own = model.video_encoder(clips.transpose(1, 2).contiguous())
    assert output.tokens.shape == (2, 3, 1, 32)
    assert_same_numbers(output.tokens[:, :, 0], own.last_hidden_state, **ROUNDING)
    assert_same_numbers(output.embedding, model.video_head(own.pooler_output), **ROUNDING)


def test_a_tower_saved_alone_has_no_embedding_and_a_torn_projection_is_named(save_model):
    folder, _ = save_model(small_model("metaclip_2").vision_model)
    assert "embedding" not in build_encoder(str(folder)).spec.poolings
    model = small_model("xclip")
    del model.mit.encoder.layers[0].mlp
    folder, _ = save_model(model)
    with pytest.raises(WeightsError, match=r"lacks parts of its projection: mit\.encoder"):
        build_encoder(str(folder))


def test_a_model_that_is_its_own_code_is_refused_with_the_reason(tmp_path):
    fields = {"model_type": "internvideo2", "auto_map": {"AutoModel": "modeling.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(fields))
    (tmp_path / "modeling.py").write_text("raise SystemExit('ran')")
    with pytest.raises(EncoderError, match=r"is code of its own \(auto_map .*never runs.*module:callable") as refusal:
        build_encoder(str(tmp_path), weights="random")
    assert "\n" not in str(refusal.value)


def test_the_command_names_the_known_families(capsys):
    from longvid.pipelines.cli.models import _print_families

    _print_families()
    said = capsys.readouterr().out.replace("\n", " ")
    for family in (*ALIGNED, "dinov3_vit", "vjepa2", "videoprism_vision_model"):
        assert family in said
