"""Search of a whole store.

found = search("clip.zarr", "a man pours milk")
for hit in found.hits:
    print(hit.key, hit.start_seconds, hit.end_seconds, hit.score)
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from longvid.errors import ConfigError
from longvid.pipelines.extraction.inputs import ListedVideos
from longvid.pipelines.rebuilding import Given, text_encoder_of
from longvid.pipelines.searching.queries import Example, example_vector, parse_example
from longvid.pipelines.searching.ranking import Best, Candidate, peaks
from longvid.pipelines.searching.scan import Scorer, in_threads
from longvid.stores import FeatureStore, StoreAccessError, StoredVideo, StoreError

Watch = Callable[[str], None]
"""Is told the video that is searched."""


@dataclass(frozen=True)
class Hit:
    """A stretch of a video that answers a query."""

    key: str
    start_seconds: float
    end_seconds: float
    score: float
    """Cosine with the query, -1 to 1: comparable within one search, not between models."""
    clip: int
    path: str | None = None
    """The video's file, where it was given."""


@dataclass(frozen=True)
class VideoHits:
    """The hits of one video, best first."""

    key: str
    score: float
    """Score of the best."""
    hits: tuple[Hit, ...]


@dataclass(frozen=True)
class SearchFailure:
    """A video that could not be searched, and why."""

    key: str
    reason: str


@dataclass(frozen=True)
class SearchResult:
    """The best stretches of a store for one query."""

    store: str
    query: str
    hits: tuple[Hit, ...]
    """Best first."""
    num_videos: int
    num_clips: int
    token_bytes: int
    """Bytes that were read."""
    seconds: float
    """What the pass over the store took."""
    failures: tuple[SearchFailure, ...] = ()

    def by_video(self) -> list[VideoHits]:
        """The hits grouped by video, the video with the best hit first."""
        groups: dict[str, list[Hit]] = {}
        for hit in self.hits:
            groups.setdefault(hit.key, []).append(hit)
        return [VideoHits(key, hits[0].score, tuple(hits)) for key, hits in groups.items()]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"videos": [asdict(group) for group in self.by_video()]}


def search(
    location: str | Path | FeatureStore,
    text: str | None = None,
    *,
    like: str | Example | None = None,
    most: int = 20,
    per_video: int = 3,
    apart_seconds: float | None = None,
    given: Given | None = None,
    videos: Sequence[str | Path] = (),
    watch: Watch | None = None,
) -> SearchResult:
    """The stretches of a store's videos that lie nearest to a text, or to an example.

    `most`: hits in all, at most `per_video` of each video. `apart_seconds`: hits of one video are at least so far apart
    (non-maximum suppression); None: twice the length of a clip. `given`: the encoder, where the store's files may not
    name it. `videos`: files, folders or manifests that say where the videos are, for `Hit.path`.
    A damaged video is a failure by name; the others go on. What is reported was read with its checksums.
    Raises `ConfigError` unless exactly one of text and example is given, and the errors of building the encoder.
    """
    if (text is None) == (like is None):
        raise ConfigError('give either a text ("a man pours milk") or an example (--like VIDEO@12:30-12:40)')
    if most < 1 or per_video < 1 or (apart_seconds is not None and not apart_seconds >= 0):
        raise ConfigError(f"most={most}, per_video={per_video}, apart_seconds={apart_seconds}: counts start at 1")
    store = location if isinstance(location, FeatureStore) else FeatureStore.open(location)
    example = parse_example(like) if isinstance(like, str) else like
    if example is not None:
        query, said = example_vector(store, example, given or Given()), _named(example)
    else:
        assert text is not None
        query, said = text_encoder_of(store, given or Given())([text])[0], text
    if query.shape != (store.recipe.dim,):
        raise ConfigError(
            f"{store.location}: holds vectors of {store.recipe.dim} numbers, the query has {len(query)}: another model"
        )
    paths = {request.key: request.path for request in ListedVideos(list(videos))} if videos else {}
    scorer, start = Scorer(query[None]), time.perf_counter()
    found = one_pass(
        store, scorer, most=most, per_video=per_video, apart_seconds=apart_seconds, without=example, watch=watch
    )
    taken = time.perf_counter() - start
    hits, damaged = _checked(store, found.best, scorer)
    per_clip = store.recipe.num_tokens * store.recipe.dim * np.dtype(store.recipe.dtype).itemsize
    return SearchResult(
        store=store.location,
        query=said,
        hits=tuple(Hit(c.key, c.start_seconds, c.end_seconds, c.score, c.clip, paths.get(c.key)) for c in hits),
        num_videos=found.num_videos,
        num_clips=found.num_clips,
        token_bytes=found.num_clips * per_clip,
        seconds=taken,
        failures=(*found.failures, *damaged),
    )


