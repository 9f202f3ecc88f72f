"""The DualFormer model: its size, its symmetries, and how it is built as an encoder."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from rounding import assert_same_numbers, rounding
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from longvid.encoders import build_encoder, pool
from longvid.encoders.dualformer import INPUT_RECIPES, PUBLISHED, VARIANTS, DualFormer, DualFormerConfig, StageConfig
from longvid.errors import EncoderError

SMALL = DualFormerConfig(
    stages=(
        StageConfig(dim=8, heads=2, blocks=3, window=(2, 4, 4), fine=(2, 4, 4), coarse=(2, 2, 2)),
        StageConfig(dim=12, heads=3, blocks=2, window=(2, 4, 4), fine=(4, 4, 4)),
    ),
    video_size=(8, 64, 64),
    drop_path=0.2,
    num_classes=5,
    token_label=True,
)


def small_model(config: DualFormerConfig = SMALL) -> DualFormer:
    torch.manual_seed(0)
    model = DualFormer(config)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm3d):
            part.running_mean.normal_(std=0.1)
            part.running_var.uniform_(0.5, 1.5)
    return model.eval().requires_grad_(False)


def clips_of(batch: int = 2, frames: int = 8) -> Tensor:
    return torch.randn(batch, 3, frames, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("name", "parameters", "entries", "gflops"),
    [
        ("dualformer-tiny", 21_767_360, 308, 119.72),
        ("dualformer-small", 48_908_064, 402, 316.51),
        ("dualformer-base", 86_837_632, 402, 534.79),
    ],
)
def test_variants_have_the_parameters_entries_and_operations_of_the_released_ones(
    name: str, parameters: int, entries: int, gflops: float
) -> None:
    with torch.device("meta"):
        model = DualFormer(replace(VARIANTS[name], num_classes=400)).eval()
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(1, 3, 32, 224, 224))
    assert model.classifier is not None
    head = sum(p.numel() for p in model.classifier.parameters())
    counted = sum(p.numel() for p in model.parameters()) - head
    assert counted == parameters
    assert len(model.state_dict()) == entries
    assert counter.get_total_flops() / 1e9 == pytest.approx(gflops, abs=0.01)
    published = PUBLISHED[name]
    assert published.parameters == pytest.approx(counted, rel=0.005)
    assert published.gflops is not None
    assert published.gflops * published.flops_factor == pytest.approx(gflops, rel=0.005), "multiply-adds of four views"


def test_tokens_are_the_normed_grid_and_the_clip_vector_their_mean() -> None:
    model, clips = small_model().double(), clips_of().double()
    output = model(clips)
    features = model.features(clips)
    assert output.tokens.shape == (2, 4, 64, 12)
    assert features.shape == (2, 12, 4, 8, 8)
    assert torch.equal(output.tokens[1, 2, 8 * 3 + 5], features[1, :, 2, 3, 5])
    assert output.clip is not None
    torch.testing.assert_close(output.clip, output.tokens.mean(dim=(1, 2)))
    for pooling, tokens in (("tokens", 256), ("spatial", 4), ("temporal", 64), ("mean", 1), ("clip", 1)):
        assert pool(output, pooling).shape == (2, tokens, 12)


def test_heads_read_the_features() -> None:
    model, clips = small_model().double(), clips_of().double()
    features = model.features(clips)
    token_scores = model.token_scores(features)
    assert token_scores.shape == (2, 4, 8, 8, 5)
    torch.testing.assert_close(model.classify(clips), model.clip_scores(features))
    assert model.token_classifier is not None
    torch.testing.assert_close(token_scores[1, 2, 3, 4], model.token_classifier(features[1, :, 2, 3, 4]))
    headless = small_model(replace(SMALL, num_classes=None, token_label=False)).double()
    with pytest.raises(EncoderError, match="no classifier; build it with num_classes"):
        headless.classify(clips)
    with pytest.raises(EncoderError, match="no token classifier; build it with token_label=True"):
        headless.token_scores(features)


def test_a_clip_gets_in_a_batch_what_it_gets_alone() -> None:
    model, clips = small_model(), clips_of(3)
    in_float32 = model(clips).tokens
    model, clips = model.double(), clips.double()
    together = model(clips).tokens
    alone = torch.cat([model(clip.unsqueeze(0)).tokens for clip in clips])
    torch.testing.assert_close(together, alone)
    assert_same_numbers(in_float32, together, terms=48, layers=20)  # five blocks of four sums, MLPs of 4 x 12


def test_the_order_of_frames_matters() -> None:
    model, clips = small_model(), clips_of()
    assert not torch.allclose(model(clips).clip, model(clips.flip(2)).clip, atol=1e-3)


def test_longer_clips_grow_the_pyramid_without_new_weights() -> None:
    model = small_model()
    assert model(clips_of(frames=16)).tokens.shape == (2, 8, 64, 12)
    first, second = model(clips_of(frames=16)[:, :, :8]).tokens, model(clips_of(frames=16)).tokens[:, :4]
    assert not torch.allclose(first, second, atol=1e-3), "every token looks at the whole clip"


def test_every_parameter_learns() -> None:
    torch.manual_seed(0)
    model = DualFormer(replace(SMALL, drop_path=0.0, head_dropout=0.0)).train()
    features = model.features(clips_of())
    (model.clip_scores(features).square().sum() + model.token_scores(features).square().sum()).backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert still == []


def test_drop_path_rises_over_all_blocks_of_all_stages() -> None:
    rates = [block.drop_path.rate for stage in small_model().stages for block in stage.blocks]
    assert rates == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])


def test_bfloat16_autocast_stays_within_its_rounding() -> None:
    model, clips = small_model(), clips_of()
    exact = model(clips).tokens
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = model(clips).tokens.float()
    # sums are made in float32: one rounding to bfloat16 for each of five blocks' four layers
    assert (rough - exact).norm() / exact.norm() < rounding(torch.bfloat16, terms=1, layers=20)


COMPILED = """
import torch
from longvid.encoders.dualformer import DualFormer, DualFormerConfig, StageConfig

