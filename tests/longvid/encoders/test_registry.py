"""An encoder is found by its name, built with the options it knows, and ready to run."""

import subprocess
import sys
import textwrap

import pytest
import torch
from rounding import rounding

from longvid.clips.preprocessing import Preprocessing
from longvid.clips.sampling import Sampling
from longvid.encoders import ENCODERS, EncoderOutput, EncoderSpec, build_encoder, encoder_table, wrap
from longvid.encoders.registry import EncoderEntry, find_builder
from longvid.errors import EncoderError
from longvid.weights import state_sha256

SPEC = EncoderSpec("colour", Sampling(frames=2, fps=1.0, stride_seconds=2.0), Preprocessing(8, 8))


def build_colour(*, grid: int = 2):
    """Mean colour of each cell of a grid.

    More words that a table has no room for.
    """

    def colour(clips):
        cells = torch.nn.functional.adaptive_avg_pool3d(clips, (clips.shape[2], grid, grid))
        return cells.flatten(3).permute(0, 2, 3, 1)

    return wrap(colour, SPEC)


@pytest.fixture
def own_encoder(monkeypatch):
    monkeypatch.setitem(ENCODERS, "colour", build_colour)


def test_one_line_registers_an_own_encoder(own_encoder):
    clips = torch.zeros(1, 3, 2, 8, 8)
    clips[0, 1, 1, :4, :4] = 1.0
    tokens = build_encoder("colour")(clips).tokens
    assert tokens.shape == (1, 2, 4, 3)
    assert tokens[0, 1, 0].tolist() == [0.0, 1.0, 0.0]
    assert tokens.sum() == 1.0


def test_options_reach_the_builder(own_encoder):
    assert build_encoder("colour", grid=4)(torch.zeros(1, 3, 2, 8, 8)).tokens.shape[2] == 16


def test_an_option_the_builder_does_not_know_is_refused_with_those_it_knows(own_encoder):
    with pytest.raises(EncoderError, match="no option gird; its options: grid"):
        build_encoder("colour", gird=4)


def test_weights_for_an_encoder_that_loads_none_are_refused(own_encoder):
    with pytest.raises(EncoderError, match="loads no weights"):
        build_encoder("colour", weights="colour.safetensors")


def test_an_encoder_is_built_in_evaluation_mode_without_gradients(monkeypatch):
    class Noise(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Dropout(0.5))

        def forward(self, clips):
            return self.layers(clips.flatten(3).permute(0, 2, 3, 1))

    module = Noise()
    monkeypatch.setitem(ENCODERS, "noise", lambda: wrap(module, SPEC))
    encoder = build_encoder("noise")
    clips = torch.randn(2, 3, 2, 4, 4)
    assert torch.equal(encoder(clips).tokens, encoder(clips).tokens)
    assert not encoder(clips).tokens.requires_grad
    assert encoder.spec.weights_sha256 == state_sha256(module.state_dict())
    assert encoder.spec.weights == "random"


def test_a_wrapped_function_says_that_it_has_no_weights(own_encoder):
    assert build_encoder("colour").spec.weights == "none"


def test_a_wrapped_function_may_return_class_and_clip_vectors():
    output = EncoderOutput(torch.zeros(1, 2, 4, 3), class_tokens=torch.ones(1, 2, 3))
    assert wrap(lambda clips: output, SPEC)(torch.zeros(1, 3, 2, 8, 8)) is output


@pytest.mark.parametrize("returned", [torch.zeros(1, 4), torch.zeros(2, 2, 4, 3), "tokens"])
def test_a_wrapped_function_that_returns_no_tokens_is_told_what_it_returned(returned):
    with pytest.raises(EncoderError, match="colour: the function returned"):
        wrap(lambda clips: returned, SPEC)(torch.zeros(1, 3, 2, 8, 8))


