"""Zero-shot classification: a baseline of words alone.

Each class becomes a text, "a video of {}"; a video's answer is the class whose text lies nearest to the mean of its
clips. Nothing is trained, so that it shows how much of a score the encoder's own pretraining already has.
"""

import numpy as np
from jaxtyping import Float

from longvid.errors import ConfigError
from longvid.pipelines.rebuilding import Given, text_encoder_of
from longvid.pipelines.training.data import video_features
from longvid.stores import FeatureStore
from longvid.tasks import Task
from longvid.windows import WindowDataset

SHARPNESS = 100.0
"""Factor of the cosines before the softmax, as CLIP learned it; it has no effect on the order of the classes."""


def zero_shot_scores(
    data: WindowDataset, task: Task, template: str, given: Given | None = None
) -> Float[np.ndarray, "videos classes"]:
    """Probabilities of the classes for each video of a data set, by their names alone.

    Raises `ConfigError` for a task that is not a classification and for a template without `{}`, `EncoderError` for a
    store whose features are not in a space with text.
    """
    if task.kind != "classification":
        raise ConfigError(f"--zero-shot: task {task.name!r} is a {task.kind}; only classes have a text each")
    if template.count("{}") != 1:
        raise ConfigError(f"--zero-shot {template!r}: write {{}} where the name of the class goes: 'a video of {{}}'")
    if not isinstance(data.store, FeatureStore):
        raise ConfigError("--zero-shot reads one store, and this run was trained on several")
    encode = text_encoder_of(data.store, given or Given())
    texts = encode([template.replace("{}", name.replace("_", " ")) for name in task.classes])
    videos = np.stack([_mean_direction(data, index) for index in range(len(data.rows))])
    logits = SHARPNESS * (videos @ texts.T)
    scores = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: np.ndarray = scores / scores.sum(axis=1, keepdims=True)
    return shares


def _mean_direction(data: WindowDataset, index: int) -> Float[np.ndarray, " dim"]:
    """The mean of a video's clips, each of length 1, itself of length 1."""
    total = np.zeros(data.store.recipe.dim)
    for clips in video_features(data, index):
        rows = clips.reshape(-1, clips.shape[-1]).astype(np.float64)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        total += (rows / np.maximum(lengths, np.finfo(np.float64).tiny)).sum(axis=0)
    return total / max(float(np.linalg.norm(total)), np.finfo(np.float64).tiny)
