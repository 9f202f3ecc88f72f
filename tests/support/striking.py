"""A process that runs `longvid` many times, each time in a fork of its own, and strikes it where it is told to.

Reads a `Strike` a line from standard input and answers each with what became of the command, a JSON object a line. All
is imported once, before the forks, so that a run takes a fraction of a second. What strikes are the system's own means:
a signal, a file system that is full, a folder without permission. Nothing of longvid is replaced.

Places in a run are counted by what it asks of the system below `folder`: each file opened for writing, each rename,
removal, new folder and flush to the disk, in order.
"""

import faulthandler
import json
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Fault = Literal["kill", "stop", "full", "no inodes", "forbidden", "largest file"]


@dataclass(frozen=True)
class Strike:
    """One run of the command line and what befalls it."""

    words: list[str]
    folder: str
    """What happens below it is counted."""
    out: str
    """A file for what is printed; with `.err`, one for errors, and with `.events`, for what was counted."""
    fault: Fault | None = None
    number: int | None = None
    """Strikes just before this one of what is counted."""
    opened: str | None = None
    """Or before a file is opened for writing whose path below `folder` this expression finds,"""
    occurrence: int = 0
    """after so many others that it finds."""
    uid: int | None = None
    """Runs as this user."""


@dataclass(frozen=True)
class Ended:
    """What became of a run."""

    status: int
    """Negative: the number of the signal that ended it."""
    out: str
    err: str
    events: list[list[str]]
    """What was counted: the kind and the path below the folder. Nothing of a run that a signal ended."""


@dataclass(frozen=True)
class Striker:
    """The process, from the side of a test."""

    process: "subprocess.Popen[str]"

    def run(self, strike: Strike) -> Ended:
        """Run one, and wait until it has ended."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(asdict(strike)) + "\n")
        self.process.stdin.flush()
        status = int(self.process.stdout.readline())
        out, events = Path(strike.out), Path(f"{strike.out}.events")
        counted = json.loads(events.read_text()) if events.exists() else []
        return Ended(status, out.read_text(), Path(f"{strike.out}.err").read_text(), counted)


@contextmanager
def striker() -> Iterator[Striker]:
    """The process while the block lasts."""
    command = [sys.executable, __file__]
    environment = os.environ | {"COLUMNS": "400", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd="/"
    )
    with process:
        yield Striker(process)


class _Counting:
    """Counts what the run asks of the system, and strikes in its place."""

    def __init__(self, strike: Strike) -> None:
        self.strike = strike
        self.events: list[list[str]] = []
        self._found = 0
        self._struck = False

    def install(self) -> None:
        """From now on."""
        sys.addaudithook(self._audit)
        fsync = os.fsync

        def counted(descriptor: int) -> None:
            self._happens("flush", os.readlink(f"/proc/self/fd/{descriptor}"))
            fsync(descriptor)

        os.fsync = counted

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str | os.PathLike) and _writes(*arguments[1:3]):
            self._happens("open", arguments[0])
        elif event == "os.rename":
            self._happens("rename", arguments[1])
        elif event in ("os.remove", "os.rmdir", "os.mkdir"):
            self._happens(event.removeprefix("os."), arguments[0])

    def _happens(self, kind: str, path: Any) -> None:
        if (
            self._struck
            or not isinstance(path, str | os.PathLike)
            or not os.fspath(path).startswith(self.strike.folder)
        ):
            return
        below = os.fspath(path)[len(self.strike.folder) :].lstrip("/")
        if self._is_here(kind, below):
            self._struck = True
            self._strike(os.path.dirname(os.fspath(path)))
        self.events.append([kind, below])

    def _is_here(self, kind: str, below: str) -> bool:
        if self.strike.opened is None:
            return len(self.events) == self.strike.number
        if kind != "open" or not re.search(self.strike.opened, below):
            return False
        self._found += 1
        return self._found > self.strike.occurrence

    def _strike(self, folder: str) -> None:
        if self.strike.fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.strike.fault == "full":
            fill(self.strike.folder)
        elif self.strike.fault == "no inodes":
            use_up_inodes(self.strike.folder)
        elif self.strike.fault == "forbidden":
            while not os.path.isdir(folder):  # it is about to be made
                folder = os.path.dirname(folder)
            os.chmod(folder, 0o500)
        elif self.strike.fault == "largest file":
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def _writes(mode: Any, flags: Any) -> bool:
    return bool(isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def fill(folder: str) -> None:
    """Take all the room there is on the file system, in the file `filler`."""
    with open(f"{folder}/filler", "wb", buffering=0) as file:
        for size in (2**20, 2**12, 1):
            try:
                while file.write(b"\0" * size) == size:
                    continue
            except OSError:
                continue


def use_up_inodes(folder: str) -> None:
    """Make empty files in `fillers` until there can be no more."""
    os.makedirs(f"{folder}/fillers", exist_ok=True)
    try:
        for number in range(100_000):
            os.close(os.open(f"{folder}/fillers/{number}", os.O_CREAT | os.O_WRONLY))
    except OSError:
        return


def _run(strike: Strike, *pipes: int) -> None:
    """The fork: runs the command, and never returns. It prints to pipes, which no limit of file sizes concerns."""
    from longvid.pipelines.cli import main

    counting = _Counting(strike)
    events = os.open(f"{strike.out}.events", os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
    for descriptor, pipe in enumerate(pipes, 1):
        os.dup2(pipe, descriptor)
        os.close(pipe)
    if strike.uid is not None:
        os.setgroups([])
        os.setgid(strike.uid)
        os.setuid(strike.uid)
    counting.install()
    status = 1
    try:
        main(strike.words)
    except SystemExit as ended:
        status = int(ended.code or 0)
    except BaseException:  # noqa: BLE001 -- shown, as an interpreter does
        import traceback

        traceback.print_exc()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.getrlimit(resource.RLIMIT_FSIZE)[1],) * 2)
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(events, json.dumps(counting.events).encode())
        os._exit(status)


def _serve() -> None:
    """Run what is asked, one after the other."""
    import longvid.pipelines.extraction.run
    import longvid.stores.damage
    import longvid.video.backends.pyav  # noqa: F401 -- what the forks will need
    from longvid.pipelines.extraction.job import ExtractionJob
    from longvid.pipelines.extraction.made_with import made_with

    made_with(ExtractionJob("patch-statistics"), "pyav")  # read now: nobody may not read Python

    faulthandler.disable()
    for line in sys.stdin:
        strike = Strike(**json.loads(line))
        Path(f"{strike.out}.events").unlink(missing_ok=True)
        (out, out_end), (err, err_end) = os.pipe(), os.pipe()
        pid = os.fork()
        if pid == 0:
            _run(strike, out_end, err_end)
        os.close(out_end)
        os.close(err_end)
        for pipe, name in ((out, strike.out), (err, f"{strike.out}.err")):
            with open(pipe, "rb") as stream:
                Path(name).write_bytes(stream.read())
        _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status):
            Path(f"{strike.out}.events").unlink(missing_ok=True)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    _serve()
