"""Reruns over complete stores: what a video costs, and that a large store stays quick."""

import pytest

from longvid.pipelines.bench.rerun import INFO_SECONDS, MOST_BYTES_A_VIDEO, MOST_GROWTH, OPEN_SECONDS, measure

pytestmark = pytest.mark.slow


def test_a_rerun_reads_three_blocks_of_each_complete_video_and_keeps_none_of_them_in_memory() -> None:
    claims = {claim.what: claim for claim in measure(200).claims}
    assert claims["bytes read per complete video"].value == pytest.approx(3 * 256 * 1024, rel=0.01)
    assert claims["memory of the rerun, all of the videos against a tenth"].value <= MOST_GROWTH


@pytest.mark.timeout(2 * 3600)
def test_a_store_of_a_hundred_thousand_videos_is_opened_and_counted_and_rerun_in_time(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Makes 600,000 files, which takes most of the time; `pytest -m slow -k hundred_thousand -s` prints the numbers."""
    table = measure(100_000)
    with capsys.disabled():
        print(table)
    claims = {claim.what: claim.value for claim in table.claims}
    assert claims["seconds to open the store and read a first window"] <= OPEN_SECONDS
    assert claims["seconds of info"] <= INFO_SECONDS
    assert claims["seconds of the rerun"] <= 600.0
    assert claims["bytes read per complete video"] <= MOST_BYTES_A_VIDEO
