"""What is given to a second worker: what a dead one had, from where the store says, and what one had no time for."""

from pathlib import Path

import pytest

from longvid.pipelines.extraction import ExtractionJob, VideoRequest
from longvid.pipelines.extraction.assignments import ExtractPieces, OpenVideos
from longvid.pipelines.extraction.measuring import measure
from longvid.pipelines.extraction.plan import make_recipe
from longvid.pipelines.extraction.working import Working
from longvid.stores import FeatureStore, VideoNotInStore

SHARDS = "videos/*/tokens/c.*.0.0"


@pytest.fixture
def working(job: ExtractionJob, tmp_path: Path):
    """A worker's side of a run, as each worker of it has one, and the encoder."""
    encoder = job.build()
    store = FeatureStore.create(tmp_path / "x.zarr", make_recipe(job, encoder), clips_per_shard=4)
    return Working(store, job, job.sampling_for(encoder.spec), measure), encoder


def test_pieces_that_a_dead_worker_made_are_counted_and_not_made_again(
    working, requests: list[VideoRequest], tmp_path: Path
) -> None:
    worker, encoder = working
    (opened,) = worker.do(OpenVideos((requests[0],), 40.0, alone=True), encoder).opened
    assert len(opened.shards) == 6
    before_it_died = worker.do(ExtractPieces(opened.film, opened.shards[:4], 40.0), encoder)
    assert [piece.shard_index for piece in before_it_died.pieces] == [0, 1, 2, 3]
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "x.zarr").glob(SHARDS)}
    again = worker.do(ExtractPieces(opened.film, opened.shards, 40.0), encoder)
    assert [(piece.shard_index, piece.num_clips) for piece in again.pieces] == [(number, 4) for number in range(6)]
    assert [piece.decode_seconds > 0 for piece in again.pieces] == [False] * 4 + [True] * 2
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert len(list((tmp_path / "x.zarr").glob(SHARDS))) == 6


def test_pieces_of_a_video_that_was_deleted_meanwhile_fail_by_name(working, requests: list[VideoRequest]) -> None:
    worker, encoder = working
    (opened,) = worker.do(OpenVideos((requests[0],), 40.0, alone=True), encoder).opened
    worker._store.delete("video-0")
    with pytest.raises(VideoNotInStore):
        worker._store.missing("video-0")
    (failed,) = worker.do(ExtractPieces(opened.film, (0,), 40.0), encoder).pieces
    assert "holds no video 'video-0'" in failed.reason


def test_a_worker_that_opens_films_until_its_time_is_over_gives_back_the_others(
    working, requests: list[VideoRequest]
) -> None:
    worker, encoder = working
    returned = worker.do(OpenVideos(tuple(requests), 1e-9), encoder)
    assert [one.film.key for one in returned.opened] == [requests[0].key], "opened, and its first piece made"
    assert (returned.ended, returned.unopened) == ([], tuple(requests[1:]))
