"""The feed bench measures what training does, at a size that takes seconds."""

from longvid.pipelines.bench import feed
from longvid.plain import as_json


def test_the_quick_feed_bench_compares_reading_with_a_training_step():
    table = feed.run(quick=True)
    assert [len(row) for row in table.rows] == [len(table.columns)] * 3
    assert table.claims[0].at_least == 1
    assert as_json(table)["claims"][0]["value"] > 0
