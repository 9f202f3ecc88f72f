"""What holds for every decoder in `DECODERS`."""

import re
from collections.abc import Callable

import pytest
import torch
from rounding import assert_same_numbers
from torch import Tensor, nn

from longvid.decoders import DECODERS, build_decoder, selective
from longvid.decoders.attention import LinearAttention, SoftmaxAttention
from longvid.decoders.convolutional import ConvolutionalConfig, DilatedLayer
from longvid.decoders.global_tokens import GlobalTokenConfig
from longvid.decoders.global_tokens.blocks import GlobalTokenBlock
from longvid.decoders.hybrid import HybridConfig, TokenExchange
from longvid.decoders.pyramid import PyramidBlock
from longvid.decoders.selective import SelectiveConfig, SelectiveScan
from longvid.decoders.sequence import max_over_time, mean_over_time, pool_time
from longvid.decoders.standardise import Standardised
from longvid.errors import DecoderError
from longvid.layers.masks import beyond

PYRAMID: dict[str, object] = {"width": 16, "layers": 2, "dropout": 0.0}
STAGES: dict[str, object] = {"width": 8, "layers": 3, "refinements": 2, "dropout": 0.0}
SMALL: dict[str, dict[str, object]] = {
    "asformer": STAGES | {"channel_dropout": 0.0},
    "ltcontext": STAGES | {"channel_dropout": 0.0, "attention_dropout": 0.0, "window": 4, "stride": 3},
    "ms-tcn": STAGES,
    "ms-tcn++": STAGES | {"refinement_layers": 2},
    "attentive": {"heads": 3},
    "attentive-4": {"heads": 3, "layers": 2},
    "global-tokens": {"width": 16, "token_dim": 16, "num_tokens": 3, "dilations": (1, 2), "dropout": 0.0},
    "gru": {"width": 8},
    "hybrid": PYRAMID | {"state_size": 8, "num_tokens": 3, "token_dim": 16},
    "lstm": {"width": 8, "layers": 2, "bidirectional": True},
    "lv-mae": {"depth": 2, "heads": 2, "probe_heads": 2},
    "performer": PYRAMID | {"features": 32},
    "selective-scan": PYRAMID | {"state_size": 4, "chunk": 8},
    "temporal-convolution": {"width": 8, "layers": 3, "dropout": 0.0},
    "transformer": PYRAMID,
    "vis4mer": PYRAMID | {"state_size": 8},
}


def small(name: str, **options: object) -> torch.nn.Module:
    torch.manual_seed(0)
    return build_decoder(name, **({"dim": 12, "outputs": 3, "max_length": 32} | SMALL.get(name, {}) | options))


@pytest.mark.parametrize("name", sorted(DECODERS))
def test_a_padded_batch_gives_what_each_item_gives_alone(name: str) -> None:
    decoder = small(name).double().eval()
    tokens = torch.randn(3, 32, 12, dtype=torch.float64)
    lengths = torch.tensor([32, 7, 20])
    together = decoder(tokens, lengths)
    for item, length in enumerate(lengths):
        alone = decoder(tokens[item : item + 1, :length])[0]
        torch.testing.assert_close(together[item], alone)


@pytest.mark.parametrize("name", sorted(DECODERS))
def test_the_steps_head_gives_each_step_of_a_padded_batch_what_it_gets_alone(name: str) -> None:
    decoder = small(name, head="steps").double().eval()
    tokens = torch.randn(2, 33, 12, dtype=torch.float64)
    lengths = torch.tensor([33, 14])
    together = decoder(tokens, lengths)
    assert together.shape == (2, 33, 3)
    for item, length in enumerate(lengths):
        alone = decoder(tokens[item : item + 1, :length])[0]
        torch.testing.assert_close(together[item, :length], alone)


@pytest.mark.parametrize("rubbish", [torch.nan, torch.inf, 1e6])
@pytest.mark.parametrize("head", ["video", "steps"])
@pytest.mark.parametrize("name", sorted(DECODERS))
def test_what_stands_in_padding_changes_no_bit_of_a_score_or_a_gradient(name: str, head: str, rubbish: float) -> None:
    lengths = torch.tensor([32, 7, 20])
    found = []
    for content in (0.0, rubbish):
        decoder = small(name, head=head).eval()
        tokens = torch.linspace(-1, 1, 3 * 32 * 12).sin().view(3, 32, 12)
        for item, length in enumerate(lengths):
            tokens[item, length:] = content
        scores = decoder(tokens, lengths)
        real = (
            list(scores) if head == "video" else [item[:length] for item, length in zip(scores, lengths, strict=True)]
        )
        torch.cat(real).square().sum().backward()
        found.append([*real, *(parameter.grad for parameter in decoder.parameters())])
    for clean, dirty in zip(*found, strict=True):
        assert torch.equal(clean, dirty)


