"""The count of a run: what is done, what failed, how fast it goes."""

import threading
import time
from collections import Counter, defaultdict, deque
from typing import Any

from longvid.pipelines.extraction.piece import PieceResult
from longvid.pipelines.extraction.report import VideoRow, kind_of_reason

MOST_KINDS = 50
"""Kinds of reasons that are told apart; further ones are counted together."""
OTHERS = "other reasons"

RATE_SECONDS = 600.0
"""Time over which the rate is taken."""

STAGES = ("planning", "decode", "encode", "write")


class Tally:
    """Sums over a run, in memory that does not grow with it. Several threads may use it."""

    def __init__(self, *, listed: int | None) -> None:
        self.listed = listed
        """Videos of the list; None if that is not known."""
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._videos: Counter[str] = Counter()
        self._video_seconds: dict[str, float] = defaultdict(float)
        self._films: dict[str, _Film] = {}
        self._clips = 0
        self._bytes_read = 0
        self._stages: dict[str, float] = dict.fromkeys(STAGES, 0.0)
        self._failed: dict[str, dict[str, Any]] = {}
        self._samples: deque[tuple[float, float]] = deque([(self._started, 0.0)])
        self._workers: dict[str, float] = {}

    def opened(self, row: VideoRow, left_clips: int) -> None:
        """A film was opened, and this many clips are left of it."""
        with self._lock:
            self._films[row.key] = _Film(row.video_seconds, row.num_clips, row.num_clips + left_clips)
            self._count(row)

    def piece(self, piece: PieceResult) -> None:
        """A piece of a film is done."""
        with self._lock:
            film = self._films.get(piece.key)
            if film is not None:
                film.done += piece.num_clips
            self._clips += piece.num_clips
            self._bytes_read += piece.read_bytes
            for stage in STAGES[1:]:
                self._stages[stage] += getattr(piece, f"{stage}_seconds")

    def ended(self, *rows: VideoRow) -> None:
        """Videos are done, kept or failed."""
        with self._lock:
            for row in rows:
                if self._films.pop(row.key, None) is None:
                    self._count(row)
                self._videos[row.status] += 1
                self._video_seconds[row.status] += row.video_seconds
                if row.status == "failed":
                    kind = kind_of_reason(row, row.reason)
                    if kind not in self._failed and len(self._failed) >= MOST_KINDS:
                        kind = OTHERS
                    first = {"reason": row.reason, "key": row.key, "videos": 0}
                    self._failed.setdefault(kind, first)["videos"] += 1

    def heard(self, worker: str) -> None:
        """A worker gave something back."""
        with self._lock:
            self._workers[worker] = time.monotonic()

    def _count(self, row: VideoRow) -> None:
        self._clips += row.num_clips
        self._bytes_read += row.read_bytes
        stages = self._stages
        stages["planning"] += row.plan_seconds
        stages["decode"] += row.decode_seconds
        stages["encode"] += row.encode_seconds
        stages["write"] += row.write_seconds

    def document(self, *, workers: int, signs_of_life: dict[str, float]) -> dict[str, Any]:
        """The count as plain JSON values.

        `signs_of_life`: for each worker of the executor the seconds since it was heard of; workers that only gave
        something back are listed too.
        """
        with self._lock:
            now = time.monotonic()
            elapsed = max(now - self._started, 1e-9)
            progress = self._video_seconds["done"] + sum(film.done_seconds for film in self._films.values())
            self._samples.append((now, progress))
            while len(self._samples) > 2 and now - self._samples[1][0] > RATE_SECONDS:
                self._samples.popleft()
            (since, before), span = self._samples[0], max(now - self._samples[0][0], 1e-9)
            rate = max(0.0, progress - before) / span if now > since else 0.0
            left = self._left_seconds()
            silent = {name: now - heard for name, heard in self._workers.items()} if not signs_of_life else {}
            for name, seconds in signs_of_life.items():
                silent[name] = min(seconds, now - self._workers.get(name, float("-inf")))
            shares = {stage: seconds / (elapsed * max(workers, 1)) for stage, seconds in self._stages.items()}
            return {
                "videos": {
                    "listed": self.listed,
                    **{status: self._videos[status] for status in ("done", "kept", "failed")},
                    "under_way": len(self._films),
                },
                "video_seconds": {
                    "done": progress,
                    "kept": self._video_seconds["kept"],
                    "left": left,
                },
                "clips": self._clips,
                "read_bytes": self._bytes_read,
                "failed": sorted(self._failed.values(), key=lambda kind: -kind["videos"]),
                "elapsed_seconds": elapsed,
                "video_seconds_per_second": rate,
                "seconds_left": None if left is None or (left and not rate) else left / max(rate, 1e-9),
                "stages": shares,
                "limited_by": max(shares, key=lambda stage: shares[stage]) if any(shares.values()) else None,
                "workers": [{"name": name, "silent_seconds": silent[name]} for name in sorted(silent)],
            }

    def _left_seconds(self) -> float | None:
        """Seconds of video that are left: of films what is measured, of unopened videos the mean of the others."""
        films = sum(film.video_seconds - film.done_seconds for film in self._films.values())
        if self.listed is None:
            return None
        unopened = max(0, self.listed - sum(self._videos.values()) - len(self._films))
        known = self._videos["done"] + len(self._films) or self._videos["kept"]
        total = self._video_seconds["done"] + sum(film.video_seconds for film in self._films.values())
        total = total or self._video_seconds["kept"]
        if unopened and not known:
            return None
        return films + (unopened * total / known if unopened else 0.0)


class _Film:
    """A video whose pieces are under way."""

    def __init__(self, video_seconds: float, done: int, clips: int) -> None:
        self.video_seconds = video_seconds
        self.done = done
        self.clips = clips

    @property
    def done_seconds(self) -> float:
        """Seconds of video whose clips are in the store."""
        return self.video_seconds * self.done / max(self.clips, 1)
