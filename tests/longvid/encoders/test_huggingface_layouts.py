"""Tokens of each family equal a direct call of the transformers model, sorted by hand."""

import pytest
import torch
from rounding import assert_same_numbers

from longvid.encoders import build_encoder
from longvid.encoders.huggingface.layouts import LAYOUTS
from longvid.errors import EncoderError

ROUNDING = {"terms": 64, "layers": 16}
"""Rounding of two blocks: their MLPs are 64 wide, and each has four sums and two norms."""

# family: (class token first, tokens dropped after it, patches)
IMAGE_FAMILIES = {
    "vit": (True, 0, 4),
    "deit": (True, 1, 4),
    "beit": (True, 0, 4),
    "dinov2": (True, 0, 4),
    "dinov2_with_registers": (True, 3, 4),
    "dinov3_vit": (True, 2, 4),
    "clip_vision_model": (True, 0, 4),
    "siglip_vision_model": (False, 0, 4),
    "ijepa": (False, 0, 4),
    "swin": (False, 0, 64),
}


@pytest.mark.parametrize("family", IMAGE_FAMILIES)
@torch.no_grad()
def test_an_image_model_sees_each_frame_alone_and_its_tokens_are_sorted(family, save_model, make_clips):
    class_first, extra, patches = IMAGE_FAMILIES[family]
    folder, model = save_model(family)
    encoder = build_encoder(str(folder))
    clips = make_clips(3, encoder.spec.preprocessing.height)
    output = encoder(clips)
    assert output.tokens.shape == (2, 3, patches, 32)
    for clip in range(2):
        for time in range(3):
            hidden = model(clips[clip : clip + 1, :, time]).last_hidden_state[0]
            assert_same_numbers(output.tokens[clip, time], hidden[int(class_first) + extra :], **ROUNDING)
            if class_first:
                assert_same_numbers(output.class_tokens[clip, time], hidden[0], **ROUNDING)
    assert (output.class_tokens is not None) == class_first
    assert ("class+tokens" in encoder.spec.poolings) == class_first


@torch.no_grad()
def test_a_feature_map_becomes_tokens_in_raster_order(save_model, make_clips):
    folder, model = save_model("convnext")
    clips = make_clips(2, 64)
    tokens = build_encoder(str(folder))(clips).tokens
    feature_map = model(clips[1:, :, 1]).last_hidden_state[0]
    assert tokens.shape == (2, 2, 4, 32)
    for place, (row, column) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        assert_same_numbers(tokens[1, 1, place], feature_map[:, row, column], **ROUNDING)


@torch.no_grad()
def test_siglip2_gets_the_patches_its_own_processor_would_make(save_model, make_clips):
    from transformers.models.siglip2.image_processing_pil_siglip2 import convert_image_to_patches

    folder, model = save_model("siglip2_vision_model")
    clips = make_clips(2)
    patches = torch.from_numpy(convert_image_to_patches(clips[1, :, 0].numpy(), 16))[None]
    direct = model(patches, torch.ones(1, 4, dtype=torch.long), torch.tensor([[2, 2]]))
    output = build_encoder(str(folder))(clips)
    assert_same_numbers(output.tokens[1, 0], direct.last_hidden_state[0], **ROUNDING)


@torch.no_grad()
def test_masked_autoencoders_mask_nothing_and_keep_the_order_of_patches(save_model, make_clips):
    folder, model = save_model("vit_mae")
    clips = make_clips(1)
    encoder = build_encoder(str(folder))
    first, second = encoder(clips), encoder(clips)
    model.config.mask_ratio = model.embeddings.config.mask_ratio = 0.0
    shuffled = model(clips[:, :, 0], noise=torch.tensor([[0.3, 0.9, 0.1, 0.5]] * 2))
    in_order = shuffled.last_hidden_state[:, 1:].gather(1, shuffled.ids_restore[..., None].expand(-1, -1, 32))
    assert torch.equal(first.tokens, second.tokens)
    assert_same_numbers(first.tokens[:, 0], in_order, **ROUNDING)


@torch.no_grad()
def test_videomae_tokens_are_time_major_and_a_step_covers_two_frames(save_model, make_clips):
    folder, model = save_model("videomae")
    clips = make_clips(4)
    hidden = model(clips.transpose(1, 2)).last_hidden_state
    output = build_encoder(str(folder))(clips)
    assert output.tokens.shape == (2, 2, 4, 32)
    assert_same_numbers(output.tokens[:, 1, 0], hidden[:, 4], **ROUNDING)
    assert output.clip is None