def layers() -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """Every layer of a decoder that takes lengths, as a function of (batch, 16, 8) and lengths."""
    torch.manual_seed(0)
    scan = SelectiveScan(8, SelectiveConfig(dim=8, outputs=2, state_size=4, chunk=4, layers=1))
    dilated = DilatedLayer(ConvolutionalConfig(dim=8, outputs=2, width=8), 2)
    exchange = TokenExchange(HybridConfig(dim=8, outputs=2, layers=1, num_tokens=2, token_dim=8), 8)
    config = GlobalTokenConfig(dim=8, outputs=2, width=8, token_dim=8, num_tokens=2, heads=2)
    block = GlobalTokenBlock(config, 2)
    tokens = torch.randn(2, 2, 8)

    def run_block(x: Tensor, lengths: Tensor) -> Tensor:
        valid = ~beyond(x, lengths)[..., 0]
        return block(x[:, None], tokens[:, None], valid[:, None])[0][:, 0]

    pyramid = PyramidBlock(SoftmaxAttention(8, kind="fused"), 8, norm="pre", dropout=0.0)
    found = {
        "fused attention": SoftmaxAttention(8, kind="fused"),
        "stored attention": SoftmaxAttention(8, kind="stored"),
        "linear attention": LinearAttention(8, features=16),
        "selective scan": scan,
        "dilated convolution": dilated.eval(),
        "pyramid block": pyramid.mixed,
        "token exchange": lambda x, lengths: exchange(x, tokens, lengths)[0],
        "global-token block": run_block,
        "time pooled": lambda x, lengths: pool_time(x, lengths, 3)[0].repeat_interleave(3, dim=1)[:, :16],
        "mean": lambda x, lengths: mean_over_time(x, lengths)[:, None].expand_as(x),
        "maximum": lambda x, lengths: max_over_time(x, lengths)[:, None].expand_as(x),
    }
    return found


@pytest.mark.parametrize("rubbish", [torch.nan, torch.inf, 1e6])
@pytest.mark.parametrize("name", sorted(layers()))
def test_what_stands_in_padding_changes_no_bit_of_what_a_layer_gives_a_real_step(name: str, rubbish: float) -> None:
    layer, lengths = layers()[name], torch.tensor([16, 6])
    clean = torch.randn(2, 16, 8)
    clean[1, 6:] = 0
    dirty = clean.clone()
    dirty[1, 6:] = rubbish
    with torch.no_grad():
        expected, found = layer(clean, lengths), layer(dirty, lengths)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1, :6], expected[1, :6])


@pytest.mark.parametrize("name", sorted(DECODERS))
def test_parameter_groups_hold_every_parameter_once(name: str) -> None:
    decoder = small(name)
    grouped = [id(p) for group in decoder.param_groups(0.01, 0.1) for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in decoder.parameters())


@pytest.mark.parametrize("name", sorted(DECODERS))
def test_every_parameter_gets_a_gradient(name: str) -> None:
    decoder = small(name).train()
    decoder(torch.randn(4, 32, 12)).square().sum().backward()
    idle = [n for n, p in decoder.named_parameters() if p.grad is None or not p.grad.any()]
    # ASFormer's first blocks have windows of one step: there is nothing to choose from
    assert [n for n in idle if not (name == "asformer" and re.search(r"blocks\.0\.attention\.(query|key)", n))] == []


@pytest.mark.parametrize("name", sorted(DECODERS))
def test_saved_weights_give_the_same_scores_in_a_fresh_decoder(name: str) -> None:
    decoder, fresh = small(name).eval(), small(name).eval()
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    fresh.load_state_dict(decoder.state_dict())
    tokens = torch.randn(2, 32, 12)
    assert torch.equal(decoder(tokens), fresh(tokens))


def test_an_unknown_decoder_is_named_with_the_known_ones() -> None:
    with pytest.raises(DecoderError, match=r"'vismer'.*choose one of.*vis4mer"):
        build_decoder("vismer", dim=4, outputs=2)


def test_an_unknown_option_is_named_with_the_known_ones() -> None:
    with pytest.raises(DecoderError, match=r"has no option depth; it has .*layers"):
        build_decoder("vis4mer", dim=4, outputs=2, depth=3)


def test_tokens_of_another_width_are_refused() -> None:
    with pytest.raises(DecoderError, match="tokens are 5 wide, the decoder was built with dim=12"):
        small("mean-linear")(torch.randn(1, 8, 5))


