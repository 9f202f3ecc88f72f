"""Starts or finds the dask workers: cores, GPUs, SLURM, SSH, a scheduler.

Whoever reaches a dask scheduler or worker can run anything there. So every cluster that is started here speaks TLS
with keys made for this run (or read from `keys`), listens on loopback or on one interface, and serves no web page
unless asked to; that page shows the running tasks to everybody who can log in to this machine.
"""

import logging
import multiprocessing
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import dask
import psutil
from distributed import Client, Nanny, Scheduler, SpecCluster
from distributed.utils import LoopRunner, get_ip

from longvid.errors import BackendUnavailable, ConfigError
from longvid.pipelines.extraction.interrupts import hold_interrupts, interrupts_blocked
from longvid.pipelines.extraction.keys import Keys, make_keys, read_keys, temporary_keys
from longvid.pipelines.extraction.lost_scheduler import named_if_lost, without_tracebacks
from longvid.pipelines.extraction.quiet import QuietScheduler, QuietWorker
from longvid.pipelines.extraction.replacing import replacing
from longvid.pipelines.extraction.slurm import slurm_settings
from longvid.pipelines.extraction.ssh import SshHost, hosts_of
from longvid.pipelines.extraction.worker_options import CORES_A_PROCESS, gpu_workers, local_workers

Kind = Literal["local", "cuda", "slurm"]

LOOPBACK = "127.0.0.1"

SETTINGS = {
    # a decoder that hangs with the interpreter lock cannot be interrupted: its worker is declared dead instead
    "distributed.scheduler.worker-ttl": "120s",
    # a piece that killed this many workers is not given another one
    "distributed.scheduler.allowed-failures": 1,
    "distributed.worker.profile.enabled": False,
    "distributed.comm.timeouts.connect": "60s",
}

ANY_PORT = ":0"
"""The port of a scheduler's health page; with dask's fixed port, a second scheduler would start with a warning."""

GUARD = "in a script, call it under `if __name__ == '__main__':`, because every worker process imports the script"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClusterSettings:
    """How workers are started, and who may reach them."""

    workers: int | None = None
    """Worker processes (`slurm`: jobs; `ssh`: processes per host); None: as many as suit the machine."""
    interface: str | None = None
    """Name of the network interface to listen on; None: loopback, or for `slurm` this machine's own address."""
    dashboard: bool = False
    """Whether the scheduler serves dask's status page, on loopback only; its address is logged."""
    keys: Path | None = None
    """Folder of `longvid cluster-keys`; None: keys made for this run. A `tls://` scheduler needs them."""
    remote_python: str | None = None
    """The Python on the hosts of `ssh`; None: at the same place as here."""
    slurm_options: Mapping[str, Any] = field(default_factory=dict)
    """Options for `longvid.pipelines.extraction.slurm.slurm_settings`."""


@contextmanager
def connect(scheduler: str, settings: ClusterSettings | None = None) -> Iterator[Client]:
    """A client of the named cluster; a cluster that was started here is closed at the end.

    `scheduler`: `local` (processes on this machine), `cuda` (processes that share this machine's GPUs), `slurm` (a
    GPU and two processes per job), `ssh host1,host2` (processes on these machines), or the address `tcp://host:port`
    or `tls://host:port` of a running scheduler. Raises `ConfigError` for a scheduler that does not exist, does not
    answer or cannot be started, and `SchedulerLost` if one that somebody else started goes away.
    """
    settings = settings or ClusterSettings()
    if "://" in scheduler:
        client = _client_of(scheduler, settings)
        with without_tracebacks(), _close_without_interrupt(client), named_if_lost(client, scheduler):
            yield client
        return
    hosts = hosts_of(scheduler)
    makers = {"local": _local, "cuda": _cuda, "slurm": _slurm}
    if hosts:
        makers[scheduler] = lambda settings, _, loop: _ssh(hosts, settings, loop)
    if scheduler not in makers:
        raise ConfigError(
            f"scheduler={scheduler!r} is not serial, inline, {', '.join(makers)}, 'ssh host1,host2', tcp://host:port "
            "or tls://host:port"
        )
    _refuse_unguarded_script()
    with ExitStack() as stack:
        stack.enter_context(dask.config.set(SETTINGS))
        with hold_interrupts():
            loop = stack.enter_context(_own_loop())
            try:
                cluster = makers[scheduler](settings, stack, loop)
            except RuntimeError as error:
                raise ConfigError(f"scheduler={scheduler!r}: no worker process came up ({error}); {GUARD}") from error
            stack.enter_context(_close_without_interrupt(cluster))
            client = Client(cluster, set_as_default=False)
            stack.enter_context(_close_without_interrupt(client))
        if settings.dashboard:
            _log.warning("dask's status page: %s", cluster.dashboard_link)
        if hosts or scheduler == "slurm":
            stack.enter_context(replacing(cluster))
        yield client


