"""How work is dealt out: in assignments of about 20 seconds, each video once, and culprits alone."""

from collections.abc import Iterator

import pytest

from longvid.pipelines.extraction import VideoRequest, dealing
from longvid.pipelines.extraction.assignments import (
    Assignment,
    CompleteVideo,
    Died,
    ExtractPieces,
    Film,
    Opened,
    OpenVideos,
    Returned,
)
from longvid.pipelines.extraction.dealing import (
    AHEAD,
    DEALT_A_SECOND,
    FIRST_VIDEOS,
    KILLED,
    LEAST_TARGET_SECONDS,
    MOST_VIDEOS,
    TARGET_SECONDS,
    Dealer,
    limit_seconds,
)
from longvid.pipelines.extraction.outcomes import PieceFailure
from longvid.pipelines.extraction.report import VideoRow

MANY_SLOTS = 1000


def listed(number: int) -> Iterator[VideoRequest]:
    return (VideoRequest(f"v{index}", f"v{index}.mp4") for index in range(number))


def dealer(number: int, *, deadline_seconds: float = 3600.0) -> Dealer:
    return Dealer(listed(number), clips_per_shard=64, deadline_seconds=deadline_seconds)


def done(assignment: Assignment, *, seconds_each: float) -> Returned:
    """What comes back of an assignment whose videos take that long each."""
    assert isinstance(assignment, OpenVideos)
    rows = [VideoRow(one.key, one.path) for one in assignment.requests]
    return Returned(ended=rows, seconds=seconds_each * len(rows))


def film(key: str = "film") -> Film:
    return Film(VideoRequest(key, f"{key}.mp4"), b"", "pyav", {})


def opened(num_pieces: int, key: str = "film") -> Opened:
    return Opened(film(key), VideoRow(key, f"{key}.mp4"), tuple(range(num_pieces)), 64 * num_pieces)


@pytest.mark.parametrize("seconds_each", [0.001, 0.25, 5.0, 300.0])
def test_an_assignment_holds_about_twenty_seconds_of_work_once_videos_were_measured(seconds_each: float) -> None:
    work = dealer(100_000)
    (first,) = work.take(1, slots=MANY_SLOTS)
    assert isinstance(first, OpenVideos)
    assert (len(first.keys), first.budget_seconds) == (FIRST_VIDEOS, LEAST_TARGET_SECONDS), "nothing is known yet"
    work.returned(first, done(first, seconds_each=seconds_each))
    (second,) = work.take(1, slots=MANY_SLOTS)
    assert len(second.keys) == pytest.approx(max(1, min(MOST_VIDEOS, TARGET_SECONDS / seconds_each)), abs=1)


def test_every_listed_video_is_dealt_out_once_and_in_order_while_one_is_open() -> None:
    work, keys = dealer(3000), []
    while batch := work.take(5, slots=8):
        for assignment in batch:
            keys += assignment.keys
            work.returned(assignment, done(assignment, seconds_each=0.1))
    assert keys == [request.key for request in listed(3000)]


def test_the_last_assignments_of_a_list_are_small_so_that_all_workers_end_together() -> None:
    work, sizes = dealer(2000), []
    while batch := work.take(1, slots=10):
        sizes.append(len(batch[0].keys))
        work.returned(batch[0], done(batch[0], seconds_each=0.01))
    assert sizes[1] > 50
    assert sizes[-10:] == [1] * 10
    assert sizes[1:] == sorted(sizes[1:], reverse=True)


def test_the_end_of_a_list_of_known_length_is_seen_long_before_the_last_videos_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dealing, "AHEAD", 64)
    slots, number = 200, 40_000
    known = Dealer(listed(number), clips_per_shard=64, deadline_seconds=3600.0, listed=number)
    ends = []
    for work in (known, dealer(number)):
        (first,) = work.take(1, slots=slots)
        work.returned(first, done(first, seconds_each=1.0))
        sizes = []
        while batch := work.take(1, slots=slots):
            sizes.append(len(batch[0].keys))
            work.returned(batch[0], done(batch[0], seconds_each=1.0))
        assert sum(sizes) == number - len(first.keys)
        ends.append(sum(sizes[-2 * slots :]) / slots)
    assert ends[0] < 2.5 * slots / DEALT_A_SECOND, "each slot's last two assignments are of about a turn"
    assert ends[1] > 1.5 * TARGET_SECONDS


