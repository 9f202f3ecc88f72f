"""The S4 layer: its three ways to compute agree, padding cannot leak, and its caches follow the weights."""

import copy
import pickle

import pytest
import torch
from rounding import assert_same_numbers
from torch import Tensor

from longvid.errors import DecoderError
from longvid.ssm import S4Config, S4Layer
from longvid.ssm.kernels.dense import discretise
from longvid.ssm.layer import MIXERS

MIXER_NAMES = sorted(MIXERS)
MEMORY = 1000
"""Steps a state remembers: the longest time scale a layer starts with, 1 / 0.001. So many terms reach an output."""


def layer_of(mixer: str = "s4", **options: object) -> S4Layer:
    torch.manual_seed(1)
    config = {"channels": 6, "state_size": 16, "max_length": 50} | options
    return S4Layer(S4Config(mixer=mixer, **config)).eval()  # type: ignore[arg-type]


def by_steps(layer: S4Layer, x: Tensor) -> Tensor:
    state = layer.initial_state(len(x))
    outputs = []
    for token in x.unbind(1):
        output, state = layer.step(token, state)
        outputs.append(output)
    return torch.stack(outputs, dim=1)


def by_chunks(layer: S4Layer, x: Tensor, sizes: list[int]) -> Tensor:
    state = layer.initial_state(len(x))
    outputs = []
    for chunk in x.split(sizes, dim=1):
        output, state = layer.carry(chunk, state)
        outputs.append(output)
    return torch.cat(outputs, dim=1)


@pytest.mark.parametrize("max_length", [0, 50])
@pytest.mark.parametrize("mixer", MIXER_NAMES)
def test_convolution_steps_and_chunks_agree(mixer: str, max_length: int) -> None:
    layer = layer_of(mixer, max_length=max_length).double()
    x = torch.randn(2, 150, 6, dtype=torch.float64)
    with torch.no_grad():
        whole = layer(x)
        torch.testing.assert_close(by_steps(layer, x), whole)
        torch.testing.assert_close(by_chunks(layer, x, [1, 75, 74]), whole)


@pytest.mark.parametrize("mixer", MIXER_NAMES)
def test_chunks_agree_with_the_convolution_over_20000_steps_in_float32(mixer: str) -> None:
    layer = layer_of(mixer, channels=2, max_length=0)
    x = torch.randn(1, 20_000, 2)
    with torch.no_grad():
        assert_same_numbers(by_chunks(layer, x, [4096] * 4 + [3616]), layer(x), terms=MEMORY)