@contextmanager
def _close_without_interrupt(opened: Any) -> Iterator[Any]:
    """The client or cluster, closed at the end; Ctrl-C waits until that is done."""
    try:
        yield opened
    finally:
        with hold_interrupts():
            opened.close()


@contextmanager
def _own_loop() -> Iterator[Any]:
    """An event loop in its own thread; Ctrl-C does not reach it, nor the processes started from it."""
    runner = LoopRunner(loop=None, asynchronous=False)
    with interrupts_blocked():
        runner.start()
    try:
        yield runner.loop
    finally:
        with hold_interrupts():
            runner.stop()


def _refuse_unguarded_script() -> None:
    """Raise `ConfigError` in a worker process that imports the user's script and would start more workers."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise ConfigError(f"a worker process cannot start workers: {GUARD}")


def _client_of(address: str, settings: ClusterSettings) -> Client:
    """A client of a scheduler that somebody else started."""
    for name in ("interface", "dashboard", "remote_python", "slurm_options"):
        if getattr(settings, name):
            raise ConfigError(f"scheduler={address!r} runs already: set {name} where it is started")
    secure = address.startswith("tls://")
    if secure and settings.keys is None and not dask.config.get("distributed.comm.tls.client.cert"):
        raise ConfigError(f"{address}: give the folder with the cluster's keys (--keys FOLDER)")
    if settings.keys is not None and not secure:
        raise ConfigError(f"{address}: keys are for a scheduler at tls://host:port")
    security = None if settings.keys is None else read_keys(settings.keys).security()
    if not secure and not _is_loopback(address):
        _log.warning(
            "%s is open: whoever reaches it can run programs there as you; "
            "`longvid cluster-keys FOLDER` makes keys and prints how to start the cluster with them",
            address,
        )
    try:
        return Client(address, timeout="10s", set_as_default=False, security=security)
    except (OSError, TimeoutError, ValueError) as error:
        keys = "; or it has other keys, or speaks tcp://" if secure else "; or it speaks tls:// (--keys FOLDER)"
        raise ConfigError(f"no dask scheduler answers at {address}: start one with `dask scheduler`{keys}") from error


def _is_loopback(address: str) -> bool:
    host = address.partition("://")[2].rpartition(":")[0].strip("[]")
    return host == "localhost" or host.startswith("127.") or host == "::1"


def _local(settings: ClusterSettings, _: ExitStack, loop: Any) -> SpecCluster:
    return _nannies(local_workers(settings.workers), settings, loop)


def _cuda(settings: ClusterSettings, _: ExitStack, loop: Any) -> SpecCluster:
    """Worker processes that see one GPU each; this process makes no CUDA context."""
    return _nannies(gpu_workers(settings.workers), settings, loop)


def _ssh(hosts: list[str], settings: ClusterSettings, loop: Any) -> SpecCluster:
    """A scheduler on one address of this machine, and workers that ssh starts on the hosts."""
    keys = temporary_keys() if settings.keys is None else read_keys(settings.keys).read()
    security = keys.security()
    host = get_ip() if settings.interface is None else _address_of(settings.interface)
    common = {"keys": keys, "workers": settings.workers, "python": settings.remote_python}
    cluster = SpecCluster(
        workers={one: {"cls": SshHost, "options": common | {"host": one, "name": one}} for one in hosts},
        scheduler=_scheduler(settings, {"host": host, "protocol": "tls", "security": security}),
        security=security,
        loop=loop,
        silence_logs=logging.ERROR,
    )
    reasons = [f"{name}: {one.why_not}" for name, one in cluster.workers.items() if one.why_not]
    if len(reasons) == len(hosts):
        cluster.close()
        raise ConfigError(f"scheduler='ssh {','.join(hosts)}': no worker came up ({'; '.join(reasons)})")
    return cluster


def _nannies(workers: dict[str, dict[str, Any]], settings: ClusterSettings, loop: Any) -> SpecCluster:
    """A scheduler in this process and a nanny per worker, all on one address and with one set of keys."""
    host = LOOPBACK if settings.interface is None else _address_of(settings.interface)
    security = _keys(settings).security()
    common = {"host": host, "protocol": "tls", "security": security}
    # a worker that dies is in the report, and one that is closed on a busy machine logs its last heartbeat as an error
    quiet = {"worker_class": QuietWorker, "silence_logs": logging.CRITICAL}
    return SpecCluster(
        workers={name: {"cls": Nanny, "options": common | quiet | options} for name, options in workers.items()},
        scheduler=_scheduler(settings, common),
        security=security,
        loop=loop,
        silence_logs=logging.ERROR,
    )


def _scheduler(settings: ClusterSettings, options: dict[str, Any]) -> dict[str, Any]:
    """The scheduler's specification: with a status page on loopback, or without one."""
    if not settings.dashboard:
        return {"cls": QuietScheduler, "options": options | {"dashboard": False}}
    return {"cls": Scheduler, "options": options | {"dashboard": True, "dashboard_address": f"{LOOPBACK}{ANY_PORT}"}}


