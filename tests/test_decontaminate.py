"""Decontamination rules against the cards' worked rows, and what the verdicts keep."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.decontaminate import (
    Hit,
    decontaminate,
    find_overlaps,
    index_benchmarks,
    set_overlap,
)
from pipeline.errors import UserError
from pipeline.selection.overlap import common_subsequence, gram_hashes, tokenise

W = [f"w{i}" for i in range(1, 32)]


def bench(*texts: str) -> pa.Table:
    """A benchmark table of prompts i0, i1, ..."""
    return pa.table(
        {
            "bench": ["toy"] * len(texts),
            "item_id": [f"i{n}" for n in range(len(texts))],
            "prompt": list(texts),
        }
    )


def chat(*turns: tuple[str, str]) -> list[dict[str, str]]:
    """A conversation of (role, content) turns."""
    return [{"role": role, "content": content} for role, content in turns]


def replaced(*places: int) -> str:
    """The card's test item with some words (from 1) replaced."""
    return " ".join(f"x{i}" if i in places else w for i, w in enumerate(W, 1))


FRAGMENTS = " ".join([*W[:8], "a", *W[12:20], "b", *W[22:30]])


@pytest.mark.parametrize(
    "row, covered, tulu, any12, any13",
    [
        (" ".join(W), 1.0, True, True, True),
        (replaced(5), 0.8387, True, True, True),
        (" ".join(W[:13]), 0.4194, False, True, True),
        (" ".join(W[:12]), 0.3871, False, True, False),
        (FRAGMENTS, 0.7742, True, False, False),
        (replaced(8, 16, 24), 0, False, False, False),
    ],
)
def test_rules_of_the_curation_card(
    row: str, covered: float, tulu: bool, any12: bool, any13: bool
) -> None:
    """Six training rows against an item of 31 words: covered share and verdicts of the rules."""
    item = bench(" ".join(W))
    hits = find_overlaps([row], index_benchmarks(item, rule="tulu3"))
    assert bool(hits) == tulu
    if tulu:
        assert hits[0].score == pytest.approx(covered, abs=5e-5)
    assert bool(find_overlaps([row], index_benchmarks(item, rule="any_13gram"))) == any13
    shared = set(gram_hashes(W, 12)) & set(gram_hashes(tokenise(row), 12))
    assert bool(shared) == any12


SUMS = "What is the remainder when 1 + 2 + 3 + 4 + ... + 9 + 10 is divided by {}?"
DECIMAL = (
    "For how many integer values of n between 1 and 1000 inclusive does the decimal "
    "representation of n/{} terminate?"
)
LONG = (
    "Let x and y be real numbers such that the sum of x and y is 5. Find the product of all "
    "possible values of x squared plus y squared given the pair is an integer pair and x is at "
    "least zero and y is at most ten, then divide by two."
)
POINT = (
    "If the sum of the x and y coordinates of a point is 5, and let x and y be real numbers such "
    "that the sum of x and y is 5 then compute x."
)


@pytest.mark.parametrize(
    "row, item, sizes, shared, length, ratio, found",
    [
        (SUMS.format(8), SUMS.format(9), (15, 15), 2, 14, 0.9333, True),
        (DECIMAL.format(1400), DECIMAL.format(1375), (20, 20), 6, 19, 0.95, True),
        (LONG, POINT, (53, 35), 5, 18, 0.3396, False),
    ],
)
def test_qwen_rule_of_the_card(
    row: str,
    item: str,
    sizes: tuple[int, int],
    shared: int,
    length: int,
    ratio: float,
    found: bool,
) -> None:
    """Qwen-Math card: tokens, shared runs of 13, common subsequence, ratio and verdict of three."""
    one, other = tokenise(row), tokenise(item)
    assert (len(one), len(other)) == sizes
    assert len(set(gram_hashes(one, 13)) & set(gram_hashes(other, 13))) == shared
    assert common_subsequence(one, other) == length
    assert length / max(sizes) == pytest.approx(ratio, abs=5e-5)
    hits = find_overlaps([row], index_benchmarks(bench(item), rule="qwen_math"))
    assert bool(hits) == found
    if found:
        assert hits[0].score == pytest.approx(ratio, abs=5e-5)


def test_qwen_rule_finds_an_item_inside_a_long_text() -> None:
    """An item held whole by a text five times as long is found by its own share."""
    row = " ".join([*(f"p{i}" for i in range(80)), *W, *(f"q{i}" for i in range(40))])
    (hit,) = find_overlaps([row], index_benchmarks(bench(" ".join(W)), rule="qwen_math"))
    assert hit.score == 1.0


