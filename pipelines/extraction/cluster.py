"""Where the workers come from: this machine's cores, its GPUs, SLURM, or a scheduler that already runs."""

import logging
import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import dask
from distributed import Client, LocalCluster, Nanny, Scheduler, SpecCluster

from longvid.errors import BackendUnavailable, ConfigError
from longvid.pipelines.extraction.executors import SEGMENTS_IN_FLIGHT, segments_in_flight
from longvid.pipelines.machine.cores import available_cores

Kind = Literal["local", "cuda", "slurm"]

SETTINGS = {
    # a decoder that hangs while it holds the interpreter cannot be interrupted: its worker is declared dead instead
    "distributed.scheduler.worker-ttl": "120s",
    # a video that took this many workers with it is not given another one
    "distributed.scheduler.allowed-failures": 1,
    "distributed.worker.profile.enabled": False,
    "distributed.comm.timeouts.connect": "60s",
}

CORES_A_PROCESS = 4
"""Of a machine with GPUs: decoding is what a GPU waits for, and four processes of two threads decode 1.2 times as fast
as one of eight (16 cores, H200)."""
MOST_PROCESSES = 4
"""On one GPU: each holds the encoder and a CUDA context there."""

ANY_PORT = ":0"
"""Of the scheduler's health page: with dask's fixed one, a second run on the machine would begin with a warning."""


GUARD = "in a script, call it under `if __name__ == '__main__':`, because every worker process imports the script"


def _refuse_unguarded_script() -> None:
    """Raise ConfigError in a worker process that is about to start workers of its own while it imports the script."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise ConfigError(f"a worker process cannot start workers: {GUARD}")


LEAVE_INTERRUPTS = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
"""Run by every worker as it starts: Ctrl-C reaches all processes of a terminal, and to end the workers is the parent's
work; they would each answer with a traceback."""


@contextmanager
def connect(
    scheduler: str, *, workers: int | None = None, slurm_options: dict[str, Any] | None = None
) -> Iterator[Client]:
    """A client of the named cluster, which is closed at the end unless it ran before.

    `scheduler`: `local` (processes on this machine), `cuda` (processes that share this machine's GPUs), `slurm` (a GPU
    and two processes a job, `workers` jobs), or the address `tcp://host:port` of a running scheduler.
    """
    if "://" in scheduler:
        with _client_of(scheduler) as client:
            yield client
        return
    makers = {"local": _local, "cuda": _cuda, "slurm": _slurm}
    if scheduler not in makers:
        raise ConfigError(f"scheduler={scheduler!r} is not serial, {', '.join(makers)} or tcp://host:port")
    _refuse_unguarded_script()
    with dask.config.set(SETTINGS):
        try:
            cluster = _slurm(workers, **(slurm_options or {})) if scheduler == "slurm" else makers[scheduler](workers)
        except RuntimeError as error:
            raise ConfigError(f"scheduler={scheduler!r}: no worker process came up ({error}); {GUARD}") from error
        with cluster, Client(cluster, set_as_default=False) as client:
            yield client


def _client_of(address: str) -> Client:
    try:
        return Client(address, timeout="10s", set_as_default=False)
    except (OSError, TimeoutError) as error:
        raise ConfigError(f"no dask scheduler answers at {address}: start one with `dask scheduler`") from error


def default_workers() -> int:
    """Encoders this machine runs well at once without a GPU: one for every two cores, two at least where it can."""
    cores = available_cores()
    return max(min(2, cores), cores // 2)


def _local(workers: int | None) -> LocalCluster:
    return LocalCluster(
        n_workers=workers or default_workers(),
        threads_per_worker=SEGMENTS_IN_FLIGHT,
        processes=True,
        dashboard_address=ANY_PORT,
        scheduler_kwargs={"dashboard": False},
        preload=[LEAVE_INTERRUPTS],
        silence_logs=logging.ERROR,  # a worker that is slow to leave is no news; one that dies is in the report
    )


def _cuda(workers: int | None) -> SpecCluster:
    """Nannies whose processes see one GPU each; nothing here touches CUDA."""
    visible = visible_gpus()
    if not visible:
        raise BackendUnavailable("scheduler='cuda': this machine shows no NVIDIA GPU; use --scheduler local")
    gpus, threads = share_gpus(visible, available_cores(), workers)
    specification = {
        f"gpu-{gpu}-{number}": {
            "cls": Nanny,
            "options": {
                "nthreads": threads,
                "env": {"CUDA_VISIBLE_DEVICES": gpu},
                "preload": [LEAVE_INTERRUPTS],
                "silence_logs": logging.ERROR,
            },
        }
        for number, gpu in enumerate(gpus)
    }
    scheduler = {"cls": Scheduler, "options": {"dashboard": False, "dashboard_address": ANY_PORT}}
    return SpecCluster(workers=specification, scheduler=scheduler, silence_logs=logging.ERROR)


def share_gpus(visible: list[str], cores: int, workers: int | None) -> tuple[list[str], int]:
    """The GPU of each worker process, and the segments each of them works on at once.

    A process for every `CORES_A_PROCESS` cores, `MOST_PROCESSES` a GPU at most; or `workers` of them, dealt out.
    """
    a_gpu = max(1, min(MOST_PROCESSES, cores // len(visible) // CORES_A_PROCESS))
    processes = workers or a_gpu * len(visible)
    threads = segments_in_flight("cuda", cores // processes)
    return [visible[number % len(visible)] for number in range(processes)], threads


def visible_gpus() -> list[str]:
    """Names of the GPUs this process may use, found without making a CUDA context."""
    if (named := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in named.split(",") if name.strip()]
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]


def _slurm(workers: int | None, **options: Any) -> Any:
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError as error:
        raise BackendUnavailable("scheduler='slurm' needs dask-jobqueue: pip install 'longvid[slurm]'") from error
    cores = 2 * CORES_A_PROCESS
    settings = {"cores": cores, "processes": 2, "memory": "32GB", "job_extra_directives": ["--gres=gpu:1"]}
    cluster = SLURMCluster(**(settings | options))
    cluster.scale(jobs=workers or 1)
    return cluster
