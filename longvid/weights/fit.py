"""Copying a state dict into a module; every misfit is listed."""

from collections.abc import Iterable, Mapping
from itertools import dropwhile

import torch
from torch import Tensor, nn

from longvid.errors import WeightsError

LISTED = 12
"""Names per kind of misfit that an error lists before it only counts the rest."""


def fit_state(
    module: nn.Module,
    state: Mapping[str, Tensor],
    *,
    source: str,
    optional: Iterable[str] = (),
    unknown: Iterable[str] = (),
) -> None:
    """Copy `state` into `module`'s parameters and buffers, all or nothing.

    Shapes may differ by leading axes of length one only (a table stored with its batch axis); numbers take the module's
    precision. Entries named in `optional` may be missing; `unknown` names entries of the source that the caller found
    no place for. Raises one `WeightsError` that lists everything that does not fit.
    """
    shared = fit_shapes(module, state, source=source, optional=optional, unknown=unknown)
    own = module.state_dict()
    wrong = not_finite(state, parameters=(name for name, _ in module.named_parameters()))
    if wrong:
        raise WeightsError(f"{source}: holds NaN or infinity ({len(wrong)}): {_list(wrong)}; fetch or train them again")
    with torch.no_grad():
        for name in shared:
            own[name].copy_(state[name].reshape(own[name].shape))


def fit_shapes(
    module: nn.Module,
    state: Mapping[str, Tensor],
    *,
    source: str,
    optional: Iterable[str] = (),
    unknown: Iterable[str] = (),
) -> list[str]:
    """Names that module and state share. Raises one `WeightsError` that lists all names and shapes that do not fit."""
    own = module.state_dict()
    shared = sorted(own.keys() & state.keys())
    kinds = {
        "missing": sorted(own.keys() - state.keys() - set(optional)),
        "unknown": [*unknown, *sorted(state.keys() - own.keys())],
        "wrong shape": [_misfit(name, state[name], own[name]) for name in shared if not _fits(state[name], own[name])],
    }
    problems = [f"{kind} ({len(names)}): {_list(names)}" for kind, names in kinds.items() if names]
    if problems:
        raise WeightsError(f"{source}: does not fit {type(module).__name__}: {'; '.join(problems)}")
    return shared


def not_finite(state: Mapping[str, Tensor], *, parameters: Iterable[str]) -> list[str]:
    """Names of entries with NaN, and of `parameters` with infinity (a buffer may be a mask of infinities)."""
    learned = set(parameters)
    found = []
    for name in sorted(state):
        tensor = state[name]
        if not (tensor.is_floating_point() or tensor.is_complex()):
            continue
        total = tensor.sum(dtype=torch.complex64 if tensor.is_complex() else torch.float32)
        if torch.isfinite(total):  # then no term is NaN or infinite; otherwise look at each, as a sum may overflow
            continue
        if tensor.isnan().any() or (name in learned and not torch.isfinite(tensor).all()):
            found.append(name)
    return found


def _fits(given: Tensor, wanted: Tensor) -> bool:
    same_axes = _without_leading_ones(given.shape) == _without_leading_ones(wanted.shape)
    return same_axes and given.is_complex() == wanted.is_complex()


def _misfit(name: str, given: Tensor, wanted: Tensor) -> str:
    return f"{name} is {_describe(given)} where {_describe(wanted)} is needed"


def _describe(tensor: Tensor) -> str:
    return f"{'complex ' if tensor.is_complex() else ''}{tuple(tensor.shape)}"


def _without_leading_ones(shape: torch.Size) -> tuple[int, ...]:
    return tuple(dropwhile(lambda length: length == 1, shape))


def _list(names: list[str]) -> str:
    more = f", and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
