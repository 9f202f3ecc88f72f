"""Starts or finds the dask workers: cores, GPUs, SLURM, or a scheduler.

Whoever reaches a dask scheduler or worker can run anything there. So every cluster that is started here speaks TLS
with keys made for this run (or read from `keys`), listens on loopback or on one interface, and serves no web page
unless asked to; that page shows the running tasks to everybody who can log in to this machine.
"""

import logging
import multiprocessing
import os
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
from distributed.worker_memory import parse_memory_limit

from longvid.errors import BackendUnavailable, ConfigError
from longvid.pipelines.extraction.executors import PIECES_IN_FLIGHT, pieces_in_flight
from longvid.pipelines.extraction.interrupts import hold_interrupts, interrupts_blocked
from longvid.pipelines.extraction.keys import Keys, make_keys, read_keys, temporary_keys
from longvid.pipelines.extraction.quiet import QuietScheduler, QuietWorker
from longvid.pipelines.extraction.slurm import slurm_settings
from longvid.pipelines.machine.cores import available_cores

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

CORES_A_PROCESS = 4
"""CPU cores per worker process on a machine with GPUs: the GPU waits for decoding, and four processes of two threads
decode 1.2 times as fast as one of eight (16 cores, H200)."""
MOST_PROCESSES = 4
"""Worker processes per GPU; each holds the encoder and a CUDA context there."""

ANY_PORT = ":0"
"""The port of a scheduler's health page; with dask's fixed port, a second scheduler would start with a warning."""

GUARD = "in a script, call it under `if __name__ == '__main__':`, because every worker process imports the script"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClusterSettings:
    """How workers are started, and who may reach them."""

    workers: int | None = None
    """Worker processes (`slurm`: jobs); None: as many as suit the machine."""
    interface: str | None = None
    """Name of the network interface to listen on; None: loopback, or for `slurm` this machine's own address."""
    dashboard: bool = False
    """Whether the scheduler serves dask's status page, on loopback only; its address is logged."""
    keys: Path | None = None
    """Folder of `longvid cluster-keys`; None: keys made for this run. A `tls://` scheduler needs them."""
    slurm_options: Mapping[str, Any] = field(default_factory=dict)
    """Options for `longvid.pipelines.extraction.slurm.slurm_settings`."""


@contextmanager
def connect(scheduler: str, settings: ClusterSettings | None = None) -> Iterator[Client]:
    """A client of the named cluster; a cluster that was started here is closed at the end.

    `scheduler`: `local` (processes on this machine), `cuda` (processes that share this machine's GPUs), `slurm` (a GPU
    and two processes per job), or the address `tcp://host:port` or `tls://host:port` of a running scheduler. Raises
    `ConfigError` for a scheduler that does not exist, does not answer or cannot be started.
    """
    settings = settings or ClusterSettings()
    if "://" in scheduler:
        with _close_without_interrupt(_client_of(scheduler, settings)) as client:
            yield client
        return
    makers = {"local": _local, "cuda": _cuda, "slurm": _slurm}
    if scheduler not in makers:
        raise ConfigError(
            f"scheduler={scheduler!r} is not serial, inline, {', '.join(makers)}, tcp://host:port or tls://host:port"
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
    for name in ("interface", "dashboard", "slurm_options"):
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


def default_workers() -> int:
    """Worker processes for this machine without a GPU: one per two cores, at least two where it has two."""
    cores = available_cores()
    return max(min(2, cores), cores // 2)


def _local(settings: ClusterSettings, _: ExitStack, loop: Any) -> SpecCluster:
    workers = settings.workers or default_workers()
    options = {
        "nthreads": PIECES_IN_FLIGHT,
        "memory_limit": parse_memory_limit("auto", 1, workers, logger=_log),
    }
    return _nannies({f"cpu-{number}": options for number in range(workers)}, settings, loop)


def _cuda(settings: ClusterSettings, _: ExitStack, loop: Any) -> SpecCluster:
    """Worker processes that see one GPU each; this process makes no CUDA context."""
    visible = visible_gpus()
    if not visible:
        raise BackendUnavailable("scheduler='cuda': this machine shows no NVIDIA GPU; use --scheduler local")
    gpus, threads = share_gpus(visible, available_cores(), settings.workers)
    workers = {
        f"gpu-{gpu}-{number}": {"nthreads": threads, "env": {"CUDA_VISIBLE_DEVICES": gpu}}
        for number, gpu in enumerate(gpus)
    }
    return _nannies(workers, settings, loop)


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


def share_gpus(visible: list[str], cores: int, workers: int | None) -> tuple[list[str], int]:
    """The GPU of each worker process, and the number of pieces that each works on at once.

    One process per `CORES_A_PROCESS` cores, at most `MOST_PROCESSES` per GPU; or `workers` processes, dealt out.
    """
    a_gpu = max(1, min(MOST_PROCESSES, cores // len(visible) // CORES_A_PROCESS))
    processes = workers or a_gpu * len(visible)
    threads = pieces_in_flight("cuda", cores // processes)
    return [visible[number % len(visible)] for number in range(processes)], threads


def visible_gpus() -> list[str]:
    """Names of the GPUs this process may use, found without making a CUDA context."""
    if (named := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in named.split(",") if name.strip()]
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]


def _slurm(settings: ClusterSettings, stack: ExitStack, loop: Any) -> Any:
    """A scheduler on one address of this machine; its workers are jobs, with keys that they read from files."""
    try:
        from dask_jobqueue import SLURMCluster
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
