"""On the demo, where the truth is known, an audit comes out right.

The class is the order of two events and whether they follow soon or late; every video's mean is the same. Takes ten
minutes: pytest -m slow tests/pipelines/demo/test_audited_demo.py
"""

import pytest

from longvid.pipelines.auditing.audit import audit
from longvid.pipelines.demo.run import config_of, make_features
from longvid.pipelines.demo.videos import EVENT_SECONDS, WAIT_SECONDS, write_scripts


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_pooled_features_are_at_chance_order_is_needed_and_the_events_lie_as_far_apart_as_was_drawn(tmp_path):
    make_features(write_scripts(440, seed=0), tmp_path)
    found = audit(config_of("vis4mer", tmp_path, 1, (0,)))
    context = found.context
    whole = context.points[-1]
    assert whole.probe.value > 0.8
    assert whole.linear.interval.holds(0.25)
    assert not context.pooled_beyond_constant.low > 0
    assert context.order.low > 0
    assert context.reversal.low > 0
    (along,) = [reach for reach in context.reaches if reach.reading == "whole video"]
    # a stretch must hold both events of a late pair, and needs no more than the longest of those
    shortest, longest = (EVENT_SECONDS + wait for wait in WAIT_SECONDS["far"])
    assert along.at_most_seconds >= shortest
    assert along.above_seconds <= longest + EVENT_SECONDS
    for copies in found.clean.copies:
        # some videos of one split are drawn nearly alike: in 102 and 194 both events lie within half a second
        allowed = copies.num_videos // 50 if copies.split == copies.other_split else 0
        assert len(copies.keys) <= allowed, copies
