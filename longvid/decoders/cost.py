"""Operations and peak memory of a pass, counted without computing it.

The pass runs on torch's fake tensors, which have shapes, devices and lifetimes but no numbers, so counting a training
step on 11,820 x 1024 tokens takes seconds and no memory. Kernels are chosen as on the real device: fused attention is
counted as fused.
"""

import math
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten


@dataclass(frozen=True)
class Cost:
    """Cost of one pass."""

    operations: int
    """Operations of matrix products (two per multiply-add), convolutions, attention, recurrent cells and FFTs."""
    peak_bytes: int
    """Most bytes that the tensors made in the pass held at once; weights and input are not counted."""


def forward_cost(module: nn.Module, *inputs: Tensor) -> Cost:
    """Cost of a pass in evaluation mode without gradients."""

    def run(*fake: Tensor) -> None:
        with torch.no_grad():
            module(*fake)

    return _count(run, module.eval(), inputs)


def training_cost(module: nn.Module, *inputs: Tensor, dtype: torch.dtype | None = None) -> Cost:
    """Cost of a forward and a backward pass in training mode; `dtype`: under autocast to that type."""

    def run(*fake: Tensor) -> None:
        with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
            loss = module(*fake).float().sum()
        loss.backward()

    cost = _count(run, module.train(), inputs)
    module.zero_grad(set_to_none=True)  # gradients without numbers must not reach an optimiser
    return cost


def _count(run: Callable[..., None], module: nn.Module, inputs: tuple[Tensor, ...]) -> Cost:
    with FakeTensorMode(allow_non_fake_inputs=True) as fake:
        stand_ins = [fake.from_tensor(tensor) for tensor in inputs]
        weights = [fake.from_tensor(tensor) for tensor in (*module.parameters(), *module.buffers())]
        with _Meter() as meter:
            meter.leave_out([*stand_ins, *weights])
            run(*stand_ins)
    return Cost(meter.operations, meter.peak_bytes)


class _Meter(TorchDispatchMode):
    """Adds up the operations of every call, and follows each new storage until it is freed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # of torch
        self.operations = 0
        self.held_bytes = self.peak_bytes = 0
        self._watched: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        self.operations += operations_of(func._overloadpacket, args, kwargs, out)
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._watch(leaf)
        return out

    def leave_out(self, tensors: list[Tensor]) -> None:
        """Do not count these tensors, or views of them, as memory of the pass."""
        self._watched.update(tensor.untyped_storage()._cdata for tensor in tensors)

    def _watch(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._watched:
            return
        self._watched.add(key)
        size = storage.nbytes()
        self.held_bytes += size
        self.peak_bytes = max(self.peak_bytes, self.held_bytes)
        weakref.finalize(storage, self._release, key, size)

    def _release(self, key: int, size: int) -> None:
        self._watched.discard(key)
        self.held_bytes -= size


def operations_of(packet: Any, args: Any, kwargs: Any, out: Any) -> int:
    """Operations of one aten call."""
    if packet in flop_registry:
        return int(flop_registry[packet](*args, **kwargs, out_val=out))
    if packet in (aten._fft_r2c, aten._fft_c2r, aten._fft_c2c):
        return _fft_operations(packet, args[0], out)
    if packet is aten.mkldnn_rnn_layer:
        return _cell_operations(args)
    if packet is aten._scaled_dot_product_flash_attention_for_cpu:
        query, key, _ = args[:3]
        operations: int = 4 * query.numel() * key.shape[-2]
        return operations
    return 0


def _fft_operations(packet: Any, given: Tensor, made: Tensor) -> int:
    """5 n log2 n per complex transform of n points, half of that for a real one."""
    points = max(given.shape[-1], made.shape[-1])
    transforms = made.numel() // made.shape[-1]
    scale = 5.0 if packet is aten._fft_c2c else 2.5
    return int(scale * points * math.log2(max(points, 2)) * transforms)


def _cell_operations(args: Any) -> int:
    """Two operations per weight and step, for the input and the recurrent matrices."""
    tokens, *weights = args[:3]
    steps = tokens.shape[0] * tokens.shape[1]
    operations: int = 2 * steps * sum(weight.numel() for weight in weights)
    return operations
