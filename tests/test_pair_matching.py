"""Which rollouts of a prompt make a pair, by length, edits and run time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.pair_matching import edit_distance, fast_against_slow, length_matched, minimal_edit
from pipeline.pair_rules import Group

tokens = st.lists(st.sampled_from("abc"), max_size=12)


def group(scores, texts, times=()) -> Group:
    """Rollouts with these scores and texts."""
    times = times or [None] * len(texts)
    rows = [{"times_ms": one} for one in times]
    return Group(np.array(scores, np.float64), texts, rows, 0)


def by_table(one, other) -> int:
    """Levenshtein's distance by its definition."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        last, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (a != b))
    return row[-1]


def test_condor_card_distance() -> None:
    """The CONDOR card's two programs are 3 tokens apart."""
    one = "int main ( ) { return 0 ; }".split()
    other = "int main ( int argc ) { return 1 ; }".split()
    assert (len(one), len(other), edit_distance(one, other)) == (9, 11, 3)


@given(tokens, tokens)
def test_edit_distance_is_the_table(one, other) -> None:
    """The bit-parallel form gives what the table gives."""
    assert edit_distance(one, other) == by_table(one, other)


def test_minimal_edit() -> None:
    """Each wrong program meets the right one nearest to it, the closest pair first."""
    texts = [
        "return a + b",
        "return sum((a, b))",
        "return a - b",
        "return sum((a, c, b))",
        "x " * 60,
    ]
    found = group([1, 1, 0, 0, 0], texts)
    assert minimal_edit(found) == [(0, 2), (1, 3)]
    assert minimal_edit(found, edits=1) == [(0, 2)]
    assert minimal_edit(found, edits=60, at_most=2) == [(0, 2), (1, 3)]


def test_length_matched() -> None:
    """Pairs are of nearly equal length, the closest first, no rollout twice."""
    texts = ["a" * n for n in (100, 50, 96, 104, 51)]
    found = group([1, 1, 0, 0, 0], texts)
    assert length_matched(found) == [(1, 4), (0, 3)]
    assert length_matched(found, within=0.02) == [(1, 4)]
    assert length_matched(found, within=0.0) == []
    assert length_matched(found, at_most=1) == [(1, 4)]


STEADY = [10.0, 10.1, 9.9, 10.0, 10.2]


@pytest.mark.parametrize(
    ("times", "pairs"),
    [
        ([STEADY, [2 * t for t in STEADY]], [(0, 1)]),
        ([[1.12 * t for t in STEADY], STEADY], [(1, 0)]),
        ([[1.08 * t for t in STEADY], STEADY], []),  # under 1.1
        ([STEADY, STEADY[:4]], []),  # timed too seldom
        ([STEADY, None], []),
        ([[10, 14, 8, 6, 11], [12, 19, 10, 5, 13]], []),  # 2 ms apart, 3 deviations are 6
        ([[0.1] * 5, [0.3] * 5], []),  # under the clock's resolution
        ([STEADY, STEADY], []),
    ],
)
def test_codedpo_efficiency(times, pairs) -> None:
    """The CodeDPO card's thresholds: 5 repetitions, quotient 1.1, 3 pooled deviations, 1 ms."""
    assert fast_against_slow(group([1, 1], ["a", "b"], times)) == pairs


def test_only_the_best_are_timed() -> None:
    """A fast wrong program never beats a slow right one."""
    times = [STEADY, [2 * t for t in STEADY], [t / 2 for t in STEADY]]
    assert fast_against_slow(group([1, 1, 0], ["a", "b", "c"], times)) == [(0, 1)]
    assert fast_against_slow(group([1, 0, 0], ["a", "b", "c"], times)) == []
