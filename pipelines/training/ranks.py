"""Training on several devices: one process per device, by Lightning's DDP.

    one batch of the recipe     [0 1 2 3 4 5 6]
    rank 0 of 2                 [0   2   4   6]
    rank 1 of 2                 [  1   3   5  ]

The processes draw the same windows as one process would and share every batch; the loss of each is weighted by what it
counts, so that the mean of the gradients is the gradient of the whole batch. Validation batches are dealt out whole and
their scores put back in order, so that each video counts once and the chosen epoch does not depend on the number of
processes. What differs from one process is rounding (other sums), and dropout, which draws other masks in each rank.

The processes talk through a file and the loopback interface: nothing listens to the network.
"""

import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from longvid.errors import ConfigError, LongvidError
from longvid.pipelines.extraction.outcomes import unexpected
from longvid.pipelines.machine.cores import available_cores
from longvid.pipelines.training.progress import Quiet, TrainingProgress
from longvid.pipelines.training.results import EpochRow
from longvid.pipelines.training.scoring import WindowScores
from longvid.windows import RandomWindows

ENDING_SECONDS = 10.0
"""Time that a process has to end once it was told to."""


@dataclass(frozen=True)
class Rank:
    """One of the processes that train together."""

    rank: int = 0
    world: int = 1


ALONE = Rank()


@runtime_checkable
class SharedTraining(Protocol):
    """Settings of a training that several processes may share."""

    @property
    def devices(self) -> int: ...

    @property
    def device(self) -> str: ...

    @property
    def batch_size(self) -> int: ...


def refuse_too_many(config: SharedTraining, device: torch.device) -> None:
    """Raise `ConfigError` for more devices than this machine has, or than a batch can be shared among."""
    if config.devices == 1:
        return
    if device.type == "cuda":
        there, what = torch.cuda.device_count(), "CUDA devices"
    else:
        there, what = available_cores(), "CPU cores"
    if config.devices > there:
        raise ConfigError(f"devices={config.devices}: this machine has {there} {what}; give devices={there} or fewer")
    if config.devices > config.batch_size:
        raise ConfigError(
            f"devices={config.devices}: a batch of {config.batch_size} cannot be shared among so many; give a "
            "larger batch_size"
        )


class SharedBatches(Sampler[list[Any]]):
    """This rank's part of every training batch, from the draws that one process would make.

    A rank for which nothing is left of the last batch gets its first window, which then counts nothing
    (`SharedBatches.counts`): every rank must take part in every step.
    """

    def __init__(self, sampler: RandomWindows | Sampler[Any], batch_size: int, rank: Rank) -> None:
        self.sampler = sampler
        self.batch_size = batch_size
        self.rank = rank

    def __len__(self) -> int:
        return -(-self._items() // self.batch_size)

    def _items(self) -> int:
        return len(cast(Sized, self.sampler))

    def __iter__(self) -> Iterator[list[Any]]:
        draws = list(self.sampler)
        for first in range(0, len(draws), self.batch_size):
            batch = draws[first : first + self.batch_size]
            yield batch[self.rank.rank :: self.rank.world] or batch[:1]

    def windows(self, batch_index: int) -> int:
        """Windows of a batch, over all ranks."""
        return min(self.batch_size, self._items() - batch_index * self.batch_size)

    def counts(self, batch_index: int) -> bool:
        """Whether this rank has windows of its own in a batch."""
        return self.windows(batch_index) > self.rank.rank


class DealtBatches(Sampler[list[int]]):
    """Every `world`-th evaluation batch, whole; a rank without any gets the first, which is left out afterwards."""

    def __init__(self, windows: int, batch_size: int, rank: Rank) -> None:
        self.batches = [list(range(at, min(at + batch_size, windows))) for at in range(0, windows, batch_size)]
        self.rank = rank

    def own(self) -> list[list[int]]:
        """The batches of this rank."""
        return self.batches[self.rank.rank :: self.rank.world] or self.batches[:1]

    def __len__(self) -> int:
        return len(self.own())

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.own())


def share_of(count: Tensor | int, device: torch.device, world: int) -> Tensor:
    """Weight of this rank's mean loss, so that the mean over the ranks is the mean over all that is counted."""
    own = torch.as_tensor(count, dtype=torch.float32, device=device)
    total = own.clone()
    torch.distributed.all_reduce(total)
    return own * world / total.clamp(min=1)


