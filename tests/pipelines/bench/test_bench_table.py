"""What a bench's table says of itself."""

from longvid.pipelines.bench.table import BenchTable
from longvid.plain import as_json


def test_only_columns_without_words_are_numbers() -> None:
    table = BenchTable("Readers", ["features", "reader", "seconds", "peak MB"])
    table.rows += [["1 x 768", "memmap", 0.5, 3], ["1 x 768", "store", 0.25, None]]
    assert table.number_columns == ["seconds", "peak MB"]


def test_a_claim_is_reached_on_the_right_side_of_its_goal() -> None:
    table = BenchTable("Readers", [])
    table.claim("ratio", 0.9, at_least=0.9)
    table.claim("ratio", 0.89, at_least=0.9)
    table.claim("memory", 1.2, at_most=1.1)
    assert [claim["reached"] for claim in as_json(table)["claims"]] == [True, False, False]
