"""Every decoder is pretrained without a leak: what is predicted is not seen, padding changes nothing."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from longvid.decoders import DECODERS, build_decoder
from longvid.decoders.depth import layer_depths, with_layer_rates
from longvid.decoders.standardise import Standardised
from longvid.errors import ConfigError, DecoderError
from longvid.pretraining.models import pretraining_model
from longvid.pretraining.objective import ClipStatistics, Objective
from longvid.pretraining.surprise import SurpriseStream, boundaries_of, surprise_along

DIM = 6
PYRAMID: dict[str, object] = {"width": 8, "layers": 2, "dropout": 0.0}
SMALL: dict[str, dict[str, object]] = {
    "global-tokens": {"width": 8, "token_dim": 8, "num_tokens": 3, "heads": 2, "dilations": (1, 2), "dropout": 0.0},
    "gru": {"width": 8},
    "hybrid": PYRAMID | {"state_size": 8, "num_tokens": 3, "token_dim": 8, "heads": 2},
    "lstm": {"width": 8},
    "lv-mae": {"depth": 2, "heads": 2, "decoder_width": 8, "decoder_depth": 1, "decoder_heads": 2},
    "performer": PYRAMID | {"features": 16},
    "selective-scan": PYRAMID | {"state_size": 4, "chunk": 8},
    "temporal-convolution": {"width": 8, "layers": 3, "dropout": 0.0},
    "transformer": PYRAMID,
    "vis4mer": PYRAMID | {"state_size": 8, "bidirectional": True},
}
CAUSAL: dict[str, tuple[str, dict[str, object]]] = {
    "vis4mer": ("vis4mer", {"bidirectional": False}),
    "selective-scan": ("selective-scan", {}),
    "lstm": ("lstm", {}),
    "gru": ("gru", {}),
    "global-tokens": ("global-tokens", {"causal": True, "segment": 4}),
}


def model(name, *, objective=None, num_tokens=1, standardised=False, **options):
    torch.manual_seed(0)
    decoder = build_decoder(name, dim=DIM, outputs=1, max_length=24, **(SMALL[name] | options))
    decoder = Standardised(decoder, DIM) if standardised else decoder
    made = pretraining_model(decoder, objective or Objective(), dim=DIM, num_tokens=num_tokens).double().eval()
    made.begin(ClipStatistics(*(torch.full((DIM,), value, dtype=torch.float64) for value in (0.3, 1.2, 0.1))))
    return made


def batch(num_tokens=1):
    torch.manual_seed(1)
    tokens = torch.randn(3, 24 * num_tokens, DIM, dtype=torch.float64)
    masked = torch.rand(3, 24) < 0.5
    lengths = torch.tensor([24, 9, 16])
    for item, length in enumerate(lengths):
        masked[item, length:] = False
    return tokens, lengths * num_tokens, masked


@pytest.mark.parametrize("name", sorted(SMALL))
def test_predictions_of_masked_clips_do_not_depend_on_them(name):
    made, (tokens, lengths, masked) = model(name), batch()
    other = torch.where(masked[..., None], 100 * torch.randn_like(tokens), tokens)
    before, after = (made.predict(given, lengths, masked) for given in (tokens, other))
    for first, second in zip(before, after, strict=True):
        if first is not None:
            assert torch.equal(first[masked], second[masked])


@pytest.mark.parametrize("name", sorted(SMALL))
def test_a_padded_batch_has_the_losses_of_its_items(name):
    made, (tokens, lengths, masked) = model(name), batch()
    for item, length in enumerate(lengths):
        tokens[item, length:] = torch.nan
    together = made(tokens, lengths, masked)
    total, count = 0.0, 0
    for item, length in enumerate(lengths):
        alone = made(tokens[item : item + 1, :length], lengths[item : item + 1], masked[item : item + 1, :length])
        total, count = total + float(alone.loss) * alone.predicted, count + alone.predicted
    assert count == together.predicted
    torch.testing.assert_close(float(together.loss), total / count)
    together.total.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in made.parameters())


@pytest.mark.parametrize("name", sorted(SMALL))
def test_pretraining_reaches_every_parameter_below_the_head(name):
    made, (tokens, lengths, masked) = model(name), batch()
    made(tokens, lengths, masked).total.backward()
    heads = made.decoder.head_names
    still = [n for n, p in made.decoder.named_parameters() if p.grad is None and p.requires_grad]
    assert [n for n in still if not n.startswith(heads)] == []
    grouped = [id(p) for group in made.param_groups(1e-3, 0.1) for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in made.parameters() if p.requires_grad)


@pytest.mark.parametrize("name", sorted(set(SMALL) - {"lv-mae"}))
def test_the_clips_of_several_tokens_are_masked_whole(name):
    made, (tokens, lengths, masked) = model(name, num_tokens=3), batch(3)
    hidden = masked.repeat_interleave(3, 1)[..., None]
    other = torch.where(hidden, torch.randn_like(tokens), tokens)
    before, after = (made.predict(given, lengths, masked)[0] for given in (tokens, other))
    assert before.shape == (3, 24, DIM)
    assert torch.equal(before[masked], after[masked])


@pytest.mark.parametrize("name", CAUSAL)
def test_what_is_expected_of_later_clips_does_not_depend_on_them(name):
    decoder, options = CAUSAL[name]
    made = model(decoder, objective=Objective(name="next-clip", horizons=(1, 3)), num_tokens=2, **options)
    tokens, _, _ = batch(2)
    whole = made.predict(tokens, None)
    for clip in (3, 4, 10, 23):
        changed = tokens.clone()
        changed[:, 2 * (clip + 1) :] = 50.0
        torch.testing.assert_close(made.predict(changed, None)[:, : clip + 1], whole[:, : clip + 1])
        changed[:, 2 * clip + 1] += 1
        assert not torch.equal(made.predict(changed, None)[:, clip], whole[:, clip]), clip


@pytest.mark.parametrize("standardised", [False, True])
@pytest.mark.parametrize("name", ["vis4mer", "lstm", "gru", "global-tokens"])
def test_a_stream_is_as_surprised_as_one_pass(name, standardised):
    decoder, options = CAUSAL[name]
    objective = Objective(name="next-clip", horizons=(2, 1))
    made = model(decoder, objective=objective, num_tokens=2, standardised=standardised, **options)
    tokens = batch(2)[0][:1]
    cuts = [0, 1, 2, 7, 8, 31, 48]
    found, last = surprise_along(made, (tokens[:, a:b] for a, b in pairwise(cuts)))
    with torch.no_grad():
        expected = made.predict(tokens, None)[0, :-1, 1]
        target = made.targets(tokens, torch.tensor([48]))[0]
    assert np.isnan(found[0])
    np.testing.assert_allclose(found[1:], (expected - target[1:]).square().mean(1).numpy(), rtol=1e-9)
    np.testing.assert_allclose(last[1:], (target[:-1] - target[1:]).square().mean(1).numpy(), rtol=1e-9)


def test_a_decoder_that_sees_the_future_is_not_asked_for_it():
    for name in ("transformer", "hybrid", "temporal-convolution", "lv-mae", "vis4mer", "global-tokens"):
        with pytest.raises(DecoderError, match="sees the future"):
            model(name, objective=Objective(name="next-clip"))
    for name in ("mean-linear", "max-linear"):
        decoder = build_decoder(name, dim=DIM, outputs=1)
        with pytest.raises(DecoderError, match="cannot be pretrained"):
            pretraining_model(decoder, Objective(), dim=DIM, num_tokens=1)
    assert set(SMALL) | {"mean-linear", "max-linear"} <= set(DECODERS)


def test_lv_mae_takes_one_token_per_clip():
    with pytest.raises(DecoderError, match="one token per clip, and the store has 2"):
        model("lv-mae", num_tokens=2)


def test_a_masked_pretraining_has_no_surprise():
    with pytest.raises(ConfigError, match="next-clip"):
        SurpriseStream(model("gru"))


def test_boundaries_stand_where_surprise_rises_and_are_found_without_the_future():
    rng = np.random.default_rng(0)
    surprise = 1 + 0.1 * rng.standard_normal(200)
    surprise[0] = np.nan
    surprise[[60, 61, 120, 170]] = [4, 3, 4, 4]
    assert boundaries_of(surprise, threshold=4.0, gap=4) == [60, 120, 170]
    assert boundaries_of(surprise[:125], threshold=4.0, gap=4) == [60, 120]
    assert boundaries_of(np.ones(50), gap=4) == []


@pytest.mark.parametrize("name", sorted(SMALL))
def test_rates_fall_by_a_factor_per_layer_below_the_head(name):
    decoder = build_decoder(name, dim=DIM, outputs=5, max_length=24, **SMALL[name])
    depths, groups = layer_depths(decoder), decoder.param_groups(0.1, 0.01)
    top = max(depths.values())
    assert {depth for n, depth in depths.items() if n.startswith(decoder.head_names)} == {top}
    cut = with_layer_rates(groups, decoder, 0.5)
    rates = {id(p): group["lr"] for group in cut for p in group["params"]}
    before = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert len(rates) == len(before)
    for parameter_name, parameter in decoder.named_parameters():
        expected = before[id(parameter)] * 0.5 ** (top - depths[parameter_name])
        assert rates[id(parameter)] == pytest.approx(expected), parameter_name
    assert cut[0]["lr"] == 0.1
