"""Texts get the vectors of the models' own `get_text_features`, by weights that are those of the features."""

import json
from contextlib import suppress

import numpy as np
import pytest
import torch
from aligned_models import save_tokenizer, small_model
from rounding import assert_same_numbers

from longvid.encoders import build_encoder
from longvid.encoders.huggingface.text import build_text_encoder
from longvid.errors import EncoderError, WeightsError

FAMILIES = ["clip", "metaclip_2", "siglip", "siglip2", "tipsv2", "videoprism", "xclip"]
TEXTS = ["a man pours milk", "a dog"]


@pytest.fixture
def with_text(save_model):
    """A small model of a family in its folder, with a tokenizer."""

    def make(family):
        from transformers import AutoTokenizer

        folder, model = save_model(small_model(family))
        save_tokenizer(folder)
        return folder, model, AutoTokenizer.from_pretrained(folder)

    return make


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_a_text_has_the_models_own_vector(family, with_text):
    folder, model, tokenizer = with_text(family)
    found = build_text_encoder(str(folder))(TEXTS)
    full = model.config.text_config.max_position_embeddings
    if family in ("siglip", "siglip2"):
        given = {"input_ids": tokenizer(TEXTS, padding="max_length", max_length=full, return_tensors="pt")["input_ids"]}
    else:
        given = tokenizer(TEXTS, padding=True, return_tensors="pt")
        given.pop("token_type_ids", None)
    own = model.get_text_features(**given)
    own = own if isinstance(own, torch.Tensor) else own.pooler_output
    assert_same_numbers(found, torch.nn.functional.normalize(own, dim=-1).numpy(), terms=128, layers=32)
    assert not np.allclose(found[0], found[1])


@torch.no_grad()
def test_texts_and_clips_meet_in_one_space_as_in_the_model(with_text, make_clips):
    folder, model, tokenizer = with_text("clip")
    frames = make_clips(1)
    encoder = build_encoder(str(folder))
    images = torch.nn.functional.normalize(encoder(frames).embedding, dim=-1)
    texts = torch.from_numpy(build_text_encoder(str(folder))(TEXTS))
    whole = model(**tokenizer(TEXTS, padding=True, return_tensors="pt").to("cpu"), pixel_values=frames[:, :, 0])
    own = whole.logits_per_image / model.logit_scale.exp()
    assert_same_numbers((images @ texts.T).numpy(), own.numpy(), terms=128, layers=64)


def test_weights_that_are_not_those_of_the_features_are_refused(with_text):
    folder, _, _ = with_text("clip")
    digest = build_encoder(str(folder)).spec.weights_sha256
    build_text_encoder(str(folder), weights_sha256=digest)
    with pytest.raises(WeightsError, match=r"would not lie in one space; give the model of the features by --encoder"):
        build_text_encoder(str(folder), weights_sha256="0" * 64)


def test_a_model_without_a_tokenizer_is_refused_with_the_remedy(save_model):
    folder, _ = save_model(small_model("clip"))
    with pytest.raises(EncoderError, match=r"no tokenizer beside config\.json .*hf download"):
        build_text_encoder(str(folder))


def test_a_model_without_text_is_refused_with_those_that_have_it(save_model):
    folder, _ = save_model("dinov2")
    with pytest.raises(EncoderError, match=r"type dinov2 has no text .*clip, metaclip_2"):
        build_text_encoder(str(folder))


def test_code_beside_a_tokenizer_is_not_run(with_text, tmp_path):
    folder, _, _ = with_text("clip")
    told = json.loads((folder / "tokenizer_config.json").read_text())
    told |= {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(told))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: pass\n")
    with suppress(EncoderError):
        build_text_encoder(str(folder))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("text", "message"), [("  ", "the text is empty"), ("dog " * 80, "reads texts of up to 77")])
def test_a_text_that_the_model_cannot_read_is_refused(with_text, text, message):
    folder, _, _ = with_text("clip")
    with pytest.raises(EncoderError, match=message):
        build_text_encoder(str(folder))([text])
