"""What is read from a model's folder, what is refused, and with which message."""

import json
import pickle
from dataclasses import asdict

import pytest
import torch
import transformers as hf
from rounding import assert_same_numbers, largest_difference, rounding
from safetensors.torch import load_file, save_file

from longvid.encoders import build_encoder
from longvid.errors import EncoderError, LongvidError, WeightsError
from longvid.weights import state_sha256

ROUNDING = {"terms": 64, "layers": 16}
"""Rounding of two blocks: their MLPs are 64 wide, and each has four sums and two norms."""


def change_weights(folder, change):
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def change_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def test_the_digest_is_that_of_the_checkpoints_tensors(save_model):
    folder, _ = save_model("vit")
    encoder = build_encoder(str(folder))
    assert encoder.spec.weights_sha256 == state_sha256(load_file(folder / "model.safetensors"))
    assert encoder.spec.weights == "small-vit"
    assert not encoder.training
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_the_same_tensors_have_the_same_digest_as_a_pickle_and_in_shards(save_model):
    folder, model = save_model("vit")
    whole = build_encoder(str(folder)).spec.weights_sha256
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    renamed = state_sha256(model.state_dict())
    assert build_encoder(str(folder)).spec.weights_sha256 == renamed
    (folder / "pytorch_model.bin").unlink()
    model.save_pretrained(folder, max_shard_size="20KB")
    assert (folder / "model.safetensors.index.json").is_file()
    assert build_encoder(str(folder)).spec.weights_sha256 == whole


def test_a_spec_is_plain_json_and_names_no_path_of_this_machine(save_model, tmp_path):
    folder, _ = save_model("videomae")
    text = json.dumps(asdict(build_encoder(str(folder)).spec))
    assert str(tmp_path) not in text
    assert "transformers_version" not in text


def test_random_weights_need_a_configuration_only_and_are_called_random(save_model):
    folder, _ = save_model("vit")
    (folder / "model.safetensors").unlink()
    first = build_encoder(str(folder), weights="random", seed=5)
    again = build_encoder(str(folder), weights="random", seed=5)
    other = build_encoder(str(folder), weights="random", seed=6)
    assert first.spec.weights == "random (seed 5)"
    assert first.spec.weights_sha256 == again.spec.weights_sha256 != other.spec.weights_sha256


def test_building_leaves_the_global_random_state_alone(save_model):
    folder, _ = save_model("vit")
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    build_encoder(str(folder), weights="random")
    build_encoder(str(folder))
    assert torch.equal(torch.rand(1), expected)


def test_a_missing_weight_is_named(save_model):
    folder, _ = save_model("vit")
    change_weights(folder, lambda state: state.pop("layernorm.weight"))
    with pytest.raises(WeightsError, match=r"missing: layernorm\.weight"):
        build_encoder(str(folder))


def test_a_weight_of_another_shape_is_named(save_model):
    folder, _ = save_model("vit")
    change_weights(folder, lambda state: state.update({"layernorm.weight": torch.ones(7)}))
    with pytest.raises(WeightsError, match=r"of the wrong shape: layernorm\.weight"):
        build_encoder(str(folder))


def test_a_checkpoint_deeper_than_its_configuration_is_refused(save_model):
    folder, _ = save_model("vit")
    change_config(folder, num_hidden_layers=1)
    with pytest.raises(WeightsError, match=r"not in the model: .*layers?\.1\."):
        build_encoder(str(folder))


def test_a_classification_head_is_left_out(save_model, make_clips):
    torch.manual_seed(0)
    folder, model = save_model(hf.VideoMAEForVideoClassification(_small_videomae()))
    tokens = build_encoder(str(folder))(make_clips(4)).tokens
    hidden = model.videomae(make_clips(4).transpose(1, 2)).last_hidden_state
    assert_same_numbers(tokens.flatten(1, 2), hidden, **ROUNDING)


def _small_videomae():
    return hf.VideoMAEConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=32, num_frames=4
    )


def test_a_pooler_that_was_never_trained_gives_no_clip_vector(save_model, make_clips):
    config = hf.ViTConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=32
    )
    folder, _ = save_model(hf.ViTForImageClassification(config))
    encoder = build_encoder(str(folder))
    assert encoder(make_clips(1)).clip is None
    assert "clip" not in encoder.spec.poolings
    assert "class" in encoder.spec.poolings


