"""Which videos there are and what is asked of them."""

from longvid.datasets.folders import manifest_from_folder
from longvid.datasets.manifest import Manifest, ManifestRow
from longvid.datasets.splits import carve_split
from longvid.datasets.tasks import LabelTransform, Task, infer_task

__all__ = ["LabelTransform", "Manifest", "ManifestRow", "Task", "carve_split", "infer_task", "manifest_from_folder"]
