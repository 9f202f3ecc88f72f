"""Dask's scheduler and worker without the web page that each serves."""

import logging
from typing import Any

from distributed import Scheduler
from distributed.worker import Worker


class QuietScheduler(Scheduler):
    """A scheduler that listens only on its own port."""

    def start_http_server(self, *_: Any, **__: Any) -> None:
        """Do nothing."""


class _NoLostHeartbeats(logging.Filter):
    """Leaves out the traceback of a heartbeat that met a scheduler which had just ended."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Everything but that; the worker itself ends or connects again, and its nanny says so."""
        return not record.getMessage().startswith("Failed to communicate with scheduler during heartbeat")


class QuietWorker(Worker):
    """A worker that listens only on its own port."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        logger = logging.getLogger("distributed.worker")
        if not any(isinstance(kept, _NoLostHeartbeats) for kept in logger.filters):
            logger.addFilter(_NoLostHeartbeats())
        super().__init__(*arguments, **options)

    def start_http_server(self, *_: Any, **__: Any) -> None:
        """Do nothing."""