@dataclass
class Found:
    """What a pass over a store has seen."""

    best: list[Candidate] = field(default_factory=list)
    """Best first."""
    num_videos: int = 0
    num_clips: int = 0
    failures: list[SearchFailure] = field(default_factory=list)


def one_pass(
    store: FeatureStore,
    scorer: Scorer,
    *,
    most: int,
    per_video: int,
    apart_seconds: float | None = None,
    without: Example | None = None,
    watch: Watch | None = None,
) -> Found:
    """The best clips of all videos for the scorer's first query, each video read by one thread.

    Options are those of `search`; `without`: a stretch that is not found. A damaged video is a failure by name. Raises
    StoreAccessError.
    """
    best, found = Best(most), Found()

    def look(own: Scorer, item: tuple[int, str]) -> tuple[int, list[Candidate]] | StoreError:
        number, key = item
        try:
            video = store.video(key)
            hits = hits_of_video(
                video, own, most=per_video, apart_seconds=apart_seconds, without=without, floor=best.floor
            )
            times = [video.seconds[clip].tolist() for clip, _ in hits]
        except StoreAccessError:
            raise
        except StoreError as error:
            return error
        return video.num_clips, [
            Candidate(score, (-number, -clip), clip, key, *seconds)
            for (clip, score), seconds in zip(hits, times, strict=True)
        ]

    for (_, key), seen in in_threads(look, scorer, enumerate(store.keys())):
        if watch is not None:
            watch(key)
        if isinstance(seen, StoreError):
            found.failures.append(SearchFailure(key, str(seen)))
            continue
        num_clips, candidates = seen
        found.num_videos, found.num_clips = found.num_videos + 1, found.num_clips + num_clips
        for one in candidates:
            best.offer(one)
    found.best = best.ranked()
    return found


def hits_of_video(
    video: StoredVideo,
    scorer: Scorer,
    *,
    most: int,
    apart_seconds: float | None = None,
    without: Example | None = None,
    floor: float = -np.inf,
) -> list[tuple[int, float]]:
    """The best clips of a video for the scorer's first query, with their scores, best first.

    `floor`: where no score of the video reaches it, there are none, and the clips' times are not even read.
    """
    scores = scorer.of_video(video)[:, 0]
    if without is not None and without.video == video.key:  # the example finds itself
        seconds = video.seconds
        scores[(seconds[:, 0] < without.end_seconds) & (seconds[:, 1] > without.start_seconds)] = np.nan
    if not (scores >= floor).any():
        return []
    seconds = video.seconds
    apart = 2 * float(np.median(seconds[:, 1] - seconds[:, 0])) if apart_seconds is None else apart_seconds
    return [(clip, float(scores[clip])) for clip in peaks(scores, seconds, apart_seconds=apart, most=most)]


def _checked(
    store: FeatureStore, ranked: Iterable[Candidate], scorer: Scorer
) -> tuple[list[Candidate], list[SearchFailure]]:
    """The candidates whose clips, read with their checksums, are whole, by exact score; and the others' videos."""
    good, damaged = [], {}
    for one in ranked:
        try:
            arrays = store.video(one.key).read_stored(one.clip, one.clip + 1)
        except StoreAccessError:
            raise
        except StoreError as error:
            damaged[one.key] = SearchFailure(one.key, str(error))
            continue
        found = float(scorer.of_clips(arrays)[0, 0])
        good.append(replace(one, score=found))
    return sorted(good, reverse=True), list(damaged.values())


def _named(example: Example) -> str:
    return f"{example.video}@{example.start_seconds:g}-{example.end_seconds:g}"


def to_the_tenth(seconds: float) -> str:
    """`0:07.5`, `1:02:03.0`: a time on the clock, to a tenth of a second."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    shown = f"{rest / 10:04.1f}"
    return f"{minutes // 60}:{minutes % 60:02d}:{shown}" if minutes >= 60 else f"{minutes}:{shown}"
