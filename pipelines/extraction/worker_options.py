"""Which worker processes suit a machine, with and without GPUs."""

import logging
import os
from typing import Any

from distributed.worker_memory import parse_memory_limit

from longvid.errors import BackendUnavailable
from longvid.pipelines.extraction.executors import PIECES_IN_FLIGHT, pieces_in_flight
from longvid.pipelines.machine.cores import available_cores

CORES_A_PROCESS = 4
"""CPU cores per worker process on a machine with GPUs: the GPU waits for decoding, and four processes of two threads
decode 1.2 times as fast as one of eight (16 cores, H200)."""
MOST_PROCESSES = 4
"""Worker processes per GPU; each holds the encoder and a CUDA context there."""

_log = logging.getLogger(__name__)


def default_workers() -> int:
    """Worker processes for this machine without a GPU: one per two cores, at least two where it has two."""
    cores = available_cores()
    return max(min(2, cores), cores // 2)


def local_workers(number: int | None) -> dict[str, dict[str, Any]]:
    """The nannies' options for worker processes without GPUs, by name; None: as many as suit this machine."""
    number = number or default_workers()
    options = {"nthreads": PIECES_IN_FLIGHT, "memory_limit": parse_memory_limit("auto", 1, number, logger=_log)}
    return {f"cpu-{at}": options for at in range(number)}


def gpu_workers(number: int | None) -> dict[str, dict[str, Any]]:
    """The nannies' options for worker processes that see one GPU each, by name. This process makes no CUDA context.

    Raises `BackendUnavailable` if the machine shows no GPU.
    """
    visible = visible_gpus()
    if not visible:
        raise BackendUnavailable("scheduler='cuda': this machine shows no NVIDIA GPU; use --scheduler local")
    gpus, threads = share_gpus(visible, available_cores(), number)
    return {
        f"gpu-{gpu}-{at}": {"nthreads": threads, "env": {"CUDA_VISIBLE_DEVICES": gpu}} for at, gpu in enumerate(gpus)
    }


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