def _keys(settings: ClusterSettings) -> Keys:
    return temporary_keys() if settings.keys is None else read_keys(settings.keys)


def _address_of(interface: str) -> str:
    """The interface's IPv4 address. Raises `ConfigError` that lists the interfaces there are."""
    found = {
        name: address.address
        for name, addresses in psutil.net_if_addrs().items()
        for address in reversed(addresses)
        if address.family == socket.AF_INET
    }
    if interface not in found:
        there = ", ".join(f"{name} ({address})" for name, address in sorted(found.items()))
        raise ConfigError(f"interface={interface!r}: no interface of that name has an IPv4 address; there are {there}")
    return found[interface]


def _slurm(settings: ClusterSettings, stack: ExitStack, loop: Any) -> Any:
    """A scheduler on one address of this machine; its workers are jobs, with keys that they read from files."""
    try:
        from dask_jobqueue.slurm import SLURMCluster
    except ImportError as error:
        raise BackendUnavailable("scheduler='slurm' needs dask-jobqueue: pip install 'longvid[slurm]'") from error
    jobs = slurm_settings(settings.slurm_options, cores=2 * CORES_A_PROCESS, processes=2)
    if settings.keys is None:
        # the jobs must find it too: a batch system shares the folder that jobs are submitted from
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix=".longvid-keys-", dir=Path.cwd()))
        keys = make_keys(Path(folder))
    else:
        keys = read_keys(settings.keys)
    host = get_ip() if settings.interface is None else _address_of(settings.interface)
    scheduler = _scheduler(settings, {"host": host, "protocol": "tls"})
    cluster = SLURMCluster(
        **jobs,
        interface=settings.interface,
        security=keys.security(),
        protocol="tls://",
        scheduler_cls=scheduler["cls"],
        scheduler_options=scheduler["options"],
        loop=loop,
    )
    cluster.scale(jobs=settings.workers or 1)
    return cluster
