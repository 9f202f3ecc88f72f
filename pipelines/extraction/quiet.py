"""Dask's scheduler and worker without the web page that each serves."""

from typing import Any

from distributed import Scheduler
from distributed.worker import Worker


class QuietScheduler(Scheduler):
    """A scheduler that listens only on its own port."""

    def start_http_server(self, *_: Any, **__: Any) -> None:
        """Do nothing."""


class QuietWorker(Worker):
    """A worker that listens only on its own port."""

    def start_http_server(self, *_: Any, **__: Any) -> None:
        """Do nothing."""
