"""Tasks: which videos there are, and what is asked of them."""

from longvid.tasks.folders import manifest_from_folder
from longvid.tasks.manifest import Manifest, ManifestRow
from longvid.tasks.splits import carve_split
from longvid.tasks.task import LabelTransform, Task, infer_task

__all__ = [
    "LabelTransform",
    "Manifest",
    "ManifestRow",
    "Task",
    "carve_split",
    "infer_task",
    "manifest_from_folder",
]
