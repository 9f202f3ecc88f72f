"""`longvid bench` measures longvid's claims on this machine.

Each claim is measured beside a peer or a limit. One file per bench, with `run(*, quick: bool = False) -> BenchTable`.
Every claim is a ratio of things measured in the same run, alternating (A B A B), because machines are shared and noisy.
"""

from longvid.pipelines.bench.table import BenchTable

__all__ = ["BenchTable"]
