"""S4 and global tokens in one pyramid; each half can be switched off."""

import pytest
import torch

from longvid.decoders import build_decoder
from longvid.decoders.hybrid import PARTS, Hybrid
from longvid.decoders.vis4mer import ViS4mer
from longvid.errors import DecoderError


def hybrid(**options: object) -> Hybrid:
    torch.manual_seed(0)
    settings = {"width": 16, "layers": 2, "state_size": 8, "num_tokens": 3, "token_dim": 16, "dropout": 0.0} | options
    decoder = build_decoder("hybrid", dim=12, outputs=3, max_length=32, **settings).eval()
    assert isinstance(decoder, Hybrid)
    return decoder


def test_without_tokens_it_is_vis4mer() -> None:
    decoder = hybrid(without=("tokens",))
    tokens = torch.randn(2, 40, 12)
    assert isinstance(decoder.pyramid, ViS4mer)
    with torch.no_grad():
        assert torch.equal(decoder(tokens), decoder.pyramid(tokens))


def test_without_s4_it_is_blind_to_the_order_of_whole_groups() -> None:
    tokens = torch.randn(1, 32, 12, dtype=torch.float64)
    shuffled = tokens.unflatten(1, (8, 4))[:, torch.randperm(8)].flatten(1, 2)
    with torch.no_grad():
        for without, blind in ((("s4",), True), ((), False)):
            decoder = hybrid(without=without).double()
            assert torch.allclose(decoder(tokens), decoder(shuffled), atol=1e-7) is blind


@pytest.mark.parametrize("part", PARTS)
def test_each_part_can_be_left_out(part: str) -> None:
    decoder = hybrid(without=(part,)).train()
    decoder(torch.randn(2, 32, 12)).square().sum().backward()
    assert all(p.grad is not None for p in decoder.parameters() if p.requires_grad)


def test_the_dynamics_of_its_s4_layers_are_trained_gently() -> None:
    groups = hybrid().param_groups(0.01, 0.1)
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [(0.01, 0.1), (1e-3, 0.0)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"without": ("s4", "tokens")}, "nothing would mix time"),
        ({"without": ("pooling",)}, "should be 's4', 'tokens'"),
        ({"token_dim": 18}, "token_dim=18 cannot be cut into heads=4"),
    ],
)
def test_an_impossible_setting_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(DecoderError, match=message):
        hybrid(**options)
