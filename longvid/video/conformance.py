"""The numbered pictures as a conformance suite for decoders.

    for verdict in conformance(folder, ["pyav"]):
        print(verdict.case, verdict.backend, verdict.outcome, verdict.detail)

Every case is a file whose frames and times are known, and a way to ask for them. A backend gives the frames that were
asked for (`right`), raises an error (`refused`), or gives others as if they were those (`silently wrong`), which is the
one thing that a decoder must never do. Each backend reads in a process of its own, so that one that crashes is a row of
the table (`crashed`).
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import numpy as np

from longvid.errors import LongvidError, short_reason
from longvid.video.backends import BACKENDS
from longvid.video.numbered import read_number
from longvid.video.numbered_files import FIXED_GOPS, MAKERS, Truth, cut_short, pictures, steady
from longvid.video.probing import probe
from longvid.video.reader import iter_frames
from longvid.video.writing import write_video

Outcome = Literal["right", "refused", "silently wrong", "crashed"]

SHOWN = {
    "steady.mp4": "constant rate, B-frames",
    "variable.mp4": "variable rate",
    "variable.mkv": "variable rate, Matroska",
    "late.mp4": "late start, edit list",
    "late.mkv": "late start, Matroska",
    "copied_cut.mp4": "cut without decoding",
    "open_gop.mp4": "open GOP",
    "long_gop.mp4": "one keyframe",
    "intra_refresh.mp4": "intra refresh, no keyframes",
    "rotated90.mp4": "rotated by 90 degrees",
    "rotated180.mp4": "rotated by 180 degrees",
    "rotated270.mov": "rotated by 270 degrees",
    "two_streams.mp4": "two video streams",
    "cover.mp4": "cover picture first",
    "transport.ts": "transport stream",
    "program.mpg": "program stream",
    "fragmented.mp4": "fragmented",
    "h264_b_frames.avi": "no presentation times",
    "ten_bit.mp4": "ten bits",
    "hevc.mp4": "HEVC",
    "one_frame.mp4": "a single frame",
}
"""The files of the suite, and what is special about each; all are made by `longvid.video.numbered_files`."""

OTHER_SIZE = (64, 96)
HEIGHT, WIDTH = 48, 60
"""Size of the frames that are asked for."""


@dataclass(frozen=True)
class Verdict:
    """What a backend made of one case."""

    case: str
    backend: str
    outcome: Outcome
    detail: str = ""
    """The reason of a refusal, or the first frame that was wrong."""


@dataclass(frozen=True)
class Request:
    """A file, and instants to ask for; `numbers` are those of the frames on screen then."""

    path: Path
    seconds: tuple[float, ...]
    numbers: tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """Requests that one process makes one after the other."""

    name: str
    requests: tuple[Request, ...]
    truncated: bool = False


def cases(folder: Path) -> Iterator[Case]:
    """Every case; its files are made in the folder as it is asked for."""
    made: dict[str, Truth] = {}
    for name, what in SHOWN.items():
        truth = made[name] = MAKERS[name](folder / name)
        yield Case(what, (_in_order(truth),))
    plain, variable = made["steady.mp4"], made["variable.mp4"]
    yield Case("a seek backwards", (_part(plain, 40, 60), _part(plain, 0, 20), _part(plain, 10, 30)))
    backwards = (_part(variable, 50, 60), _part(variable, 5, 15))
    yield Case("a seek backwards, variable rate", backwards)
    opened = made["open_gop.mp4"]
    yield Case("a seek into an open GOP", tuple(_part(opened, first, first + 3) for first in (45, 31, 13, 25)))
    yield Case("two sizes in one process", (_in_order(plain), _in_order(_small(folder)), _in_order(plain)))
    left = cut_short(MAKERS["steady.mkv"](folder / "steady.mkv"), folder / "truncated.mkv")
    there = probe(left.path).measured.num_frames
    yield Case("truncated: the frames that are left", (_part(left, 0, there - 8),), truncated=True)


def _middles(truth: Truth) -> np.ndarray:
    """An instant within each frame's time, far from its ends."""
    return truth.seconds + np.diff(truth.seconds, append=truth.seconds[-1] + 0.02) / 2


def _in_order(truth: Truth) -> Request:
    return Request(truth.path, tuple(_middles(truth).tolist()), tuple(truth.numbers))


def _part(truth: Truth, first: int, stop: int) -> Request:
    return Request(truth.path, tuple(_middles(truth)[first:stop].tolist()), tuple(truth.numbers[first:stop]))


def _small(folder: Path) -> Truth:
    path = folder / "small.mp4"
    write_video(path, pictures(20, *OTHER_SIZE), codec_options=FIXED_GOPS)
    return Truth(path, list(range(20)), steady(20))


def judge(backend: str, case: Case) -> Verdict:
    """What a backend makes of a case, in this process."""
    for request in case.requests:
        try:
            found = _numbers(backend, request, truncated=case.truncated)
        except LongvidError as error:
            return Verdict(case.name, backend, "refused", _reason(error, request))
        except Exception as error:  # noqa: BLE001 -- any error is better than wrong frames
            return Verdict(case.name, backend, "refused", f"{type(error).__name__}: {_reason(error, request)}")
        wrong = _first_wrong(found, request)
        if wrong:
            return Verdict(case.name, backend, "silently wrong", wrong)
    return Verdict(case.name, backend, "right")


def _reason(error: Exception, request: Request) -> str:
    """One line, with the name of the file instead of its path."""
    return short_reason(error).replace(str(request.path), request.path.name)


def _numbers(backend: str, request: Request, *, truncated: bool) -> list[int | None]:
    seconds = np.array(request.seconds)
    frames = iter_frames(
        probe(request.path), seconds, height=HEIGHT, width=WIDTH, backend=backend, allow_truncated=truncated
    )
    return [read_number(frame) for frame in frames]


def _first_wrong(found: list[int | None], request: Request) -> str:
    if len(found) != len(request.numbers):
        return f"{len(found)} frames instead of {len(request.numbers)}"
    for at, (number, expected) in enumerate(zip(found, request.numbers, strict=True)):
        if number != expected:
            got = "a picture without a number" if number is None else f"frame {number}"
            return f"at {request.seconds[at]:.3f} s {got} instead of frame {expected}"
    return ""


def conformance(
    folder: Path, backends: Sequence[str] | None = None, *, watch: Callable[[str], None] | None = None
) -> Iterator[Verdict]:
    """The verdict on each case and backend (None: all of `BACKENDS`, whether they work or not), case by case."""
    names = list(BACKENDS) if backends is None else list(backends)
    pools = {name: _pool() for name in names}
    try:
        for case in cases(folder):
            if watch is not None:
                watch(case.name)
            for name in names:
                try:
                    yield pools[name].submit(judge, name, case).result()
                except BrokenProcessPool:
                    pools[name].shutdown()
                    pools[name] = _pool()
                    yield Verdict(case.name, name, "crashed", "the decoder ended its process")
    finally:
        for pool in pools.values():
            pool.shutdown()


def _pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"))