@torch.no_grad()
def test_timesformer_tokens_are_place_major_behind_one_class_token(save_model, make_clips):
    folder, model = save_model("timesformer")
    clips = make_clips(4)
    hidden = model(clips.transpose(1, 2)).last_hidden_state
    output = build_encoder(str(folder))(clips)
    assert output.tokens.shape == (2, 4, 4, 32)
    assert_same_numbers(output.clip, hidden[:, 0], **ROUNDING)
    assert_same_numbers(output.tokens[:, 3, 1], hidden[:, 1 + 1 * 4 + 3], **ROUNDING)  # frame 3, place 1 of 4 a frame


@torch.no_grad()
def test_changing_the_last_frame_changes_its_own_timesformer_tokens_most(save_model, make_clips):
    folder, _ = save_model("timesformer")
    encoder = build_encoder(str(folder))
    clips = make_clips(4)
    changed = clips.clone()
    changed[:, :, 3] += 1.0
    moved = (encoder(clips).tokens - encoder(changed).tokens).abs().mean(dim=(0, 2, 3))
    assert moved.argmax() == 3


@torch.no_grad()
def test_vivit_tokens_are_time_major_behind_one_class_token(save_model, make_clips):
    folder, model = save_model("vivit")
    clips = make_clips(4)
    hidden = model(clips.transpose(1, 2)).last_hidden_state
    output = build_encoder(str(folder))(clips)
    assert output.tokens.shape == (2, 2, 4, 32)
    assert_same_numbers(output.clip, hidden[:, 0], **ROUNDING)
    assert_same_numbers(output.tokens[:, 1, 2], hidden[:, 1 + 4 + 2], **ROUNDING)


@torch.no_grad()
def test_vjepa2_gives_its_encoders_tokens_and_drops_its_predictor(save_model, make_clips):
    folder, model = save_model("vjepa2")
    clips = make_clips(4)
    hidden = model(clips.transpose(1, 2), skip_predictor=True).last_hidden_state
    encoder = build_encoder(str(folder))
    tokens = encoder(clips).tokens
    assert tokens.shape == (2, 2, 4, 32)
    assert_same_numbers(tokens[:, 1, 0], hidden[:, 4], **ROUNDING)
    assert not any("predictor" in name for name in encoder.state_dict())


@pytest.mark.parametrize("family", ["vit", "dinov2_with_registers", "siglip2_vision_model", "timesformer", "vjepa2"])
@torch.no_grad()
def test_a_clip_has_the_same_tokens_alone_and_in_a_batch(family, save_model, make_clips):
    folder, _ = save_model(family)
    encoder = build_encoder(str(folder))
    clips = make_clips(4, batch=3)
    together = encoder(clips)
    for index in range(3):
        alone = encoder(clips[index : index + 1])
        assert_same_numbers(together.tokens[index], alone.tokens[0], **ROUNDING)


@torch.no_grad()
def test_the_clip_vector_of_an_image_model_is_the_mean_of_its_frames_vectors(save_model, make_clips):
    folder, model = save_model("siglip_vision_model")
    clips = make_clips(3)
    vectors = torch.stack([model(clips[:, :, time]).pooler_output for time in range(3)])
    encoder = build_encoder(str(folder))
    assert_same_numbers(encoder(clips).clip, vectors.mean(0), **ROUNDING)
    assert encoder.spec.default_pooling == "clip"


@torch.no_grad()
def test_of_a_clip_model_only_the_vision_tower_is_built(save_model, make_clips):
    import transformers as hf

    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    text |= {"vocab_size": 50, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    vision = {**hf.CLIPVisionConfig().to_dict(), "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision |= {"intermediate_size": 64, "image_size": 32, "patch_size": 16}
    config = hf.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
    torch.manual_seed(1)
    folder, model = save_model(hf.CLIPModel(config))
    clips = make_clips(1)
    encoder = build_encoder(str(folder))
    assert_same_numbers(encoder(clips).clip, model.vision_model(clips[:, :, 0]).pooler_output, **ROUNDING)
    assert not any("text" in name for name in encoder.state_dict())


@torch.no_grad()
def test_an_unknown_family_is_taken_where_its_tokens_can_only_be_patches_and_a_class_token(
    save_model, make_clips, monkeypatch
):
    monkeypatch.delitem(LAYOUTS, "vit_msn")
    folder, model = save_model("vit_msn")
    output = build_encoder(str(folder))(make_clips(2))
    hidden = model(make_clips(2)[:, :, 1]).last_hidden_state
    assert_same_numbers(output.tokens[:, 1], hidden[:, 1:], **ROUNDING)
    assert_same_numbers(output.class_tokens[:, 1], hidden[:, 0], **ROUNDING)


def test_an_unknown_family_with_tokens_that_are_no_place_is_refused(save_model, monkeypatch):
    monkeypatch.delitem(LAYOUTS, "dinov2_with_registers")
    folder, _ = save_model("dinov2_with_registers")
    with pytest.raises(EncoderError, match="its 8 tokens are neither its 4 patches nor one more"):
        build_encoder(str(folder))
