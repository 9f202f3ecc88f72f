"""Workers on other machines that `ssh` starts.

Nothing is installed or left there.

    --scheduler "ssh gpu1,gpu2"

`ssh HOST` has to work without a password, and Python with longvid has to be where it is here, or where `remote_python`
says. The cluster's keys travel through the connection and are in memory only. When the connection ends, so do the
workers.
"""

import asyncio
import json
import logging
import os
import re
import shlex
import sys
from contextlib import suppress
from typing import Any

from distributed import Nanny, Status
from distributed.deploy.spec import ProcessInterface

from longvid.errors import ConfigError
from longvid.pipelines.extraction.keys import Keys
from longvid.pipelines.extraction.quiet import QuietWorker

PREFIX = "ssh"
SSH = ("ssh", "-o", "BatchMode=yes", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4")
READY = b"longvid workers: "
PATIENCE_SECONDS = 120.0
"""Time in which a host's workers have to come up: they import torch, perhaps from a slow shared disk."""
TOLD = 300
"""Characters of what a host says that are repeated."""
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@:\[\]-]*")

_log = logging.getLogger(__name__)


def hosts_of(scheduler: str) -> list[str]:
    """The hosts that `ssh host1,host2` names; empty for another scheduler. Raises `ConfigError`."""
    word, space, names = scheduler.partition(" ")
    if word != PREFIX:
        return []
    hosts = [name.strip() for name in names.split(",") if name.strip()]
    if not space or not hosts:
        raise ConfigError(f"scheduler={scheduler!r}: name the hosts, such as --scheduler 'ssh gpu1,gpu2'")
    for host in hosts:
        if not _HOST.fullmatch(host):  # never an option of ssh
            raise ConfigError(f"scheduler={scheduler!r}: {host!r} is not the name of a host")
    if len(set(hosts)) < len(hosts):
        raise ConfigError(f"scheduler={scheduler!r}: names a host twice; --workers says how many processes it has")
    return hosts


class SshHost(ProcessInterface):
    """A host's workers, as one worker of a `SpecCluster`. A host that does not answer is told, and is no error."""

    def __init__(
        self, scheduler: str, *, host: str, keys: Keys, workers: int | None, python: str | None, name: str
    ) -> None:
        self._words = [python or sys.executable, "-m", __name__, name, scheduler, str(workers or 0)]
        self._host = host
        self._keys = keys
        self._process: asyncio.subprocess.Process | None = None
        self.why_not = ""
        """Why no worker came up."""
        # mypy's `untyped_calls_exclude` does not reach calls of `super()`
        super().__init__(scheduler=scheduler, name=name)  # type: ignore[no-untyped-call]

    async def start(self) -> None:
        """Start the workers, and wait until they are there."""
        pipe = asyncio.subprocess.PIPE
        try:
            self._process = await asyncio.create_subprocess_exec(
                *SSH, self._host, shlex.join(self._words), stdin=pipe, stdout=pipe, stderr=pipe
            )
        except OSError as error:
            self.why_not = f"ssh cannot be started ({error.strerror})"
        else:
            self.why_not = await self._answer(self._process)
        if self.why_not:
            _log.warning("%s: no worker came up: %s", self._host, self.why_not)
        await super().start()  # type: ignore[no-untyped-call]

    async def _answer(self, process: asyncio.subprocess.Process) -> str:
        """Hand over the keys; return why the host's workers did not come up, if so."""
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        with suppress(OSError):
            process.stdin.write(json.dumps([self._keys.certificate, self._keys.key]).encode() + b"\n")
            await process.stdin.drain()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while line := await process.stdout.readline():
                    if line.startswith(READY):
                        self._reading = asyncio.ensure_future(_read_on(process))
                        return ""
                said = (await process.stderr.read()).decode(errors="replace")
        except TimeoutError:
            process.kill()
            return f"it said nothing for {PATIENCE_SECONDS:g} s"
        return " ".join(said.split())[-TOLD:] or f"ssh ended with status {await process.wait()}"

    async def close(self) -> None:
        """End the workers by ending the connection."""
        process = self._process
        if process is not None and process.returncode is None:
            assert process.stdin is not None
            process.stdin.close()
            try:
                async with asyncio.timeout(10.0):
                    await process.wait()
            except TimeoutError:
                process.kill()
        self.status = Status.closed
        await super().close()  # type: ignore[no-untyped-call]


async def _read_on(process: asyncio.subprocess.Process) -> None:
    """Read what the host says, so that it never waits for a reader."""
    assert process.stdout is not None
    assert process.stderr is not None
    await asyncio.gather(_drop(process.stdout), _drop(process.stderr))


async def _drop(stream: asyncio.StreamReader) -> None:
    while await stream.read(1 << 16):
        pass


def main(name: str, scheduler: str, workers: str) -> None:
    """What runs on the host: its workers, until standard input ends."""
    from longvid.pipelines.extraction.worker_options import gpu_workers, local_workers, visible_gpus

    keys = Keys(*json.loads(sys.stdin.readline()))
    number = int(workers) or None
    options = gpu_workers(number) if visible_gpus() else local_workers(number)
    asyncio.run(_serve(name, scheduler, keys, list(options.values())))


async def _serve(name: str, scheduler: str, keys: Keys, workers: list[dict[str, Any]]) -> None:
    common: dict[str, Any] = {"security": keys.security(), "protocol": "tls", "worker_class": QuietWorker}
    nannies = [Nanny(scheduler, name=f"{name}-{at}", **common | one) for at, one in enumerate(workers)]
    await asyncio.gather(*nannies)
    sys.stdout.buffer.write(READY + str(len(nannies)).encode() + b"\n")
    sys.stdout.buffer.flush()
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    gone = [asyncio.ensure_future(nanny.finished()) for nanny in nannies]
    await asyncio.wait([asyncio.ensure_future(ended), asyncio.gather(*gone)], return_when=asyncio.FIRST_COMPLETED)
    await asyncio.gather(*(nanny.close() for nanny in nannies), return_exceptions=True)
    sys.stdout.flush()
    os._exit(0)  # a thread still waits for standard input


if __name__ == "__main__":
    main(*sys.argv[1:])
