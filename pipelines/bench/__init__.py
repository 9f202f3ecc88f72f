"""`longvid bench`: the numbers longvid claims, measured on this machine, beside the peer or the limit.

One file a bench, each with `run(*, quick: bool = False) -> BenchTable`. Every claim is a ratio of things measured in
the same run, alternating (A B A B), because machines are shared and noisy.
"""

from longvid.pipelines.bench.table import BenchTable

__all__ = ["BenchTable"]