WITH_STEPS: list[tuple[str, dict[str, object]]] = [
    ("vis4mer", {"max_length": 0}),
    ("vis4mer", {"max_length": 96, "bidirectional": True}),
    ("vis4mer", {"max_length": 0, "mixer": "s4d", "bidirectional": True}),
    ("vis4mer", {"max_length": 0, "mixer": "s5"}),
    ("hybrid", {"max_length": 0, "bidirectional": True}),
]


def smooth(tokens_a_second: int) -> torch.Tensor:
    """Twelve slow waves, seen for two seconds."""
    seconds = torch.arange(2 * tokens_a_second, dtype=torch.float64) / tokens_a_second
    return torch.stack([torch.sin((k + 1) * seconds + k) for k in range(12)], dim=-1)[None]


@pytest.mark.parametrize(("name", "options"), WITH_STEPS)
def test_told_that_tokens_come_twice_as_often_it_sees_what_it_saw(name: str, options: dict[str, object]) -> None:
    decoder = small(name, **options).double().eval()
    with torch.no_grad():
        before = decoder(smooth(64))
        unaware = (decoder(smooth(128)) - before).norm()
        assert decoder.rescale_time(2) == 2, "both blocks have steps"
        aware = (decoder(smooth(128)) - before).norm()
        assert aware < 0.25 * unaware
        decoder.rescale_time(0.5)
        torch.testing.assert_close(decoder(smooth(64)), before)


def test_the_selective_scan_told_that_tokens_come_twice_as_often_scans_the_same_seconds() -> None:
    scan = small("selective-scan", width=12, taps=1).double().eval().blocks[0].mix
    scan.norm = nn.Identity()  # it would hide most of the difference
    with torch.no_grad():
        scan.step_bias += 2  # so that the state counts beside the skip
        before = scan(smooth(64), None)
        unaware = (scan(smooth(128), None)[:, ::2] - before).norm()
        scan.rescale_time(2)
        assert (scan(smooth(128), None)[:, ::2] - before).norm() < 0.25 * unaware


def test_a_rescaled_decoder_keeps_its_time_scale_when_it_is_saved() -> None:
    for name in ("vis4mer", "selective-scan"):
        decoder, fresh = small(name).eval(), small(name).eval()
        decoder.rescale_time(4)
        fresh.load_state_dict(decoder.state_dict())
        assert torch.equal(decoder(smooth(16).float()), fresh(smooth(16).float()))


@pytest.mark.parametrize("name", ["vis4mer", "hybrid"])
def test_a_write_that_torch_does_not_count_is_seen_after_the_caches_are_dropped(name: str) -> None:
    decoder, fresh = Standardised(small(name), 12).eval(), Standardised(small(name), 12).eval()
    with torch.no_grad():
        decoder(smooth(16))
        for parameter in decoder.parameters():
            parameter.data.mul_(0.5)
        decoder.drop_caches()
        fresh.load_state_dict(decoder.state_dict())
        assert torch.equal(decoder(smooth(16)), fresh(smooth(16)))


def test_a_decoder_without_steps_says_so_and_an_impossible_factor_is_refused() -> None:
    gru = small("gru").eval()
    before = gru(smooth(16).float())
    assert gru.rescale_time(2) == 0
    assert torch.equal(gru(smooth(16).float()), before)
    for factor in (0, -1, float("nan"), float("inf")):
        with pytest.raises(DecoderError, match="must be a positive number"):
            small("vis4mer").rescale_time(factor)


@pytest.mark.gpu
@pytest.mark.parametrize("name", sorted(DECODERS))
def test_on_a_gpu_scores_and_gradients_are_those_of_the_cpu(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(selective, "fused_scan", lambda: None)  # tunes itself for minutes; `test_baselines.py` has it
    here, there = small(name), small(name).cuda()
    tokens, lengths = torch.randn(3, 32, 12), torch.tensor([32, 9, 20])
    expected, found = here(tokens, lengths), there(tokens.cuda(), lengths.cuda())
    assert_same_numbers(found, expected, terms=64, layers=16)
    expected.square().sum().backward()
    found.square().sum().backward()
    for (parameter_name, ours), theirs in zip(here.named_parameters(), there.parameters(), strict=True):
        assert theirs.grad is not None, parameter_name
        assert ours.grad is not None, parameter_name
        assert_same_numbers(theirs.grad, ours.grad, terms=96, layers=64, what=parameter_name)  # 96 steps of 3 items


@pytest.mark.gpu
@pytest.mark.parametrize("name", sorted(DECODERS))
def test_on_a_gpu_bfloat16_autocast_comes_near_float32(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selective, "fused_scan", lambda: None)
    decoder = small(name).cuda().eval()
    tokens = torch.randn(3, 32, 12, device="cuda")
    expected = decoder(tokens)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        found = decoder(tokens)
    assert (found.float() - expected).norm() < 0.05 * expected.norm()
