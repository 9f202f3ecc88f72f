"""The feed bench measures what training does, at a size that takes seconds."""

from longvid.pipelines.bench import feed
from longvid.plain import as_json


def test_the_quick_feed_bench_compares_reading_with_a_training_step():
    table = feed.run(quick=True)
    assert [len(row) for row in table.rows] == [len(table.columns)] * 7
    assert table.claims[0].at_least == 1
    assert as_json(table)["claims"][0]["value"] > 0


def test_the_feed_bench_trains_twenty_heads_on_one_reading_beside_one_head():
    table = feed.run(quick=True)
    claims = {claim.what: claim for claim in table.claims if "20 attentive heads" in claim.what}
    assert len(claims) == 2
    rows = {str(row[0]): row for row in table.rows}
    for precision in ("float32", "bfloat16"):
        claim = claims[f"time of 20 attentive heads on one reading over one head's, {precision}"]
        assert claim.at_most == 3
        one = rows[f"reading and training one attentive head, {precision}"][3]
        many = rows[f"reading and training 20 attentive heads side by side, {precision}"][3]
        assert abs(claim.value - many / one) < 1e-9 * claim.value