def test_with_a_thousand_workers_even_the_last_assignments_last_as_long_as_all_others_take_to_be_handed_out() -> None:
    slots = 2000
    work, seconds = dealer(5000), []
    (first,) = work.take(1, slots=slots)
    work.returned(first, done(first, seconds_each=0.5))
    while batch := work.take(1, slots=slots):
        seconds.append(0.5 * len(batch[0].keys))
        work.returned(batch[0], done(batch[0], seconds_each=0.5))
    assert min(seconds[:-1]) >= slots / DEALT_A_SECOND


def test_the_pieces_that_are_left_are_counted_through_all_that_happens_to_them() -> None:
    work = dealer(0)
    for key in ("a", "b"):
        work.add(opened(30, key))
    (first,) = work.take(1, slots=4)
    work.returned(first, Returned(seconds=64 * 0.1))
    (second,) = work.take(1, slots=4)
    assert isinstance(second, ExtractPieces)
    work.returned(second, Returned(unfinished=second.shards[1:], seconds=60.0))
    (third,) = work.take(1, slots=4)
    work.died(third, Died(KILLED))
    left = sum(len(film.shards) for film in work._films)
    assert work._num_pieces_left == left
    while batch := work.take(1, slots=4):
        work.returned(batch[0], Returned(seconds=1.0))
    assert work._num_pieces_left == 0


def test_a_list_is_read_only_a_little_ahead() -> None:
    read = []

    def noting() -> Iterator[VideoRequest]:
        for request in listed(1_000_000):
            read.append(request.key)
            yield request

    work = Dealer(noting(), clips_per_shard=64, deadline_seconds=3600.0)
    work.take(10, slots=10)
    assert len(read) <= AHEAD


def test_what_a_worker_had_no_time_for_comes_first_again() -> None:
    work = dealer(1000)
    (first,) = work.take(1, slots=MANY_SLOTS)
    work.returned(first, done(first, seconds_each=0.5))
    (second,) = work.take(1, slots=MANY_SLOTS)
    assert isinstance(second, OpenVideos)
    work.returned(second, Returned(ended=[VideoRow("v1", "v1.mp4")], unopened=second.requests[1:], seconds=40.0))
    (third,) = work.take(1, slots=MANY_SLOTS)
    assert third.keys[0] == "v2"


def test_the_pieces_of_a_film_come_before_further_videos_and_are_completed_by_a_worker() -> None:
    work = dealer(10)
    (first,) = work.take(1, slots=1)
    work.returned(first, Returned(opened=[opened(5, "v0")]))
    work.add(opened(5, "v0"))
    shards: list[int] = []
    while len(shards) < 5:
        (piece,) = work.take(1, slots=1)
        assert isinstance(piece, ExtractPieces)
        shards += piece.shards
        work.returned(piece, Returned(seconds=10.0))
    assert shards == [0, 1, 2, 3, 4]
    work.complete(VideoRow("v0", "v0.mp4"))
    (last,) = work.take(1, slots=1)
    assert isinstance(last, CompleteVideo)


def test_while_nothing_is_known_nothing_is_queued_behind_the_first_videos() -> None:
    work = dealer(1000)
    first = work.take(100, slots=8)
    assert [assignment.keys for assignment in first] == [[f"v{number}"] for number in range(8)]
    assert work.take(100, slots=8) == []
    work.returned(first[0], done(first[0], seconds_each=0.5))
    assert len(work.take(100, slots=8)) == 100


