"""LVU, Breakfast and COIN: their protocols and published results."""

from longvid.benchmarks.breakfast.benchmark import breakfast_benchmark
from longvid.benchmarks.coin.benchmark import coin_benchmark
from longvid.benchmarks.known_tasks import KNOWN_TASKS
from longvid.benchmarks.lvu.benchmark import lvu_benchmark
from longvid.benchmarks.protocols import PROTOCOLS
from longvid.benchmarks.published import published_results

__all__ = [
    "KNOWN_TASKS",
    "PROTOCOLS",
    "breakfast_benchmark",
    "coin_benchmark",
    "lvu_benchmark",
    "published_results",
]
