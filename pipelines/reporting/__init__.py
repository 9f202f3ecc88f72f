"""One self-contained HTML page about training runs.

It shows tables, curves, confusions, and scores along videos.
"""

from longvid.pipelines.reporting.page import report

__all__ = ["report"]
