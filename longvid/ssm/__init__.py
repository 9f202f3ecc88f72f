"""State-space layers and the kernels they convolve with."""

from longvid.ssm.config import S4Config
from longvid.ssm.kernels.kernel import BACKENDS, s4_kernel
from longvid.ssm.layer import S4Layer
from longvid.ssm.system import StateSpace

__all__ = ["BACKENDS", "S4Config", "S4Layer", "StateSpace", "s4_kernel"]
