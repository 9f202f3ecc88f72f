"""Weights: what they are called, how they are loaded safely, how they are saved.

`load_official` builds a model from its authors' checkpoint; `save_weights` and `load_weights` keep our own as
safetensors with the configuration inside. No pickle is ever executed.
"""

from longvid.weights.digest import state_sha256
from longvid.weights.files import Checkpoint, read_checkpoint
from longvid.weights.fit import fit_state
from longvid.weights.official import OFFICIAL, OfficialLayout, load_official
from longvid.weights.own import OwnWeights, load_weights, read_weights, save_weights

__all__ = [
    "OFFICIAL",
    "Checkpoint",
    "OfficialLayout",
    "OwnWeights",
    "fit_state",
    "load_official",
    "load_weights",
    "read_checkpoint",
    "read_weights",
    "save_weights",
    "state_sha256",
]