@given(st.lists(st.sampled_from("abc"), max_size=12), st.lists(st.sampled_from("abc"), max_size=12))
def test_common_subsequence_is_the_longest(one: list[str], other: list[str]) -> None:
    """The bit-parallel length is that of the textbook table, either way round."""
    table = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            table[i + 1][j + 1] = (
                table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
            )
    assert common_subsequence(one, other) == table[-1][-1] == common_subsequence(other, one)


def test_selfcodealign_is_a_substring_of_the_whole_row() -> None:
    """Case does not matter, the text may span turns, and exempt texts match nothing."""
    items = bench("Return The Sum\nof two", "return x")
    index = index_benchmarks(items, rule="selfcodealign", exempt=["return x"])
    assert find_overlaps(["please RETURN the sum\nof two numbers; return x"], index) == [
        Hit("selfcodealign", "toy", "i0", "return the sum\nof two", 1.0)
    ]
    rows = pa.table({"id": ["a"], "instruction": ["return the sum"], "response": ["of two"]})
    found = decontaminate(rows, items, rule="selfcodealign", columns=["instruction", "response"])
    assert found.dropped == {"contaminated_toy": 1}


@given(st.text("ab .x", max_size=12), st.text("ab .x", min_size=1, max_size=4))
def test_substrings_are_all_found(row: str, item: str) -> None:
    """The index misses nothing that a search for each item would find, cut words included."""
    index = index_benchmarks(bench(item), rule="selfcodealign")
    assert bool(find_overlaps([row], index)) == (bool(item.strip()) and item in row)


def test_removed_rows_lie_aside_with_rule_and_span() -> None:
    """Counts add up; the row aside names rule, item, span and figure; the kept are as they were."""
    held = chat(("user", f"Please: {' '.join(W[:20])}"), ("assistant", "ok"))
    rows = pa.table({"id": ["a", "b"], "messages": [chat(("user", "hello there")), held]})
    found = decontaminate(rows, bench("something else", " ".join(W)), rule="tulu3")
    assert found.kept.equals(rows.slice(0, 1)) and found.dropped == {"contaminated_toy": 1}
    assert found.aside is not None and found.aside["id"].to_pylist() == ["b"]
    (hit,) = found.aside["contamination"].to_pylist()[0]
    assert hit["span"] == " ".join(W[:20]) and hit["score"] == pytest.approx(20 / 31)
    assert (hit["rule"], hit["bench"], hit["item_id"]) == ("tulu3", "toy", "i1")


def test_tulu_reads_user_turns_only() -> None:
    """An item in the assistant's turn is no overlap for tulu3, and one for any_13gram."""
    rows = pa.table({"messages": [chat(("user", "go on"), ("assistant", " ".join(W)))]})
    assert len(decontaminate(rows, bench(" ".join(W)), rule="tulu3").kept) == 1
    assert len(decontaminate(rows, bench(" ".join(W)), rule="any_13gram").kept) == 0


def test_short_items_must_be_equal() -> None:
    """An item too short for a run is found only in an equal text, so that "hi" flags little."""
    for rule in ("tulu3", "any_13gram"):
        index = index_benchmarks(bench("What is 2+2?"), rule=rule)
        assert find_overlaps(["what is 2 + 2"], index)
        assert not find_overlaps(["What is 2+2? And what is 3+3?"], index)


def test_whole_sets_are_judged_by_share() -> None:
    """A set that holds 1 of 4 items overlaps by 0.25, however many rows hold it."""
    items = bench(" ".join(W), "b", "c", "d")
    hits = [find_overlaps([" ".join(W)], index_benchmarks(items, rule="tulu3"))] * 3
    assert set_overlap(hits, items) == {"toy": 0.25}


def test_degenerate_tables(caplog: pytest.LogCaptureFixture) -> None:
    """Empty tables, empty items and null turns are harmless; an unknown rule is refused."""
    rows = pa.table({"messages": [chat(("user", ""))]})
    assert len(decontaminate(rows, bench("", "  ", "?!"), rule="any_13gram").kept) == 1
    assert "3 of 3 benchmark texts" in caplog.text
    assert not len(decontaminate(rows.slice(1), bench("x"), rule="tulu3").kept)
    with pytest.raises(UserError, match="'janitor' is unknown"):
        index_benchmarks(bench("x"), rule="janitor")  # type: ignore[arg-type]


def test_chinese_counts_by_character() -> None:
    """Text without spaces still has runs of 13 tokens."""
    text = "请问一个圆的半径是五那么它的面积是多少平方厘米"
    assert len(tokenise(text)) == len(text)
    assert find_overlaps([text + "谢谢"], index_benchmarks(bench(text), rule="any_13gram"))
