"""What assignments came to is told by the workers through the scheduler; what is too large for that is fetched."""

from collections.abc import Iterator

import pytest
from distributed import Client, LocalCluster

from longvid.pipelines.extraction import VideoRequest
from longvid.pipelines.extraction.assignments import Assignment, OpenVideos, Returned
from longvid.pipelines.extraction.dask_executor import MOST_TOLD_BYTES, TOPIC, DaskExecutor, WorkPlugin
from longvid.pipelines.extraction.dealing import Dealer
from longvid.pipelines.extraction.report import VideoRow

NUMBER, LARGE = 20, "v7"


class Wordy(WorkPlugin):
    """A worker that says much of one video."""

    def do(self, assignment: Assignment) -> Returned:
        """One row for each video."""
        assert isinstance(assignment, OpenVideos)
        words = {one.key: "x" * (MOST_TOLD_BYTES if one.key == LARGE else 1) for one in assignment.requests}
        return Returned(ended=[VideoRow(key, key, reason=reason) for key, reason in words.items()], seconds=100.0)


@pytest.fixture
def client() -> Iterator[Client]:
    with (
        LocalCluster(n_workers=2, threads_per_worker=2, processes=False, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def test_only_results_that_are_too_large_to_be_told_are_fetched(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []
    gather = client.gather

    def noting(futures, *args, **more):
        fetched.extend(futures)
        return gather(futures, *args, **more)

    monkeypatch.setattr(client, "gather", noting)
    dealer = Dealer(
        (VideoRequest(f"v{index}", f"v{index}.mp4") for index in range(NUMBER)),
        clips_per_shard=64,
        deadline_seconds=3600.0,
        listed=NUMBER,
    )
    rows = []
    with DaskExecutor(client, Wordy()) as executor:
        client.log_event(TOPIC, ["another run", "key", b"of another run"])
        for assignment, returned in executor.run(dealer):
            assert isinstance(returned, Returned)
            rows += returned.ended
            dealer.returned(assignment, returned)
        assert executor._told == {}
    assert sorted(row.key for row in rows) == sorted(f"v{index}" for index in range(NUMBER))
    assert {row.key for row in rows if len(row.reason) > 1} == {LARGE}
    assert len(fetched) == 1
