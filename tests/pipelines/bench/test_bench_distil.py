"""The bench of distillation: its student is small, and the whole chain ends in a table."""

import pytest

from longvid.pipelines.bench import distil

TINY = distil.Size(5, 3, 20, teacher_epochs=1, student_epochs=1, decoder_epochs=2, seeds=1)


def test_the_student_needs_at_most_a_tenth_of_the_teachers_operations() -> None:
    cost = {who: distil._operations(who) for who in distil.WHO}
    assert 0 < cost["student"] <= distil.GOAL_OPERATIONS * cost["teacher"]
    assert cost["random student"] == cost["student"]


@pytest.mark.slow  # a minute of one core: draws 28 videos, extracts, trains
def test_the_bench_of_distillation_ends_with_a_row_for_every_encoder(tmp_path) -> None:
    table = distil.measured(tmp_path, TINY)
    assert [row[0] for row in table.rows] == list(distil.WHO)
    assert [claim.at_least for claim in table.claims] == [None, distil.GOAL_SHARE]