def test_an_own_encoder_is_importable_by_module_and_callable(tmp_path, monkeypatch):
    source = """
        from longvid.encoders import EncoderSpec, wrap
        from longvid.clips.preprocessing import Preprocessing
        from longvid.clips.sampling import Sampling

        NUMBER = 3

        def build(*, scale: float = 1.0):
            spec = EncoderSpec("mine", Sampling(frames=1, fps=1.0, stride_seconds=1.0), Preprocessing(4, 4))
            return wrap(lambda clips: scale * clips.flatten(3).permute(0, 2, 3, 1), spec)

        def nothing():
            return None
    """
    (tmp_path / "own_encoders.py").write_text(textwrap.dedent(source))
    monkeypatch.syspath_prepend(tmp_path)
    clips = torch.ones(1, 3, 1, 4, 4)
    assert build_encoder("own_encoders:build", scale=2.0)(clips).tokens.sum() == 96
    for name, message in {
        "own_encoders:missing": "has no 'missing'",
        "own_encoders:NUMBER": "is a int, not a callable",
        "own_encoders:nothing": "returned NoneType, not an Encoder",
        "no_such_module:build": "the module 'no_such_module' cannot be found here; install it",
    }.items():
        with pytest.raises(EncoderError, match=message):
            build_encoder(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("patch-statistic", "did you mean patch-statistics"),
        ("resnet", "`longvid encoders` lists .*facebook/dinov2-base"),
        ("", "no encoder is called ''"),
        ("./no/such/folder", "neither an existing folder nor a hub id"),
        ("hf:", "no encoder is called 'hf:'"),
    ],
)
def test_an_unknown_name_is_an_error_that_says_what_there_is(name, message):
    with pytest.raises(EncoderError, match=message):
        build_encoder(name)


def test_an_entry_hands_its_variant_to_the_builder(monkeypatch):
    monkeypatch.setitem(ENCODERS, "small", EncoderEntry("builtins:dict", "a phrase", arguments=([("grid", 2)],)))
    assert find_builder("small")() == {"grid": 2}


def test_the_table_shows_every_known_encoder_and_the_first_line_of_an_own_ones_docstring(own_encoder):
    rows = {row["name"]: row for row in encoder_table()}
    assert set(ENCODERS) < set(rows)
    assert rows["colour"]["summary"] == "Mean colour of each cell of a grid."
    assert {"hf:...", "timm:...", "torchvision:..."} < set(rows)
    assert all(row["summary"] for row in rows.values())


def test_every_known_encoder_names_a_builder_that_exists():
    for name in ENCODERS:
        assert callable(find_builder(name))


def test_knowing_the_encoders_imports_none_of_them():
    code = """
        import sys
        import longvid.encoders
        longvid.encoders.encoder_table()
        families = [f"longvid.encoders.{name}" for name in ("huggingface", "timm", "torchvision", "tiny", "xvit")]
        loaded = [name for name in ["transformers", "timm", *families] if name in sys.modules]
        assert not loaded, loaded
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


def test_an_option_of_another_type_is_refused_with_its_value():
    with pytest.raises(EncoderError, match=r"patch-statistics: option size='abc': should be a whole number"):
        build_encoder("patch-statistics", size="abc")
    with pytest.raises(EncoderError, match=r"xvit-b16-8f: option \w+='abc'"):
        build_encoder("xvit-b16-8f", size="abc")


def test_a_callable_that_needs_more_than_is_given_is_told_so():
    with pytest.raises(EncoderError, match="os:system: needs the option command"):
        build_encoder("os:system")


def test_a_builder_annotated_with_types_nobody_can_check_gets_its_options_as_they_are(monkeypatch):
    def build(*, size: "NotImported" = None, scale: torch.nn.Module = None):  # noqa: F821
        return build_encoder("patch-statistics", size=size)

    monkeypatch.setitem(ENCODERS, "odd", build)
    assert build_encoder("odd", size=32).spec.preprocessing.height == 32


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["patch-statistics", "xvit-b16-8f", "dualformer-tiny", "video-mobile-former-1g"])
def test_on_a_gpu_tokens_are_those_of_the_cpu_and_nearly_so_in_bfloat16(name, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    encoder = build_encoder(name).eval()
    spec = encoder.spec
    height, width = spec.preprocessing.height, spec.preprocessing.width
    clips = torch.randn(1, 3, spec.sampling.frames, height, width, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = encoder(clips).tokens
        encoder = encoder.cuda()
        found = encoder(clips.cuda()).tokens.cpu()
        with torch.autocast("cuda", dtype=torch.bfloat16):
            rough = encoder(clips.cuda()).tokens.float().cpu()
    # of encoders of up to 24 blocks: the norm of many errors grows with the root of the terms, 4096 at most
    assert (found - expected).norm() < rounding(torch.float32, terms=64, layers=24) * expected.norm()
    assert (rough - expected).norm() < rounding(torch.bfloat16, terms=1, layers=24) * expected.norm()
