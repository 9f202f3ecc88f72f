"""A cache for a value computed from weights, valid until they change."""

from collections.abc import Callable, Hashable, Iterable
from typing import Any

import torch
from torch import Tensor


class WeightCache:
    """Keeps one value for one key and one state of the parameters.

    The state is each parameter's storage, dtype and version counter, so an optimiser step, `load_state_dict`, a move to
    another device and a swap of `.data` all drop the value. A write into the same storage through `.data`, such as
    `parameter.data.mul_(2)`, changes no counter and goes unnoticed: comparing the values themselves would cost a pass
    over them, and a wait for the device, on every call. After such a write call `drop_caches()` of the layer or the
    decoder, or `eval()`, which does the same. Nothing is kept where a gradient may be needed.
    """

    def __init__(self) -> None:
        self._key: Hashable = None
        self._value: Any = None

    def get(self, key: Hashable, parameters: Iterable[Tensor], make: Callable[[], Any]) -> Any:
        """The kept value if it is still valid, else `make()`."""
        if torch.compiler.is_compiling():  # the tensors of a trace, also of torch.export, have no storage to look at
            return make()
        parameters = list(parameters)
        wants_grad = torch.is_grad_enabled() and any(parameter.requires_grad for parameter in parameters)
        if wants_grad or any(parameter.is_inference() for parameter in parameters):
            self.drop()
            return make()
        inference = torch.is_inference_mode_enabled()
        state = tuple((p.data_ptr(), p._version, p.dtype, str(p.device)) for p in parameters)
        if self._key != (key, inference, state):
            self._key, self._value = (key, inference, state), make()
        return self._value

    def drop(self) -> None:
        """Forget."""
        self._key = self._value = None

    def __getstate__(self) -> dict[str, Any]:
        """A pickled or copied module starts with an empty cache."""
        return {"_key": None, "_value": None}
