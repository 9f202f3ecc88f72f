"""Re-extraction of random shards of a store, and comparison.

    found = verify_against("x.zarr", ["videos/"], sample=0.01)
    for shard in found.findings:
        print(shard.key, shard.status, shard.cause)

The store's own recipe is followed as far as `longvid.pipelines.rebuilding` follows any file: code that the store names
is never imported; the caller gives its own encoder now. Other weights than the recipe's are accepted here, and named as
the cause of the differences that they make.
"""

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from longvid.encoders import Encoder
from longvid.errors import ConfigError, LongvidError
from longvid.pipelines.extraction.inputs import ListedVideos, VideoRequest
from longvid.pipelines.extraction.job import ExtractionJob
from longvid.pipelines.extraction.made_with import made_with
from longvid.pipelines.extraction.measuring import measure
from longvid.pipelines.extraction.piece import encode_piece
from longvid.pipelines.extraction.plan import PlanFailure, VideoPlan, make_recipe, plan_one
from longvid.pipelines.rebuilding import Given, built_again
from longvid.pipelines.verification.causes import (
    changed_versions,
    other_decoder,
    other_file,
    other_machine,
    recorded_with,
    same_kind,
)
from longvid.pipelines.verification.comparing import Arrays, Compared, compare, nearest, tolerance_of
from longvid.pipelines.verification.findings import CheckFailure, DifferentClip, ShardFinding, Verification
from longvid.stores import FeatureStore, StoredVideo, StoreError
from longvid.stores.absent import absent_mask
from longvid.stores.numbers import to_stored
from longvid.video.backends import BACKENDS, check_backend

Watch = Callable[[str], None]
"""Is told the video that is extracted again."""

ELSEWHERE = "another file or another cut of it: its clips lie at other seconds"


@dataclass(frozen=True)
class _Checker:
    store: FeatureStore
    job: ExtractionJob
    encoder: Encoder
    tolerance: float
    strict: bool
    """Whether only equal bytes agree on the same kind of machine."""
    other_encoder: str
    """How the encoder is not the recipe's; empty if it is."""


def parse_sample(text: str) -> float:
    """The share of the shards that `1%` or `0.01` asks for. Raises `ConfigError` for anything outside (0, 1]."""
    try:
        share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        share = math.nan
    if not 0 < share <= 1:
        raise ConfigError(f"--sample {text!r}: give a share of the shards such as 1% or 0.01, up to 100%")
    return share


def verify_against(
    location: str | Path | FeatureStore,
    videos: Sequence[str | Path],
    *,
    sample: float = 0.01,
    seed: int | None = None,
    given: Given | None = None,
    backend: str | None = None,
    tolerance: float | None = None,
    device: str = "auto",
    watch: Watch | None = None,
) -> Verification:
    """Extract random shards of a store again from `videos` (files, folders or manifests) and compare them.

    `sample`: share of the shards of the videos that are given, at least one shard. `seed`: chooses the shards; None: a
    new choice each time. `given`: the encoder, where the store's files may not name it. `backend`: a decoder other than
    the one that each video records. `tolerance`: the relative error that is accepted everywhere; None: equal bytes on
    the kind of machine that the store records, else `tolerance_of` its recipe.
    Videos that cannot be read are `failures`; the others go on. Raises `ConfigError` where nothing can be compared.
    """
    if backend is not None and backend not in BACKENDS:
        raise ConfigError(f"--backend {backend!r}: expected one of {', '.join(BACKENDS)}")
    store = location if isinstance(location, FeatureStore) else FeatureStore.open(location)
    checker = _checker(store, given or Given(), device, tolerance)
    requests = {request.key: request for request in ListedVideos(list(videos))}
    lengths = store.num_clips()
    there = _given_keys(store, lengths, requests, videos)
    shards = [(key, index) for key in there for index in range(store.layout.num_shards(lengths[key]))]
    seed = random.SystemRandom().randrange(2**32) if seed is None else seed
    # rounding up: 1 % of 50 shards is one shard
    chosen = sorted(random.Random(seed).sample(shards, max(1, math.ceil(sample * len(shards) - 1e-9))))
    findings, failures, expected = [], [], True
    by_video: dict[str, list[int]] = {}
    for key, index in chosen:
        by_video.setdefault(key, []).append(index)
    for key, indices in by_video.items():
        if watch is not None:
            watch(key)
        try:
            found, strict = _check_video(checker, requests[key], indices, backend)
        except (LongvidError, StoreError) as error:
            failures.append(CheckFailure(key, requests[key].path, str(error)))
            continue
        findings += found
        expected = expected and strict
    return Verification(
        store=store.location,
        sample=sample,
        seed=seed,
        num_shards=len(shards),
        tolerance=checker.tolerance,
        equal_bytes_expected=expected and bool(findings),
        findings=tuple(_with_pattern(findings)),
        failures=tuple(failures),
        not_given=tuple(key for key in lengths if key not in requests),
    )


