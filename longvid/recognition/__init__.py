"""Training clips from video files, augmentation, multi-view testing.

Each name is imported when it is first used.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from longvid.recognition.augmentation import NO_AUGMENTATION, Augmentation
    from longvid.recognition.dataset import TrainingClips, collate_clips, normalised
    from longvid.recognition.mixing import Mixing, mixed
    from longvid.recognition.training_sampling import TrainingSampling

__all__ = [
    "NO_AUGMENTATION",
    "Augmentation",
    "Mixing",
    "TrainingClips",
    "TrainingSampling",
    "collate_clips",
    "mixed",
    "normalised",
]

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "augmentation": ["NO_AUGMENTATION", "Augmentation"],
        "dataset": ["TrainingClips", "collate_clips", "normalised"],
        "mixing": ["Mixing", "mixed"],
        "training_sampling": ["TrainingSampling"],
    },
)
