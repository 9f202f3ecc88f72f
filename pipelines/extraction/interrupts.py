"""Ctrl-C while a cluster works: never halfway, only in this process."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType


@contextmanager
def hold_interrupts() -> Iterator[None]:
    """Ctrl-C within the block is raised at its end; a second Ctrl-C at once.

    Dask's part of the block runs in another thread: an interrupt would leave it half done, and it would print its own
    traceback. Outside the main thread (which alone gets interrupts), and where another handler is installed, the block
    runs unchanged.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is not signal.default_int_handler:
        yield
        return
    held = False

    def hold(number: int, frame: FrameType | None) -> None:
        nonlocal held
        if held:
            raise KeyboardInterrupt
        held = True

    signal.signal(signal.SIGINT, hold)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if held:
        raise KeyboardInterrupt


@contextmanager
def interrupts_blocked() -> Iterator[None]:
    """Threads and processes started in the block, and their children, never get SIGINT.

    A terminal sends it to every foreground process, and each worker would print a traceback; their parent ends them.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # started later by multiprocessing, it would unblock the signal again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
