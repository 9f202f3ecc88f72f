"""Typical mistakes in ViS4mer and its S4 layer make golden fixtures fail."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from longvid.decoders import pyramid
from longvid.ssm import mixer
from longvid.ssm import s4 as low_rank
from longvid.ssm.kernels import cauchy, dense, kernel, resolvent
from longvid.ssm.s4 import LowRankMixer
from longvid.ssm.system import StateSpace

Bites = Callable[[str, str], None]

system_of: Callable[[LowRankMixer], StateSpace] = LowRankMixer.system


def q_tied_to_p(self: LowRankMixer) -> StateSpace:
    system = system_of(self)
    return system._replace(q=system.p)


def output_map_conjugated(self: LowRankMixer) -> StateSpace:
    system = system_of(self)
    return system._replace(c=system.c.conj().resolve_conj())


def input_and_correction_swapped(self: LowRankMixer) -> StateSpace:
    system = system_of(self)
    return system._replace(b=system.p, p=system.b)


def step_not_exponentiated(self: LowRankMixer) -> StateSpace:
    system = system_of(self)
    return system._replace(step=self.log_step.abs())


def output_map_not_truncated(self: LowRankMixer) -> StateSpace:
    return system_of(self)._replace(truncated_at=0)


SYSTEM_MISTAKES = [q_tied_to_p, output_map_conjugated, input_and_correction_swapped, step_not_exponentiated]


@pytest.mark.parametrize("layout", ["model", "layer"])
@pytest.mark.parametrize("mistake", SYSTEM_MISTAKES, ids=lambda mistake: mistake.__name__)
def test_golden_files_catch_a_mistake_in_the_system(
    mistake: Callable[[LowRankMixer], StateSpace], layout: str, monkeypatch: pytest.MonkeyPatch, golden_bites: Bites
) -> None:
    monkeypatch.setattr(low_rank.LowRankMixer, "system", mistake)
    golden_bites("vis4mer", layout)


def test_golden_kernels_catch_the_other_meaning_of_the_stored_output_map(
    monkeypatch: pytest.MonkeyPatch, golden_bites: Bites
) -> None:
    def untruncated_backend(system: StateSpace, length: int) -> Tensor:
        return kernel.BACKENDS["dense-power"](system._replace(truncated_at=0), length)

    monkeypatch.setitem(kernel.BACKENDS, "cauchy", untruncated_backend)
    golden_bites("vis4mer", "layer")
    golden_bites("vis4mer", "model")


def no_correction(sums: Tensor, c: Tensor, s: Tensor) -> Tensor:
    cb = resolvent._resolvents(sums, c, s)[0]
    return (cb * torch.complex(c, s))[:, 0]


def test_golden_kernels_catch_a_forgotten_low_rank_correction(
    monkeypatch: pytest.MonkeyPatch, golden_bites: Bites
) -> None:
    monkeypatch.setattr(resolvent, "woodbury", no_correction)
    for layout in ("model", "layer", "successor, low rank"):
        golden_bites("vis4mer", layout)


def test_golden_models_catch_a_pooling_by_maximum(monkeypatch: pytest.MonkeyPatch, golden_bites: Bites) -> None:
    def halve_by_maximum(x: Tensor) -> Tensor:
        pairs = x.shape[1] // 2
        return x[:, : 2 * pairs].unflatten(1, (pairs, 2)).amax(dim=2)

    monkeypatch.setattr(pyramid, "halve", halve_by_maximum)
    golden_bites("vis4mer", "model")


def test_golden_files_catch_a_forgotten_skip(monkeypatch: pytest.MonkeyPatch, golden_bites: Bites) -> None:
    monkeypatch.setattr(mixer.ConvolutionMixer, "_with_skip", lambda self, length: self.system_kernels(length))
    for layout in ("model", "layer", "successor, low rank", "successor, diagonal"):
        golden_bites("vis4mer", layout)


def test_golden_successors_catch_a_backward_kernel_that_sees_the_present(
    monkeypatch: pytest.MonkeyPatch, golden_bites: Bites
) -> None:
    convolve = mixer.convolve

    def without_gap(u: Tensor, forward: Tensor, *backward: Tensor) -> Tensor:
        y = convolve(u, forward)
        return y if not backward else y + convolve(u.flip(-1), backward[0]).flip(-1)

    monkeypatch.setattr(mixer, "convolve", without_gap)
    golden_bites("vis4mer", "successor, low rank")


def test_the_golden_layer_catches_an_input_column_of_another_rule(
    monkeypatch: pytest.MonkeyPatch, golden_bites: Bites
) -> None:
    discretise = dense.discretise

    def input_column_without_its_correction(system: StateSpace) -> dense.DenseSystem:
        return discretise(system)._replace(B=discretise(system._replace(q=torch.zeros_like(system.q))).B)

    monkeypatch.setattr("longvid.ssm.kernels.powers.discretise", input_column_without_its_correction)
    golden_bites("vis4mer", "layer")
    golden_bites("vis4mer", "model")


def test_the_odd_golden_files_catch_the_exact_kernel_in_place_of_the_official_one(
    monkeypatch: pytest.MonkeyPatch, golden_check: Callable[[Path, str], None]
) -> None:
    monkeypatch.setattr(kernel, "even_cauchy_kernel", cauchy.cauchy_kernel)
    for name in ("model_postnorm_odd", "s4_odd_lmax"):
        with pytest.raises(AssertionError, match="differs by"):
            golden_check(Path(__file__).parent / "vis4mer" / f"{name}.npz", "vis4mer")