def test_before_the_pieces_of_films_run_out_half_of_the_threads_open_the_next_films() -> None:
    work, slots = dealer(1000), 8
    first = work.take(100, slots=slots)
    for assignment in first:
        work.returned(assignment, Returned(opened=[opened(50, assignment.keys[0])]))
        work.add(opened(50, assignment.keys[0]))
    running = work.take(16, slots=slots)
    assert all(isinstance(assignment, ExtractPieces) for assignment in running), "pieces of 400 s are left"
    while all(isinstance(assignment, ExtractPieces) for assignment in running):
        ended = running.pop(0)
        assert isinstance(ended, ExtractPieces)
        work.returned(ended, Returned(seconds=1.0 * len(ended.shards)))
        running += work.take(1, slots=slots)
    assert 0 < work._num_pieces_left < slots * LEAST_TARGET_SECONDS, "pieces that all threads have done in 4 s"
    running += work.take(8, slots=slots)
    assert sum(isinstance(assignment, OpenVideos) for assignment in running) == slots // 2


def test_pieces_that_a_worker_had_no_time_for_are_dealt_out_again() -> None:
    work = dealer(0)
    work.add(opened(6))
    (first,) = work.take(1, slots=1)
    work.returned(first, Returned(seconds=64 * 0.001))
    (second,) = work.take(1, slots=1)
    assert isinstance(second, ExtractPieces)
    work.returned(second, Returned(unfinished=second.shards[1:], seconds=60.0))
    shards = [*second.shards[:1]]
    while batch := work.take(1, slots=1):
        assert isinstance(batch[0], ExtractPieces)
        shards += batch[0].shards
        work.returned(batch[0], Returned(seconds=1.0))
    assert shards == [1, 2, 3, 4, 5]


def test_of_many_videos_whose_process_died_only_those_whose_process_dies_again_run_alone() -> None:
    work, alone, done_keys, failed = dealer(500), [], [], []
    (first,) = work.take(1, slots=MANY_SLOTS)
    work.returned(first, done(first, seconds_each=0.5))
    running = work.take(5, slots=MANY_SLOTS)
    while running:
        assignment = running.pop(0)
        if assignment.alone:
            assert not running, "another one runs beside it"
            alone.append(assignment.keys)
        if "v7" in assignment.keys:
            failed += work.died(assignment, Died(KILLED)).ended
        else:
            done_keys += assignment.keys
            work.returned(assignment, done(assignment, seconds_each=0.5))
        running += work.take(5 - len(running), slots=MANY_SLOTS)
    assert alone == [["v7"]]
    assert [row.key for row in failed] == ["v7"]
    assert failed[0].reason == f"v7.mp4: {KILLED}, also when it ran alone"
    assert sorted(done_keys) == sorted({f"v{index}" for index in range(1, 500)} - {"v7"})


def test_a_film_whose_piece_is_guilty_fails_whole_and_no_other_piece_of_it_kills_a_worker() -> None:
    work, failures, deaths = dealer(0), [], 0
    work.add(opened(40))
    while batch := work.take(1, slots=1):
        (assignment,) = batch
        assert isinstance(assignment, ExtractPieces)
        deaths += 1
        failures += work.died(assignment, Died(KILLED)).pieces
    assert all(isinstance(failure, PieceFailure) for failure in failures)
    assert sorted(failure.shard_index for failure in failures) == list(range(40))
    assert deaths == 2


def test_one_piece_has_the_deadline_and_several_things_have_time_to_be_late_in_one() -> None:
    assert limit_seconds(ExtractPieces(film(), (3,), 20.0), 100.0) == 100.0
    assert limit_seconds(ExtractPieces(film(), (3, 4), 20.0), 100.0) == 200.0
    assert limit_seconds(OpenVideos(tuple(listed(1)), 20.0), 100.0) == 200.0


def test_an_assignment_is_shorter_than_a_short_deadline() -> None:
    work = dealer(10_000, deadline_seconds=8.0)
    (first,) = work.take(1, slots=MANY_SLOTS)
    work.returned(first, done(first, seconds_each=0.1))
    (second,) = work.take(1, slots=MANY_SLOTS)
    assert len(second.keys) * 0.1 <= 2.0