class Hostile:
    """A pickle that would leave a file behind if it were ever run."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return open, (str(self.trace), "w")


@pytest.mark.parametrize("save", [torch.save, lambda held, path: path.write_bytes(pickle.dumps(held, protocol=2))])
def test_a_pickle_with_code_in_it_is_refused_unrun(save, save_model, tmp_path):
    folder, _ = save_model("vit")
    (folder / "model.safetensors").unlink()
    trace = tmp_path / "was-run"
    save({"layernorm.weight": Hostile(trace)}, folder / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"pytorch_model\.bin"):
        build_encoder(str(folder))
    assert not trace.exists()


def test_safetensors_go_before_a_pickle_beside_them(save_model, tmp_path):
    folder, _ = save_model("vit")
    torch.save({"layernorm.weight": Hostile(tmp_path / "was-run")}, folder / "pytorch_model.bin")
    assert build_encoder(str(folder)).spec.weights == "small-vit"


def test_a_configuration_that_wants_its_own_code_run_is_refused(save_model):
    folder, _ = save_model("vit")
    (folder / "config.json").write_text(
        json.dumps({"model_type": "mine", "auto_map": {"AutoConfig": "code.Config", "AutoModel": "code.Model"}})
    )
    (folder / "code.py").write_text("raise SystemExit('was run')")
    with pytest.raises(EncoderError, match=r"config\.json"):
        build_encoder(str(folder))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "weights='random'"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{"), "model.safetensors"),
        (lambda folder: (folder / "preprocessor_config.json").unlink(), "no preprocessor_config.json"),
        (lambda folder: (folder / "preprocessor_config.json").write_text("{"), "cannot be read as JSON"),
        (lambda folder: (folder / "config.json").write_text('{"model_type": "bert"}'), "takes input_ids"),
        (lambda folder: (folder / "config.json").unlink(), "holds no config.json"),
        (lambda folder: change_config(folder, hidden_size="wide"), "hidden_size"),
        (lambda folder: change_config(folder, num_attention_heads=5), "q_proj.weight and "),
        (lambda folder: change_config(folder, model_type="no-such-type"), "config.json is not one"),
    ],
)
def test_a_damaged_folder_is_an_error_of_one_line_that_names_the_file(damage, message, save_model):
    folder, _ = save_model("vit")
    damage(folder)
    with pytest.raises(LongvidError) as caught:
        build_encoder(str(folder))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        ("vit", {"frames": 0}, "a clip has at least 1"),
        ("vit", {"size": 40}, "the nearest sizes are 32 and 48"),
        ("vit", {"weights": "other.bin"}, "takes its own weights, 'random', or"),
        ("vit", {"colour": "blue"}, "no option colour"),
        ("videomae", {"frames": 8}, "takes exactly 4"),
        ("videomae", {"size": 64}, "cannot resize them; pass size=32"),
        ("vivit", {"size": 64}, "cannot resize them"),
        ("vjepa2", {"frames": 5}, "not a multiple of 2"),
        ("vit", {"dtype": "int4"}, "is not one of float32, bfloat16, float16"),
    ],
)
def test_an_option_the_model_cannot_follow_is_refused(family, options, message, save_model):
    folder, _ = save_model(family)
    with pytest.raises(EncoderError, match=message):
        build_encoder(str(folder), **options)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, 3, 32, 32), "clips of 3 frames; this model takes exactly 4"),
        ((1, 3, 4, 48, 32), "frames of 3 x 48 x 32; it was built for 3 x 32 x 32"),
        ((1, 1, 4, 32, 32), "frames of 1 x 32 x 32"),
    ],
)
def test_clips_of_another_shape_are_refused(shape, message, save_model):
    folder, _ = save_model("videomae")
    with pytest.raises(EncoderError, match=message):
        build_encoder(str(folder))(torch.zeros(shape))


@torch.no_grad()
def test_another_size_resizes_the_position_table_as_the_model_itself_does(save_model, make_clips):
    folder, model = save_model("vit")
    encoder = build_encoder(str(folder), size=64)
    clips = make_clips(1, 64)
    hidden = model(clips[:, :, 0], interpolate_pos_encoding=True).last_hidden_state
    assert_same_numbers(encoder(clips).tokens[:, 0], hidden[:, 1:], **ROUNDING)
    assert encoder.spec.preprocessing.height == encoder.spec.preprocessing.width == 64


@pytest.mark.parametrize(
    ("family", "places"), [("dinov2", 16), ("dinov3_vit", 16), ("timesformer", 16), ("vjepa2", 16)]
)
@torch.no_grad()
def test_models_that_fit_any_size_take_one_without_being_asked(family, places, save_model, make_clips):
    folder, _ = save_model(family)
    output = build_encoder(str(folder), size=64)(make_clips(4, 64))
    assert output.tokens.shape[2] == places


@torch.no_grad()
def test_vjepa2_tokens_of_another_size_know_their_places(save_model, make_clips):
    """Rotary places come from the configured grid: a model built for 32 pixels would lay 64 out wrongly."""
    folder, model = save_model("vjepa2")
    wrong = model(make_clips(4, 64).transpose(1, 2), skip_predictor=True).last_hidden_state
    model.config.crop_size = 64
    right = hf.AutoModel.from_config(model.config)
    right.load_state_dict(model.state_dict())
    hidden = right.eval()(make_clips(4, 64).transpose(1, 2), skip_predictor=True).last_hidden_state
    tokens = build_encoder(str(folder), size=64)(make_clips(4, 64)).tokens.flatten(1, 2)
    assert_same_numbers(tokens, hidden, **ROUNDING)
    assert not torch.allclose(hidden, wrong, atol=1e-4)


@torch.no_grad()
def test_half_precision_is_close_returns_float32_and_stands_in_the_spec(save_model, make_clips):
    folder, _ = save_model("vit")
    full, half = build_encoder(str(folder)), build_encoder(str(folder), dtype="bfloat16")
    expected, got = full(make_clips(1)).tokens, half(make_clips(1)).tokens
    assert got.dtype == torch.float32
    assert not torch.equal(got, expected)
    # sums are made in float32: one rounding to bfloat16 a layer
    assert largest_difference(got, expected) < rounding(torch.bfloat16, terms=1, layers=16)
    assert half.spec.config["dtype"] == "bfloat16"
    assert "dtype" not in full.spec.config
    assert half.spec.weights_sha256 == full.spec.weights_sha256


def test_weights_stored_in_half_precision_are_run_in_float32(save_model):
    folder, model = save_model("vit")
    model.to(torch.bfloat16).save_pretrained(folder)
    encoder = build_encoder(str(folder))
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: cc-by-nc-4.0\ntags:\n- vision\n---\n# A model", "cc-by-nc-4.0"),
        ("---\nlicense: [apache-2.0, mit]\n---\n", "apache-2.0, mit"),
        ("---\n: : [\n---\n", ""),
        ("# no header", ""),
        (None, ""),
    ],
)
def test_the_licence_is_the_model_cards(card, licence, save_model):
    folder, _ = save_model("vit")
    if card is not None:
        (folder / "README.md").write_text(card)
    assert build_encoder(str(folder)).spec.licence == licence
