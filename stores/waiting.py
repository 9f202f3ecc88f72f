"""Waiting for a zarr store's coroutines, from any thread and after forks.

zarr runs its synchronous array functions in a thread of its own, which is not part of its public interface; the objects
of a store (documents, shards) are reached by coroutines only. They run here, in one daemon thread per process.
"""

import asyncio
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def wait_for(work: Coroutine[Any, Any, Result]) -> Result:
    """The result of the coroutine; its exceptions are raised here."""
    return asyncio.run_coroutine_threadsafe(work, _running_loop()).result()


def _running_loop() -> asyncio.AbstractEventLoop:
    global _loop
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, name="longvid-store", daemon=True).start()
        return _loop


def _start_anew() -> None:
    """After a fork: the child inherits the loop but not its thread, and perhaps a lock that another thread held."""
    global _lock, _loop
    _lock, _loop = threading.Lock(), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
