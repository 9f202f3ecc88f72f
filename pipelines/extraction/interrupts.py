"""Ctrl-C while a cluster works: at a moment when nothing is half done, and for this process alone."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType


@contextmanager
def hold_interrupts() -> Iterator[None]:
    """Ctrl-C within the block is raised at its end; the second one at once.

    What dask does in the block runs in another thread: an interrupt in between would leave it half done there, and
    what then fails prints a traceback of its own. In a thread other than the main one, which gets no interrupt, and
    where somebody else handles it, the block is run as it is.
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
    """Threads and processes started in the block, and by those, never get SIGINT.

    A terminal sends it to every process of the foreground; to end the workers is their parent's work, and each would
    answer with a traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # when multiprocessing starts it later, that unblocks the signal again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