def gathered(found: WindowScores, losses: list[tuple[float, int]], batches: int) -> list[tuple[float, int]]:
    """Fill `found` with the scores of every rank in the order of one process; return the losses likewise."""
    world = torch.distributed.get_world_size()
    parts: list[Any] = [None] * world
    stops = np.cumsum([len(videos) for videos in found.videos]).tolist()
    scores = [found.scores[first:stop] for first, stop in zip([0, *stops], stops, strict=False)]
    torch.distributed.all_gather_object(parts, (scores, found.videos, found.clips, losses))
    in_order = [tuple(part[at // world] for part in parts[at % world]) for at in range(batches)]
    found.scores = [score for scores, *_ in in_order for score in scores]
    found.videos = [videos for _, videos, _, _ in in_order]
    found.clips = [clips for _, _, clips, _ in in_order]
    return [loss for *_, loss in in_order]


def union_of_ranks(own: frozenset[int]) -> frozenset[int]:
    """What is in the set of any rank."""
    every: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(every, own)
    return frozenset().union(*every)


FitRank = Callable[[Any, int, Rank, TrainingProgress], None]
"""Trains a seed as one rank; a function of a module, so that a new process can import it."""


def fit_in_processes(fit: FitRank, config: SharedTraining, seed: int, progress: TrainingProgress) -> None:
    """Run `fit` in `config.devices` new processes until all are done; their epochs are told to `progress`.

    Raises the first error of a process, after the others were ended. A process ends by itself if this one dies.
    """
    context = get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="longvid-ranks-") as folder:
        meeting = Path(folder) / "meeting"
        ends: list[Connection] = []
        started: list[BaseProcess] = []
        try:
            for rank in range(config.devices):
                here, there = context.Pipe(duplex=False)
                arguments = (there, fit, config, seed, Rank(rank, config.devices), str(meeting))
                process: BaseProcess = context.Process(target=_run_rank, args=arguments)
                with _quiet_torch():
                    process.start()
                there.close()
                ends.append(here)
                started.append(process)
            _follow(ends, progress)
        finally:
            for process in started:
                if process.exitcode is None:
                    process.join(0 if sys.exc_info()[0] else ENDING_SECONDS)
                if process.exitcode is None:
                    process.kill()
                    process.join()
            for end in ends:
                end.close()


@contextmanager
def _quiet_torch() -> Iterator[None]:
    """Have a new process start without torch's warning that no parameter was unused, which nobody can act on."""
    before = os.environ.get("TORCH_CPP_LOG_LEVEL")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    try:
        yield
    finally:
        if before is None:
            del os.environ["TORCH_CPP_LOG_LEVEL"]


def _follow(ends: list[Connection], progress: TrainingProgress) -> None:
    """Pass on what the processes say until every one is done. Raises what one of them raised."""
    waiting = list(ends)
    while waiting:
        for end in connection.wait(waiting):
            assert isinstance(end, Connection)
            try:
                said = end.recv()
            except (EOFError, OSError):
                raise ConfigError(
                    "a training process ended without a word: it was killed, perhaps for lack of memory; run the same "
                    "command again to go on from the last finished epoch"
                ) from None
            if isinstance(said, EpochRow):
                progress.epoch_ended(said)
            elif isinstance(said, BaseException):
                raise said
            else:
                waiting.remove(end)


class _Told(Quiet):
    """Sends the epochs to the process that started this one."""

    def __init__(self, end: Connection) -> None:
        self._end = end

    def epoch_ended(self, row: EpochRow) -> None:
        """Send the row."""
        self._end.send(row)


def _run_rank(end: Connection, fit: FitRank, config: SharedTraining, seed: int, rank: Rank, meeting: str) -> None:
    """A new process: meet the others, train, say how it went."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one ends it
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ |= {"LOCAL_RANK": str(rank.rank), "NODE_RANK": "0", "WORLD_SIZE": str(rank.world)}
    if sys.platform == "linux":
        os.environ |= {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
    try:
        on_gpu = config.device != "cpu" and torch.cuda.is_available()
        if on_gpu:
            torch.cuda.set_device(rank.rank)
        else:
            torch.set_num_threads(max(1, available_cores() // rank.world))
        torch.distributed.init_process_group(
            "nccl" if on_gpu else "gloo", init_method=f"file://{meeting}", rank=rank.rank, world_size=rank.world
        )
        fit(config, seed, rank, _Told(end) if rank.rank == 0 else Quiet())
        end.send(None)
    except LongvidError as error:
        end.send(error)
    except BaseException as error:  # noqa: BLE001 -- raised again in the process that started this one
        end.send(RuntimeError(f"rank {rank.rank}: {unexpected(error)}"))
    finally:
        end.close()
        os._exit(0)  # nothing to tidy up; waiting for the others' connections could take minutes


def _end_with_parent() -> None:
    """End this process at once when the one that started it is gone, so that two runs never write into one folder."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
    os._exit(1)
