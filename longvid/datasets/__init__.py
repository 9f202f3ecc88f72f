"""Which videos there are and what is asked of them."""

from longvid.datasets.breakfast_benchmark import breakfast_benchmark
from longvid.datasets.coin_benchmark import coin_benchmark
from longvid.datasets.folders import manifest_from_folder
from longvid.datasets.known_tasks import KNOWN_TASKS
from longvid.datasets.lvu_benchmark import lvu_benchmark
from longvid.datasets.manifest import Manifest, ManifestRow
from longvid.datasets.protocols import PROTOCOLS
from longvid.datasets.published import published_results
from longvid.datasets.splits import carve_split
from longvid.datasets.tasks import LabelTransform, Task, infer_task

__all__ = [
    "KNOWN_TASKS",
    "PROTOCOLS",
    "LabelTransform",
    "Manifest",
    "ManifestRow",
    "Task",
    "breakfast_benchmark",
    "carve_split",
    "coin_benchmark",
    "infer_task",
    "lvu_benchmark",
    "manifest_from_folder",
    "published_results",
]
