"""The S4 kernel's Cauchy sums by PyKeOps, compiled on first use.

No array of size (channel, n, frequency) is ever in memory. The real form is that of `longvid.ssm.kernels.cauchy`, which
never divides by zero. KeOps needs a C++ compiler (and nvcc for a GPU), so it is used only after `why_no_keops` has seen
a tiny kernel compile and give the right number in a process of its own: a compiler that hangs or crashes ends only that
process.
"""

import functools
import subprocess
import sys

import torch
from jaxtyping import Float
from torch import Tensor

from longvid.errors import BackendUnavailable
from longvid.ssm.kernels.cauchy import coefficients, frequencies
from longvid.ssm.kernels.dense import truncate
from longvid.ssm.kernels.resolvent import woodbury
from longvid.ssm.system import StateSpace

TRIAL_SECONDS = 300

TRIAL = """
import torch
from longvid.ssm.kernels.keops import resolvent_sums
numerators = torch.ones(1, 8, 1, device={device!r})
one = torch.ones(1, 1, device={device!r})
c, s = torch.tensor([1.0], device={device!r}), torch.tensor([0.0], device={device!r})
sums = resolvent_sums(numerators, one, -one, c, s)
assert torch.allclose(sums[0], torch.ones_like(sums[0])) and not sums[1].any(), sums
"""


def keops_kernel(system: StateSpace, length: int) -> Float[Tensor, "channel length"]:
    """Kernel K[t] for t < length. Raises BackendUnavailable where PyKeOps does not run."""
    problem = why_no_keops(system.step.device.type)
    if problem:
        raise BackendUnavailable(f"pykeops does not run on this machine ({problem}); use backend='auto'")
    dtype = system.step.dtype
    wide = truncate(system.double(), length)
    c, s = (t.to(dtype) for t in frequencies(wide.truncated_at, wide.step.device))
    numerators, modulus, decay = (t.to(dtype) for t in coefficients(wide))
    generating = woodbury(resolvent_sums(numerators, modulus, decay, c, s), c, s)
    kernel: Tensor = torch.fft.irfft(generating, n=wide.truncated_at)
    return kernel[:, :length]


def resolvent_sums(
    numerators: Float[Tensor, "channel 8 half"],
    modulus: Float[Tensor, "channel half"],
    decay: Float[Tensor, "channel half"],
    c: Float[Tensor, " frequency"],
    s: Float[Tensor, " frequency"],
) -> Float[Tensor, "2 channel 8 frequency"]:
    """Real and imaginary parts of the eight sums over n of numerator / ( c²|w'|² - 4s² - 4isc Re w' )."""
    import pykeops
    from pykeops.torch import LazyTensor

    pykeops.set_verbose(False)

    def over_frequencies(values: Tensor) -> LazyTensor:
        return LazyTensor(values.view(1, -1, 1, 1))

    def over_states(values: Tensor) -> LazyTensor:
        return LazyTensor(values[:, None, :, None].contiguous())

    terms = LazyTensor(numerators.mT[:, None].contiguous())  # channel 1 half 8
    real = over_frequencies(c * c) * over_states(modulus) - over_frequencies(4 * s * s)
    imaginary = over_frequencies(4 * s * c) * over_states(decay)
    scale = real * real + imaginary * imaginary
    both = (terms * (real / scale)).concat(
        terms * (imaginary / scale)
    )  # one reduction, so only one formula is compiled
    sums: Tensor = both.sum(dim=2)
    return sums.view(len(modulus), len(c), 2, 8).permute(2, 0, 3, 1)


@functools.cache
def why_no_keops(device: str) -> str:
    """Why PyKeOps does not run on this kind of device, in one line; empty where it has just run a tiny kernel."""
    try:
        trial = subprocess.run(
            [sys.executable, "-c", TRIAL.format(device=device)],
            capture_output=True,
            text=True,
            timeout=TRIAL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"a tiny kernel was not compiled within {TRIAL_SECONDS} s"
    if trial.returncode == 0:
        return ""
    lines = trial.stderr.strip().splitlines()
    return lines[-1] if lines else f"the trial ended with status {trial.returncode}"