def _given_keys(
    store: FeatureStore, lengths: Mapping[str, int], requests: Mapping[str, VideoRequest], videos: Sequence[str | Path]
) -> list[str]:
    """Keys of the store's videos that are given. Raises `ConfigError` if there are none."""
    there = [key for key in lengths if key in requests]
    if not there:
        example = next(iter(lengths), None)
        raise ConfigError(
            f"{store.location}: none of its {len(lengths)} videos is in {', '.join(map(str, videos))}"
            f" (it holds {example!r}, ...); a file's key is its path in the folder, without the ending"
        )
    return there


def _checker(store: FeatureStore, given: Given, device: str, tolerance: float | None) -> _Checker:
    recipe = store.recipe
    job, encoder = built_again(recipe, store.made_with, given, source=store.location, device=device)
    try:
        here = make_recipe(job, encoder)
    except LongvidError:
        raise
    except (RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(f"{store.location}: this encoder cannot encode the clips of the store ({reason})") from error
    differences = recipe.differences(here)
    if (here.num_tokens, here.dim) != (recipe.num_tokens, recipe.dim):
        raise ConfigError(
            f"{store.location}: the encoder built here gives {here.num_tokens} x {here.dim} numbers per clip, the "
            f"store holds {recipe.num_tokens} x {recipe.dim}: nothing can be compared ({'; '.join(differences)})"
        )
    weights = [line for line in differences if line.startswith("weights_sha256")]
    kind = "weights" if weights else "encoder settings"
    other = f"other {kind} than the recipe's (store != here: {'; '.join(differences)})" if differences else ""
    accepted = tolerance_of(recipe) if tolerance is None else tolerance
    return _Checker(store, job, encoder, accepted, tolerance is None, other)


def _check_video(
    checker: _Checker, request: VideoRequest, indices: list[int], backend: str | None
) -> tuple[list[ShardFinding], bool]:
    """The findings on some shards of a video, and whether equal bytes were expected of them."""
    video = checker.store.video(request.key)
    source = video.source
    job = replace(
        checker.job,
        backend=backend or _recorded_backend(source),
        allow_truncated=True,
        allow_damaged=bool(video.damaged),
        batch_clips=_recorded_batch(source, checker.job.batch_clips),
    )
    sampling = job.sampling_for(checker.encoder.spec)
    plan = plan_one(request, sampling=sampling, job=job, measure_one=measure, store=_Forgetful(checker.store))
    if isinstance(plan, PlanFailure):
        raise ConfigError(plan.reason)
    assert isinstance(plan, VideoPlan)
    now = made_with(job, plan.backend)
    changed = changed_versions(recorded_with(source), now) if recorded_with(source) else {}
    file, decoder = other_file(source, plan), other_decoder(source, plan, changed)
    strict = checker.strict and not decoder and same_kind(recorded_with(source), now)
    cause = file or checker.other_encoder or decoder or other_machine(changed)
    known = _Known(file, cause, strict)
    return [_check_shard(checker, job, video, plan, index, known) for index in indices], strict


@dataclass(frozen=True)
class _Known:
    """What is known to differ before anything is decoded."""

    file: str
    cause: str
    strict: bool


class _Forgetful(FeatureStore):
    """A store for planning that remembers no video, so that an unchanged file is read through, too."""

    def __init__(self, store: FeatureStore) -> None:
        super().__init__(store.place, store.recipe, store.layout)

    def whole_record(self, key: str) -> None:
        """None: no video is complete."""


def _recorded_backend(source: dict[str, object]) -> str:
    """The decoder that the store records, if it runs here; else `auto`."""
    about = source.get("about")
    name = about.get("backend") if isinstance(about, dict) else None
    try:
        return str(name) if name is not None and check_backend(str(name)).works else "auto"
    except KeyError:
        return "auto"


def _recorded_batch(source: dict[str, object], default: int) -> int:
    told = recorded_with(source).get("batch_clips", "")
    return int(told) if told.isdecimal() and 0 < int(told) <= 256 else default


def _check_shard(
    checker: _Checker, job: ExtractionJob, video: StoredVideo, plan: VideoPlan, index: int, known: _Known
) -> ShardFinding:
    key = plan.request.key
    first, stop = checker.store.layout.shard_clips(video.num_clips, index)
    seconds = video.seconds[first:stop]
    again = _made_again(checker, job, video, plan, index, known)
    different = again.different(first, seconds)
    notes = (f"{known.file}; its features are the same",) if known.file and not different else ()
    measured = again.compared
    return ShardFinding(
        key=key,
        path=plan.request.path,
        shard_index=index,
        first_clip=first,
        stop_clip=stop,
        start_seconds=float(seconds[0, 0]),
        end_seconds=float(seconds[-1, 1]),
        equal=int(measured.equal.sum()),
        close=int((again.accepted & ~measured.equal).sum()),
        different=tuple(different),
        absent=int((again.absent_there & again.absent).sum()),
        lowest_cosine=_finite(measured.cosine.min(initial=np.inf)),
        largest_error=_finite(measured.error.max(initial=-np.inf)),
        cause=_cause(checker, plan, again, known, seconds, first) if different else "",
        notes=notes,
    )


@dataclass(frozen=True, eq=False)
class _MadeAgain:
    """The clips of a shard that the video has, beside the stored ones."""

    stored: Arrays
    made: Arrays
    """Both hold only the clips that both sides have."""
    compared: Compared
    accepted: np.ndarray
    """Which of these agree, as closely as has to be."""
    clips: np.ndarray
    """Their numbers in the shard."""
    absent: np.ndarray
    """(clips of the shard,): absent here, as the file is damaged, or because the video is shorter."""
    absent_there: np.ndarray
    """The same in the store."""

    def different(self, first: int, seconds: np.ndarray) -> list[DifferentClip]:
        """The clips that do not agree, in order; `first` is the number of the shard's first clip in the video."""
        found = [
            DifferentClip(
                first + int(clip),
                float(seconds[clip, 0]),
                float(seconds[clip, 1]),
                _finite(self.compared.cosine[row]),
                _finite(self.compared.error[row]),
            )
            for row, clip in enumerate(self.clips)
            if not self.accepted[row]
        ]
        one_side = np.flatnonzero(self.absent != self.absent_there)
        found += [
            DifferentClip(first + int(clip), float(seconds[clip, 0]), float(seconds[clip, 1]), None, None)
            for clip in one_side
        ]
        return sorted(found, key=lambda one: one.clip)


def _made_again(
    checker: _Checker, job: ExtractionJob, video: StoredVideo, plan: VideoPlan, index: int, known: _Known
) -> _MadeAgain:
    """Encode the clips of a shard, with as many CPU threads as it takes to get equal bytes where they are expected."""
    store = checker.store
    first, stop = store.layout.shard_clips(video.num_clips, index)
    stored = video.read_stored(first, stop, missing="nan")
    absent_there = absent_mask(video.damaged, first, stop)
    shared = max(0, min(stop, len(plan.clips)) - first)
    if not shared:
        nothing = np.zeros(0)
        none = Compared(nothing.astype(bool), nothing, nothing)
        return _MadeAgain({}, {}, none, none.equal, nothing.astype(int), np.ones(stop - first, bool), absent_there)
    piece = replace(plan.piece(index, store.layout), plan=plan.clips[first : first + shared])
    for threads in _ways_to_compute():
        with threads:
            encoded = encode_piece(piece, encoder=checker.encoder, store=store, job=job)
        absent = np.ones(stop - first, bool)
        absent[:shared] = False
        absent[[clip - first for clip in encoded.damaged]] = True
        clips = np.flatnonzero(~absent & ~absent_there)
        made = to_stored(encoded.tokens, store.recipe.dtype, absent[:shared])
        there, here = ({name: array[clips] for name, array in arrays.items()} for arrays in (stored, made))
        compared = compare(there, here)
        near = compared.error <= checker.tolerance
        if compared.equal.all() or not known.strict or not near.all():
            break
    accepted = compared.equal if known.strict else compared.equal | near
    return _MadeAgain(there, here, compared, accepted, clips, absent, absent_there)


def _cause(
    checker: _Checker, plan: VideoPlan, again: _MadeAgain, known: _Known, seconds: np.ndarray, first: int
) -> str:
    """The likely cause of a difference, as far as one shard shows it."""
    if known.cause:
        return known.cause
    own = plan.clips.seconds[first : first + len(seconds)]
    if not np.array_equal(own, seconds):
        return ELSEWHERE
    moved = _shifted(again)
    if moved:
        return moved
    same_clips = np.array_equal(again.absent, again.absent_there)
    if known.strict and same_clips and (again.compared.error <= checker.tolerance).all():
        return (
            "rounding, on the same kind of machine: the clips were changed after their extraction, or encoded in "
            f"batches of another size; --tolerance {checker.tolerance:g} accepts it"
        )
    return ""


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _shifted(again: _MadeAgain) -> str:
    """What it means if a clip that differs has the features of another clip of the shard; else empty."""
    rows = np.flatnonzero(~again.accepted)
    if not len(rows) or len(again.clips) < 2:
        return ""
    best = nearest({name: array[rows] for name, array in again.stored.items()}, again.made)
    for row, other in zip(rows, best, strict=True):
        pair = ({name: array[[at]] for name, array in arrays.items()} for arrays, at in
                ((again.stored, row), (again.made, other)))  # fmt: skip
        if row != other and compare(*pair).equal[0]:
            return (
                f"clips in other places: stored clip {again.clips[row]} of the shard holds what the video shows in its "
                f"clip {again.clips[other]} (changed after extraction, or other frames were chosen)"
            )
    return ""


@contextmanager
def _threads(number: int) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _ways_to_compute() -> Iterator[AbstractContextManager[None]]:
    """This process's number of CPU threads, then one: workers of a cluster mostly have one, which changes last bits."""
    import torch

    for number in dict.fromkeys((torch.get_num_threads(), 1)):
        yield _threads(number)


def _with_pattern(findings: list[ShardFinding]) -> list[ShardFinding]:
    """Causes for findings that have none, from where the differences lie."""
    told = []
    everywhere = {
        key: all(one.equal == one.close == 0 for one in findings if one.key == key)
        for key in {one.key for one in findings}
    }
    for one in findings:
        if one.different and not one.cause:
            if one.equal or one.close:
                cause = "these clips were changed in the store after their extraction: the others of the shard agree"
            elif not everywhere[one.key]:
                cause = "this shard was changed in the store after its extraction: others of the video agree"
            elif all(everywhere.values()):
                cause = "other weights or settings than the recipe says: file and decoder are those that it records"
            else:
                cause = "features of another video under this key: other videos agree"
            one = replace(one, cause=cause)
        told.append(one)
    return told