stages = (
    StageConfig(dim=8, heads=2, blocks=2, window=(2, 4, 4), fine=(2, 4, 4), coarse=(2, 2, 2)),
    StageConfig(dim=12, heads=3, blocks=2, window=(2, 4, 4), fine=(4, 4, 4)),
)
torch.manual_seed(0)
model = DualFormer(DualFormerConfig(stages=stages, video_size=(8, 64, 64))).eval().requires_grad_(False)
clips = torch.randn(2, 3, 8, 64, 64)
model, clips = model.double(), clips.double()
compiled = torch.compile(model, fullgraph=True)(clips)
torch.testing.assert_close(compiled.tokens, model(clips).tokens)
"""


@pytest.mark.slow
def test_the_model_compiles_into_one_graph_that_gives_the_same_tokens() -> None:
    """In a process of its own: the shape checks of these tests cannot be compiled."""
    run = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_an_encoder_is_fed_as_the_authors_fed_it() -> None:
    encoder = build_encoder("dualformer-tiny")
    assert isinstance(encoder, DualFormer)
    assert encoder.spec.weights == "random (seed 0)"
    assert (encoder.spec.sampling.frames, encoder.spec.sampling.fps) == (32, 15)
    assert (encoder.spec.preprocessing.height, encoder.spec.preprocessing.short_side) == (224, 224)
    fed = encoder.spec.preprocessing.normalise(torch.full((1, 1, 1, 1, 3), 255, dtype=torch.uint8)).flatten()
    expected = [(255 - mean) / std for mean, std in ((123.675, 58.395), (116.28, 57.12), (103.53, 57.375))]
    assert_same_numbers(fed, expected, terms=3)  # scaled, less the mean, over the deviation
    assert encoder.spec.config["stages"][2]["blocks"] == 10
    assert not encoder.training


def test_fine_tuned_weights_are_fed_with_their_own_mean_and_rate() -> None:
    encoder = build_encoder("dualformer-tiny", trained_on="diving48")
    assert encoder.spec.sampling.fps == 7.5
    fed = encoder.spec.preprocessing.normalise(torch.zeros(1, 1, 1, 1, 3, dtype=torch.uint8)).flatten()
    assert_same_numbers(fed, [-104.0, -117.0, -128.0], terms=3)
    assert set(INPUT_RECIPES) == {"kinetics", "diving48", "hmdb51", "ucf101"}


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    digests = [build_encoder("dualformer-tiny", seed=seed).spec.weights_sha256 for seed in (0, 0, 1)]
    assert digests[0] == digests[1] != digests[2]


def test_options_that_cannot_work_are_refused_when_the_encoder_is_built() -> None:
    with pytest.raises(EncoderError, match="nearest time that works: 16 or 32"):
        build_encoder("dualformer-tiny", frames=20)
    with pytest.raises(EncoderError, match="nearest height that works: 224 or 448"):
        build_encoder("dualformer-tiny", size=256)
    with pytest.raises(EncoderError, match="trained_on='k400' is not one of kinetics"):
        build_encoder("dualformer-tiny", trained_on="k400")
