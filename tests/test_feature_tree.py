"""The feature tree against the worked checks of its card."""

from itertools import product

import numpy as np
import pytest

from pipeline.feature_tree import (
    as_json,
    count_features,
    frequencies,
    grow,
    leaves,
    prune,
    sample_subtree,
    temper,
)

QUICK, MERGE = ("algorithm", "sorting", "quick sort"), ("algorithm", "sorting", "merge sort")
SORTING, DFS, BFS = ("algorithm", "sorting"), ("algorithm", "dfs"), ("algorithm", "bfs")
SEEN = [
    {"algorithm": ["dfs", "bfs"]},
    {"algorithm": ["dfs"]},
    {"algorithm": {"sorting": ["quick sort", "merge sort"]}},
    {"algorithm": {"sorting": ["quick sort"]}},
]
TREE = {QUICK: 6.0, MERGE: 2.0, DFS: 4.0, BFS: 2.0}


@pytest.mark.parametrize(
    ("temperature", "chances"),
    [
        (0.5, [0.910442, 0.074322, 0.015050, 0.000186]),
        (1, [0.70, 0.20, 0.09, 0.01]),
        (2, [0.496866, 0.265586, 0.178161, 0.059387]),
        (5, [0.348505, 0.271266, 0.231227, 0.149001]),
        (10, [0.298448, 0.263307, 0.243099, 0.195146]),
        (100, [0.25] * 4),
    ],
)
def test_temperature_flattens_as_in_the_card(temperature, chances) -> None:
    """Chances of four siblings at six temperatures."""
    assert temper([0.70, 0.20, 0.09, 0.01], temperature) == pytest.approx(chances, abs=1e-6)


def test_draws_follow_the_tempered_chances() -> None:
    """Of 6 000 draws of one root among 80, 15 and 5 the shares are the card's, within 0.02."""
    counts = {("x",): 80.0, ("y",): 15.0, ("z",): 5.0}
    drawn = [sample_subtree(counts, [1], temperature=10, seed=i)[0][0] for i in range(6000)]
    assert temper([80, 15, 5], 10) == pytest.approx([0.3841, 0.3249, 0.2911], abs=1e-4)
    shares = [drawn.count(name) / len(drawn) for name in "xyz"]
    assert shares == pytest.approx([0.3841, 0.3249, 0.2911], abs=0.02)


def test_counting_sums_leaves_whatever_their_order() -> None:
    """The card's counts; a name that is leaf and branch keeps both, in either order."""
    counts = count_features(SEEN)
    assert counts == {QUICK: 2, MERGE: 1, DFS: 2, BFS: 1}
    mixed = [{"algorithm": {"sorting": ["quick sort", "merge sort"]}}, {"algorithm": ["sorting"]}]
    expected = {QUICK: 1, MERGE: 1, SORTING: 1}
    assert count_features(mixed) == count_features(mixed[::-1]) == expected


def test_a_small_branch_collapses() -> None:
    """Below three children a branch becomes one feature: their number, or the sum of them."""
    assert prune(count_features(SEEN)) == {SORTING: 2, DFS: 2, BFS: 1}
    assert prune(count_features(SEEN), collapse="sum") == {SORTING: 3, DFS: 2, BFS: 1}


def test_a_level_keeps_branches_before_leaves() -> None:
    """Of a crowded level the best stay, and a rare branch outranks a frequent leaf."""
    counts = {QUICK: 1.0, MERGE: 1.0, DFS: 9.0, BFS: 8.0}
    assert prune(counts, smallest=1, widest=2) == {QUICK: 1, MERGE: 1, DFS: 9}


def test_frequencies_sum_upwards() -> None:
    """The card's tree: sorting 8 and the root 14."""
    total = frequencies(TREE)
    assert total[SORTING] == 8 and total["algorithm",] == 14


@pytest.mark.parametrize(("siblings", "dijkstra"), [("own", 6.0), ("descendants", 5.0)])
def test_new_features_get_their_siblings_mean(siblings, dijkstra) -> None:
    """Evolution: heap sort 4, iterative dfs 1, dijkstra 6 by siblings and 5 as the code does."""
    heap, deeper = ("algorithm", "sorting", "heap sort"), ("algorithm", "dfs", "iterative dfs")
    new = ("algorithm", "dijkstra")
    made = grow(TREE, [QUICK, MERGE, DFS], [heap, deeper, new, QUICK], siblings=siblings)
    assert (made[heap], made[deeper], made[new]) == (4.0, 1.0, dijkstra)
    assert {path: made[path] for path in TREE} == TREE


def test_sampling_keeps_the_shape_and_forced_roots() -> None:
    """At most shape[d] children a node, deeper ones whole; a forced root is always there."""
    counts = dict.fromkeys(product(("r1", "r2", "r3", "r4"), "abc", "vwxy"), 1.0)
    for seed in range(20):
        found = sample_subtree(counts, [2, 1], temperature=10, forced=["r3"], seed=seed)
        assert len({path[0] for path in found}) == 2 and "r3" in {path[0] for path in found}
        assert len({path[:2] for path in found}) == 2 and len(found) == 8
        assert found == sample_subtree(counts, [2, 1], temperature=10, forced=["r3"], seed=seed)


def test_json_and_leaves_are_inverse() -> None:
    """A subtree written as JSON reads as the same leaves; what is no feature is not one."""
    paths = [QUICK, MERGE, DFS, ("constant", "3")]
    assert as_json(paths) == {
        "algorithm": {"sorting": ["quick sort", "merge sort"], "dfs": []},
        "constant": ["3"],
    }
    assert leaves(as_json(paths)) == paths
    assert leaves({"a": [1, None, " "], "b": {}}) == [("a",), ("b",)]
    assert leaves([]) == [] and np.isfinite(temper([1], 1)).all()
