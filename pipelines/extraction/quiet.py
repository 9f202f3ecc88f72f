"""Dask's scheduler and worker without the web page that each of them otherwise opens."""

from typing import Any

from distributed import Scheduler
from distributed.worker import Worker


class QuietScheduler(Scheduler):
    """A scheduler that listens on nothing but its own port."""

    def start_http_server(self, *_: Any, **__: Any) -> None:
        """Start none."""


class QuietWorker(Worker):
    """A worker that listens on nothing but its own port."""

    def start_http_server(self, *_: Any, **__: Any) -> None:
        """Start none."""
