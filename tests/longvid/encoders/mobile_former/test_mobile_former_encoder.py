"""Mobile-Former among the encoders: names, what is fed, what comes out, and that nothing but the clip decides it."""

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from rounding import assert_same_numbers, largest_difference, rounding

from longvid.encoders import ENCODERS, build_encoder, pool
from longvid.encoders.mobile_former import PUBLISHED, VARIANTS, MobileFormer, MobileFormerConfig, for_video

Scramble = Callable[..., MobileFormer]


@pytest.fixture
def clips() -> torch.Tensor:
    return torch.randn(3, 3, 6, 48, 40, generator=torch.Generator().manual_seed(5))


def test_every_variant_is_an_encoder_by_its_name_with_published_figures_or_the_reason_for_none() -> None:
    assert {name for name in ENCODERS if "mobile-former" in name} == set(VARIANTS) == set(PUBLISHED)
    for name, variant in VARIANTS.items():
        with torch.device("meta"):
            spec = build_encoder(name).spec
        assert spec.name == name
        assert (spec.sampling.frames, spec.sampling.fps) == (variant.frames, variant.fps)
        assert spec.weights == "random (seed 0)"
        assert PUBLISHED[name].source
        assert PUBLISHED[name].note


def test_frames_are_fed_as_the_image_author_fed_them_in_clips_of_two_seconds() -> None:
    spec = build_encoder("video-mobile-former-1g").spec
    assert (spec.preprocessing.height, spec.preprocessing.width, spec.preprocessing.short_side) == (224, 224, 256)
    fed = spec.preprocessing.normalise(torch.full((1, 1, 1, 1, 3), 255, dtype=torch.uint8)).flatten()
    expected = [(1 - mean) / std for mean, std in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))]
    assert_same_numbers(fed, expected, terms=3)  # scaled, less the mean, over the deviation
    assert spec.sampling.fps is not None
    assert spec.sampling.frames / spec.sampling.fps == 2


def test_frames_size_and_rate_may_be_others() -> None:
    spec = build_encoder("video-mobile-former-1g", frames=8, size=112, fps=4.0).spec
    assert (spec.sampling.frames, spec.sampling.fps) == (8, 4.0)
    assert (spec.preprocessing.height, spec.preprocessing.short_side) == (112, 128)


def test_the_seed_decides_the_random_weights_and_no_one_elses_random_numbers() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    digests = [build_encoder("mobile-former-26m", seed=seed).spec.weights_sha256 for seed in (0, 0, 1)]
    assert digests[0] == digests[1] != digests[2]
    assert torch.equal(torch.rand(2), expected)


def test_every_pooling_it_names_gives_the_tokens_it_describes(
    tiny: MobileFormerConfig, scrambled: Scramble, clips: torch.Tensor
) -> None:
    encoder = build_encoder("video-mobile-former-1g")
    names = encoder.spec.poolings
    with torch.no_grad():
        output = scrambled(for_video(tiny))(clips)
    shapes = {name: tuple(pool(output, name).shape) for name in names}
    assert shapes == {
        "tokens": (3, 6 * 6 * 5, 120),
        "spatial": (3, 6, 120),
        "temporal": (3, 6 * 5, 120),
        "mean": (3, 1, 120),
        "clip": (3, 1, 24),
        "global": (3, 3, 32),
    }
    assert encoder.spec.default_pooling == "clip"


def test_a_clip_is_encoded_alike_alone_and_in_a_batch(
    tiny: MobileFormerConfig, scrambled: Scramble, clips: torch.Tensor
) -> None:
    encoder, clips = scrambled(for_video(tiny)).double(), clips.double()
    with torch.no_grad():
        together = encoder(clips)
        for index, clip in enumerate(clips):
            for part, alone in zip(together, encoder(clip[None]), strict=True):
                if part is not None:
                    torch.testing.assert_close(part[index], alone[0])


def test_encoding_leaves_the_clip_as_it_was_and_gives_the_same_twice(
    tiny: MobileFormerConfig, scrambled: Scramble, clips: torch.Tensor
) -> None:
    """Activations overwrite maps where no gradient is recorded; never what was given."""
    encoder, clips = scrambled(for_video(tiny)).double(), clips.double()
    given = clips.clone()
    with torch.no_grad():
        first, second = encoder(given), encoder(given)
    assert torch.equal(given, clips)
    assert torch.equal(first.tokens, second.tokens)
    recorded = encoder(given)
    torch.testing.assert_close(recorded.tokens, first.tokens)


def test_the_layout_of_the_clip_in_memory_does_not_matter(
    tiny: MobileFormerConfig, scrambled: Scramble, clips: torch.Tensor
) -> None:
    encoder = scrambled(for_video(tiny)).double()
    with torch.no_grad():
        plain = encoder(clips.double()).tokens
        other = encoder(clips.double().contiguous(memory_format=torch.channels_last_3d)).tokens
    torch.testing.assert_close(plain, other)


def test_bfloat16_keeps_every_output_within_its_rounding() -> None:
    """One rounding a layer, as sums are made in float32; a fresh net, whose norms keep values in range."""
    single, half = (build_encoder("video-mobile-former-1g", dtype=dtype) for dtype in ("float32", "bfloat16"))
    clip = torch.randn(1, 3, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for expected, actual in zip(single(clip), half(clip), strict=True):
            if expected is not None:
                assert actual.dtype == torch.float32
                assert largest_difference(actual, expected) < rounding(torch.bfloat16, terms=1, layers=8)


COMPILED = """
import torch
from longvid.encoders.mobile_former import BlockConfig, MobileFormer, MobileFormerConfig, for_video
blocks = BlockConfig("lite", 8, 2), BlockConfig("down", 12, 3, 2, 2), BlockConfig("standard", 12, 3)
encoder = MobileFormer(for_video(MobileFormerConfig(8, blocks, 3, 32, 24))).eval()
clips = torch.randn(2, 3, 4, 32, 32)
with torch.no_grad():
    encoder, clips = encoder.double(), clips.double()
    expected, compiled = encoder(clips), torch.compile(encoder, fullgraph=True)(clips)
for mine, theirs in zip(expected, compiled):
    if mine is not None:
        torch.testing.assert_close(theirs, mine)
"""


@pytest.mark.slow
def test_the_encoder_compiles_into_one_graph_that_gives_the_same_output() -> None:
    """In a process of its own: the shape checks of these tests cannot be compiled."""
    run = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
