"""Weights: their digest, safe reading of files, fitting into a module.

No pickle is ever executed.
"""

from longvid.weights.digest import state_sha256
from longvid.weights.files import Checkpoint, read_checkpoint
from longvid.weights.fit import fit_state

__all__ = [
    "Checkpoint",
    "fit_state",
    "read_checkpoint",
    "state_sha256",
]
