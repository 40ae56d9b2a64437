"""Between generations: replies into columns, joins and stacks, every row kept or counted."""

import pyarrow as pa
import pytest

from pipeline.errors import UserError
from pipeline.relations import concat, join, parse, reader


@reader({"words": pa.list_(pa.string())})
def words(row):
    """Read a comma list; empty where there is nothing."""
    found = [word.strip() for word in row["completion"].split(",") if word.strip()]
    return {"words": found} if found else "empty"


def rollouts(*completions, finish="stop"):
    """Rollouts of one prompt each."""
    return pa.Table.from_pylist(
        [
            {
                "rollout_id": f"r{i}",
                "id": f"p{i}",
                "completion": text,
                "finish_reason": finish,
                "parents": [f"p{i}"],
            }
            for i, text in enumerate(completions)
        ]
    )


def test_parse_fills_columns_and_counts_the_rest() -> None:
    """Each reply becomes columns or a counted reason, and its rollout leads the lineage."""
    kept, dropped, *_ = parse(rollouts("a, b", "  ", "c"), reader=words)
    assert kept["words"].to_pylist() == [["a", "b"], ["c"]]
    assert kept["parents"].to_pylist() == [["r0", "p0"], ["r2", "p2"]]
    assert dropped == {"empty": 1}


@pytest.mark.parametrize(("finish", "reason"), [("length", "truncated"), ("error", "unanswered")])
def test_parse_never_reads_what_is_not_whole(finish: str, reason: str) -> None:
    """A cut off reply and a missing one do not reach the reader."""
    kept, dropped, *_ = parse(rollouts("a, b", finish=finish), reader=words)
    assert len(kept) == 0 and dropped == {reason: 1}
    assert kept.schema.field("words").type == pa.list_(pa.string())


def test_parse_brings_the_columns_of_what_was_asked() -> None:
    """With the rows that were sampled, the reader and the next template see their columns."""
    asked = pa.table({"id": ["p1", "p0"], "seed_text": ["one", "zero"]})
    kept, _, *_ = parse(rollouts("a", "b"), asked, reader=words)
    assert kept["seed_text"].to_pylist() == ["zero", "one"]


def test_join_adds_columns_and_counts_the_lonely() -> None:
    """Own columns win, missing ones are brought, rows without a partner leave counted."""
    rows = pa.table({"id": ["b", "a", "b", "x"], "n": [1, 2, 3, 4]})
    others = pa.table({"id": ["a", "b"], "n": [7, 8], "name": ["A", "B"]})
    kept, dropped, *_ = join(rows, others)
    assert kept.to_pydict() == {"id": ["b", "a", "b"], "n": [1, 2, 3], "name": ["B", "A", "B"]}
    assert dropped == {"no_match": 1}


def test_join_refuses_a_repeated_key() -> None:
    """A key that stands twice on the right would multiply rows: refused, with both numbers."""
    with pytest.raises(UserError, match="2 rows to join with have 1 different"):
        join(pa.table({"id": ["a"]}), pa.table({"id": ["a", "a"]}))


def test_concat_fills_with_null() -> None:
    """Stacked tables keep every row; a column that one lacks is null there."""
    made = concat([pa.table({"id": ["a"], "x": [1]}), pa.table({"id": ["b"]})])
    assert made.to_pylist() == [{"id": "a", "x": 1}, {"id": "b", "x": None}]