@pytest.mark.parametrize("length", [2_000, pytest.param(20_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("mixer", MIXER_NAMES)
def test_steps_agree_with_the_convolution_in_float32(mixer: str, length: int) -> None:
    layer = layer_of(mixer, channels=2, max_length=0)
    x = torch.randn(1, length, 2)
    with torch.no_grad():
        assert_same_numbers(by_steps(layer, x), layer(x), terms=MEMORY)


@pytest.mark.parametrize("bidirectional", [False, True], ids=["causal", "bidirectional"])
@pytest.mark.parametrize("mixer", MIXER_NAMES)
def test_a_padded_item_gets_what_it_gets_alone(mixer: str, bidirectional: bool) -> None:
    layer = layer_of(mixer, bidirectional=bidirectional).double()
    x = torch.randn(2, 40, 6, dtype=torch.float64)
    with torch.no_grad():
        together = layer(x, torch.tensor([40, 23]))
        torch.testing.assert_close(together[0], layer(x[:1])[0])
        torch.testing.assert_close(together[1, :23], layer(x[1:, :23])[0])


@pytest.mark.parametrize("rubbish", [torch.nan, torch.inf, 1e6])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["causal", "bidirectional"])
@pytest.mark.parametrize("mixer", MIXER_NAMES)
def test_what_stands_in_padding_changes_no_bit_of_an_output_or_a_gradient(
    mixer: str, bidirectional: bool, rubbish: float
) -> None:
    found = []
    for content in (0.0, rubbish):
        layer = layer_of(mixer, bidirectional=bidirectional)
        x = torch.linspace(-1, 1, 2 * 40 * 6).view(2, 40, 6)
        x[1, 23:] = content
        y = layer(x, torch.tensor([40, 23]))
        (y[0].square().sum() + y[1, :23].square().sum()).backward()
        found.append([y[0], y[1, :23], *(parameter.grad for parameter in layer.parameters())])
    assert all(torch.equal(clean, dirty) for clean, dirty in zip(*found, strict=True))


@pytest.mark.parametrize("mixer", MIXER_NAMES)
def test_only_a_bidirectional_layer_sees_the_future(mixer: str) -> None:
    x = torch.randn(1, 30, 6, dtype=torch.float64)
    changed = x.clone()
    changed[:, 20:] += 1
    with torch.no_grad():
        for bidirectional in (False, True):
            layer = layer_of(mixer, bidirectional=bidirectional).double()
            same = torch.allclose(layer(x)[:, :20], layer(changed)[:, :20], atol=1e-7)
            assert same is not bidirectional


@pytest.mark.parametrize("mixer", MIXER_NAMES)
def test_a_bidirectional_layer_refuses_to_stream(mixer: str) -> None:
    layer = layer_of(mixer, bidirectional=True)
    with pytest.raises(DecoderError, match="bidirectional layer cannot stream"):
        layer.step(torch.randn(1, 6), layer.initial_state(1))


def test_any_length_leaves_the_weights_alone() -> None:
    layer = layer_of(max_length=50).double()
    before = copy.deepcopy(layer.state_dict())
    with torch.no_grad():
        long = layer(torch.ones(1, 333, 6, dtype=torch.float64))
        torch.testing.assert_close(layer(torch.ones(1, 20, 6, dtype=torch.float64)), long[:, :20])
    assert all(torch.equal(tensor, before[name]) for name, tensor in layer.state_dict().items())


@pytest.mark.parametrize("mixer", ["s4", "s4d"])
def test_evaluation_computes_the_kernel_once(mixer: str) -> None:
    layer = layer_of(mixer)
    with torch.no_grad():
        assert layer.mixer.kernels(50) is layer.mixer.kernels(50)
        assert layer.mixer.kernels(51) is not layer.mixer.kernels(50)
    assert layer.mixer.kernels(50) is not layer.mixer.kernels(50)  # gradients wanted


def optimiser_step(layer: S4Layer) -> None:
    optimiser = torch.optim.AdamW(layer.parameters(), lr=0.1)
    layer(torch.randn(1, 50, 6, dtype=torch.float64)).sum().backward()
    optimiser.step()


def load_other_weights(layer: S4Layer) -> None:
    torch.manual_seed(2)
    layer.load_state_dict(S4Layer(layer.config).state_dict())


def swap_data(layer: S4Layer) -> None:
    layer.mixer.log_step.data = layer.mixer.log_step.data + 1


def write_in_place(layer: S4Layer) -> None:
    with torch.no_grad():
        layer.mixer.c.mul_(2)


def narrow_and_widen(layer: S4Layer) -> None:
    layer.float().double()
    write_in_place(layer)


def write_behind_torchs_back_and_say_so(layer: S4Layer) -> None:
    layer.mixer.c.data.mul_(2)
    layer.drop_caches()


def write_behind_torchs_back_and_evaluate(layer: S4Layer) -> None:
    layer.mixer.c.data.mul_(2)
    layer.eval()


@pytest.mark.parametrize(
    "change",
    [
        optimiser_step,
        load_other_weights,
        swap_data,
        write_in_place,
        narrow_and_widen,
        write_behind_torchs_back_and_say_so,
        write_behind_torchs_back_and_evaluate,
    ],
    ids=lambda change: change.__name__,
)
@pytest.mark.parametrize("mixer", ["s4", "s4d"])
def test_a_change_of_weights_drops_the_cached_kernel_and_tables(mixer: str, change) -> None:  # type: ignore[no-untyped-def]
    layer = layer_of(mixer).double()
    x = torch.randn(1, 50, 6, dtype=torch.float64)
    with torch.no_grad():
        old = layer(x), by_chunks(layer, x, [50]), by_steps(layer, x)
    change(layer)
    fresh = S4Layer(layer.config).double().eval()
    fresh.load_state_dict(layer.state_dict())
    with torch.no_grad():
        new = layer(x), by_chunks(layer, x, [50]), by_steps(layer, x)
        wanted = fresh(x)
    for before, after in zip(old, new, strict=True):
        assert not torch.allclose(before, after, atol=1e-3)
        torch.testing.assert_close(after, wanted)


def test_what_inference_mode_cached_can_be_trained_through_afterwards() -> None:
    layer = layer_of().requires_grad_(False)
    x = torch.randn(1, 50, 6)
    with torch.inference_mode():
        layer(x)
    x.requires_grad_()
    layer(x).sum().backward()
    assert x.grad is not None


def test_a_pickled_layer_leaves_its_cache_behind() -> None:
    layer = layer_of()
    with torch.no_grad():
        plain = len(pickle.dumps(layer))
        expected = layer(torch.ones(1, 50_000, 6))
    assert len(pickle.dumps(layer)) < plain + 100
    with torch.no_grad():
        assert torch.equal(pickle.loads(pickle.dumps(layer))(torch.ones(1, 50_000, 6)), expected)


@pytest.mark.parametrize("mixer", MIXER_NAMES)
def test_autocast_keeps_the_convolution_in_float32(mixer: str) -> None:
    layer = layer_of(mixer)
    x = torch.randn(1, 50, 6)
    with torch.no_grad():
        plain = layer.mixer(x.transpose(1, 2))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            seen = []
            handle = layer.activation.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
            layer(x)
            handle.remove()
    assert torch.equal(seen[0], plain.transpose(1, 2))


def test_dropout_drops_whole_channels_of_an_item() -> None:
    layer = S4Layer(S4Config(64, state_size=4, dropout=0.5)).train()
    kept = layer.dropout(torch.ones(3, 10, 64))
    assert torch.equal(kept, kept[:, :1].expand_as(kept))
    assert set(kept.unique().tolist()) == {0.0, 2.0}
    assert not torch.equal(kept[0], kept[1])


@pytest.mark.parametrize("mixer", MIXER_NAMES)
def test_every_parameter_learns(mixer: str) -> None:
    for options in (
        {},
        {"bidirectional": True, "gated": True},
        {"eigenvalues": "channel", "discretisation": "bilinear"},
        {"state_matrix": "free"},
    ):
        layer = layer_of(mixer, **options)
        layer(torch.randn(2, 50, 6)).square().sum().backward()
        assert [name for name, p in layer.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("seed", range(5))
def test_no_weights_can_make_a_stable_state_matrix_grow(seed: int) -> None:
    spread = {}
    for state_matrix in ("stable", "free"):
        torch.manual_seed(seed)
        mixer = layer_of("s4", channels=8, state_matrix=state_matrix).mixer.double()
        with torch.no_grad():
            for parameter in mixer.parameters():
                parameter.add_(torch.randn_like(parameter) * 2)
        spread[state_matrix] = torch.linalg.eigvals(discretise(mixer.system()).A).abs().max().item()
    assert spread["stable"] <= 1
    assert spread["free"] > 1


@pytest.mark.parametrize("discretisation", ["zoh", "bilinear"])
@pytest.mark.parametrize("start", ["legs", "lin", "inv"])
def test_the_diagonal_kernel_equals_its_recurrence_over_a_long_time(start: str, discretisation: str) -> None:
    layer = layer_of("s4d", channels=2, start=start, discretisation=discretisation)
    impulse = torch.zeros(1, 3000, 2)
    impulse[:, 0] = 1
    with torch.no_grad():
        state = layer.mixer.double().initial_state(1)
        outputs = []
        for token in impulse.double().unbind(1):
            output, state = layer.mixer.step(token, state)
            outputs.append(output)
        expected = torch.stack(outputs, dim=-1)
        found = layer.mixer.float().kernels(3000)
    assert_same_numbers(
        found, expected, terms=16, layers=3
    )  # 16 states; two thin matrices of powers, and their product


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"state_size": 5}, "state_size=5 must be even"),
        ({"state_matrix": "tied"}, "state_matrix='tied': should be 'stable' or 'free'"),
        ({"mixer": "s6"}, "mixer='s6': should be 's4', 's4d' or 's5'"),
        ({"step_range": (0.1, 0.01)}, "two rising positive numbers"),
        ({"dropout": 1.0}, "dropout=1.0: should be less than 1"),
        ({"channels": 0}, "channels=0"),
        ({"max_length": -1}, "max_length=-1"),
    ],
)
def test_an_impossible_setting_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(DecoderError, match=message):
        S4Layer(S4Config(**({"channels": 4} | options)))  # type: ignore[arg-type]
