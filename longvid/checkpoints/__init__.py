"""Files of whole models: longvid's own, and those of models' authors.

`load_official` builds a model from its authors' checkpoint; `save_weights` and `load_weights` keep longvid's own as
safetensors with the configuration inside. No pickle is ever executed.
"""

from longvid.checkpoints.official import OFFICIAL, load_official
from longvid.checkpoints.own import load_weights
from longvid.weights.layout import OfficialLayout
from longvid.weights.saved import OwnWeights, read_weights, save_weights

__all__ = [
    "OFFICIAL",
    "OfficialLayout",
    "OwnWeights",
    "load_official",
    "load_weights",
    "read_weights",
    "save_weights",
]
