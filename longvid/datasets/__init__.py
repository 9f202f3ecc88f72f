"""Which videos there are and what is asked of them."""

from longvid.benchmarks.breakfast.benchmark import breakfast_benchmark
from longvid.benchmarks.coin.benchmark import coin_benchmark
from longvid.benchmarks.known_tasks import KNOWN_TASKS
from longvid.benchmarks.lvu.benchmark import lvu_benchmark
from longvid.benchmarks.protocols import PROTOCOLS
from longvid.benchmarks.published import published_results
from longvid.tasks.folders import manifest_from_folder
from longvid.tasks.manifest import Manifest, ManifestRow
from longvid.tasks.splits import carve_split
from longvid.tasks.task import LabelTransform, Task, infer_task

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
