"""A separate process for work that may hang or crash.

    with WorkProcess() as process:
        value = process.submit(function, argument).result(timeout=60)      # after a timeout: process.end()

The process is a fresh interpreter that never imports the user's script, so a script needs no guard. Arguments and
results are pickled (by value where they are defined in a script or a notebook) and go through its standard input and
output. It ends when its input ends, that is with the process that started it.
"""

import faulthandler
import os
import pickle
import queue
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from typing import Any, BinaryIO

import cloudpickle

_LENGTH = struct.Struct("<Q")
_LONGEST_SECONDS = 1e6
"""Longest time of a watch dog; more does not fit its clock."""


class ProcessDied(Exception):
    """The process ended before it answered: it crashed, was killed, or was ended for being late."""


class UnpicklableWork(Exception):
    """The function or its arguments cannot be sent to another process."""


class WorkProcess:
    """One process that does up to `threads` calls at a time. The first call starts it, also after it has died.

    The owner ends a call that takes too long. A process whose owner was killed ends by itself when no call has started
    or ended in it for `orphan_seconds`.
    """

    def __init__(self, *, threads: int = 1, orphan_seconds: float = 2 * 3600.0) -> None:
        self._settings = (threads, min(orphan_seconds, _LONGEST_SECONDS))
        self._lock = threading.Lock()
        self._running: _Running | None = None
        self._waiting: dict[int, Future[Any]] = {}
        self._next = 0

    def __enter__(self) -> "WorkProcess":
        return self

    def __exit__(self, *exc: object) -> None:
        self.end()

    @property
    def pid(self) -> int | None:
        """The id of the running process; None if none runs."""
        running = self._running
        return None if running is None else running.process.pid

    def submit(self, function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        """The call's future: its value, what it raised, or `ProcessDied`. Raises `UnpicklableWork`."""
        try:
            call = cloudpickle.dumps((function, arguments))
        except Exception as error:
            raise UnpicklableWork(f"{type(error).__name__}: {error}") from error
        future: Future[Any] = Future()
        with self._lock:
            if self._running is None:
                self._running = _Running(self._settings, on_answer=self._answered, on_end=self._ended)
            number, self._next = self._next, self._next + 1
            self._waiting[number] = future
            self._running.send(pickle.dumps((number, call)))
        return future

    def end(self) -> None:
        """End the process now, whatever it does; its calls raise `ProcessDied`."""
        with self._lock:
            running, self._running = self._running, None
            waiting, self._waiting = self._waiting, {}
        if running is not None:
            running.kill()
        _fail(waiting, "it was ended")

    def _answered(self, frame: bytes) -> None:
        number, succeeded, answer = pickle.loads(frame)
        with self._lock:
            future = self._waiting.pop(number, None)
        if future is not None:
            _settle(future, answer, succeeded=succeeded)

    def _ended(self, running: "_Running", status: int) -> None:
        with self._lock:
            if self._running is not running:
                return
            self._running = None
            waiting, self._waiting = self._waiting, {}
        _fail(waiting, f"it was killed by signal {-status}" if status < 0 else f"it ended with status {status}")


class _Running:
    """A process with the threads that write to it and read from it, so that no caller waits for a full pipe."""

    def __init__(
        self,
        settings: tuple[int, float],
        *,
        on_answer: Callable[[bytes], None],
        on_end: Callable[["_Running", int], None],
    ) -> None:
        # `-c` and the same `sys.path`: nothing of the working folder is imported that this process would not import
        code = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import serve; serve(*{settings!r})"
        # in a group of its own: Ctrl-C in a terminal is for the parent, which ends its processes
        group: dict[str, Any] = {"process_group": 0} if os.name == "posix" else {}
        command = [sys.executable, "-c", code]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **group)
        self._calls: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._on_answer, self._on_end = on_answer, on_end
        for target in (self._write, self._read):
            threading.Thread(target=target, name="longvid-process", daemon=True).start()

    def send(self, frame: bytes) -> None:
        """Queue a frame for the process."""
        self._calls.put(frame)

    def kill(self) -> None:
        """End the process and wait until it has ended."""
        self.process.kill()
        self.process.wait()

    def _write(self) -> None:
        assert self.process.stdin is not None
        try:
            with self.process.stdin as stream:
                while (frame := self._calls.get()) is not None:
                    _write_frame(stream, frame)
        except OSError:  # it died; `_read` sees that too, and reports it
            return

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            for frame in _frames(stream):
                self._on_answer(frame)
        status = self.process.wait()
        self._calls.put(None)
        self._on_end(self, status)


def _settle(future: "Future[Any]", answer: bytes, *, succeeded: bool) -> None:
    try:
        value = pickle.loads(answer)
    except Exception as error:  # noqa: BLE001 -- carried to the caller, which raises it
        value, succeeded = error, False
    try:
        future.set_result(value) if succeeded else future.set_exception(value)
    except InvalidStateError:  # cancelled: nobody waits any more
        return


def _fail(waiting: "dict[int, Future[Any]]", why: str) -> None:
    for future in waiting.values():
        try:
            future.set_exception(ProcessDied(why))
        except InvalidStateError:
            continue


def _write_frame(stream: Any, frame: bytes) -> None:
    stream.write(_LENGTH.pack(len(frame)) + frame)
    stream.flush()


def _frames(stream: Any) -> Iterator[bytes]:
    """Frames until the stream ends; a last, cut one is left out."""
    while len(head := stream.read(_LENGTH.size)) == _LENGTH.size:
        (length,) = _LENGTH.unpack(head)
        frame = stream.read(length)
        if len(frame) < length:
            return
        yield frame


def serve(threads: int, orphan_seconds: float) -> None:
    """Main loop of the process: calls from standard input, answers to standard output, until the input ends."""
    calls, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    # output of libraries must not mix with the answers, and nothing else may read the calls
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    dog = _WatchDog(orphan_seconds)
    lock = threading.Lock()

    def work(number: int, call: bytes) -> None:
        frame = pickle.dumps((number, *_outcome(call)))
        dog.ended()
        with lock:
            _write_frame(answers, frame)

    pool = ThreadPoolExecutor(threads, thread_name_prefix="longvid-work")
    for frame in _frames(calls):
        dog.began()
        pool.submit(work, *pickle.loads(frame))
    os._exit(0)  # the parent is gone or wants nothing more, so wait for nothing


class _WatchDog:
    """Ends this process when it works for too long, even if C code never releases the interpreter lock."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._silence: BinaryIO = open(os.devnull, "wb")  # noqa: SIM115 -- for as long as the process lives
        self._lock, self._calls = threading.Lock(), 0

    def began(self) -> None:
        """One more call is under way."""
        self._count(1)

    def ended(self) -> None:
        """A call has ended."""
        self._count(-1)

    def _count(self, change: int) -> None:
        with self._lock:
            self._calls += change
            if self._calls:
                faulthandler.dump_traceback_later(self._seconds, exit=True, file=self._silence)
            else:
                faulthandler.cancel_dump_traceback_later()


def _outcome(call: bytes) -> tuple[bool, bytes]:
    """Whether the call succeeded, and its value or what it raised, pickled."""
    try:
        function, arguments = pickle.loads(call)
        return True, cloudpickle.dumps(function(*arguments))
    except BaseException as error:  # noqa: BLE001 -- travels to the caller, which raises it
        try:
            pickle.loads(sent := cloudpickle.dumps(error))
        except Exception:  # noqa: BLE001 -- an exception that does not survive pickling is sent as text
            sent = cloudpickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
        return False, sent
