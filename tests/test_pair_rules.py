"""Which rollouts of a prompt make a pair, by score."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.pair_rules import (
    Group,
    above_gap,
    crossed,
    extremes,
    first_round,
    top_against_bottom,
    tournament,
)

REWARDS = [1.0, 2.5, -0.5, 0.2, 3.0, 1.0, -1.5, 2.0]  # the RLHF-Workflow card
RSO = [0.1, 0.9, -0.3, 0.4, 1.2, 1.1, -0.8, 0.0]  # y1 ... y8 of the RSO card
RULES = [extremes, top_against_bottom, above_gap, crossed, first_round, tournament]


def group(scores, seed=0) -> Group:
    """Rollouts with these scores and distinct texts."""
    rows = [{"rollout_id": str(i)} for i in range(len(scores))]
    return Group(
        np.array(scores, np.float64), [f"text {i}" for i in range(len(scores))], rows, seed
    )


def test_rlhf_workflow_card() -> None:
    """The card's rewards: best against worst, second and another; neighbours; two equal ones."""
    assert extremes(group(REWARDS)) == [(4, 6)]
    assert extremes(group(REWARDS), against="second") == [(4, 1)]
    ((best, other),) = extremes(group(REWARDS), against="random")
    assert best == 4 and other != 4
    drawn = {extremes(group(REWARDS, seed), against="random")[0][1] for seed in range(200)}
    assert drawn == {0, 1, 2, 3, 5, 6, 7}
    assert first_round(group(REWARDS))[0] == (1, 0)
    assert extremes(group([1, 1])) == first_round(group([1, 1])) == []


def test_online_pairs_card() -> None:
    """Two samples a prompt, threshold 0.1: rows 0 and 3 of the card are kept."""
    twos = zip([1.0, 0.2, 0.5, 0.5], [0.4, 0.25, 0.5, 1.6], strict=True)
    kept = [above_gap(group(two), gap=0.1) for two in twos]
    assert kept == [[(0, 1)], [], [], [(1, 0)]]


def test_rso_card() -> None:
    """First-round and tournament rank of eight rollouts: 4 pairs, then 3 more."""
    first = [(1, 0), (3, 2), (4, 5), (7, 6)]
    assert first_round(group(RSO)) == first
    assert tournament(group(RSO)) == [*first, (1, 3), (4, 7), (4, 1)]


def test_plum_card() -> None:
    """All tests passed against some failed, each program once; `any` moves the border."""
    shares = group([1, 0.5, 1, 0])
    for seed in range(20):
        pairs = crossed(shares._replace(seed=seed), at_most=2)
        assert sorted(pairs) in ([(0, 1), (2, 3)], [(0, 3), (2, 1)])
    assert {one for one, _ in crossed(shares, label="any")} <= {0, 1, 2}
    assert [other for _, other in crossed(shares, label="any")] == [3]
    assert crossed(group([0.8, 0.6, 0.4, 0.2])) == []
    assert crossed(group([1, 1, 2 / 3, 1 / 3]), at_most=1)[0][0] in (0, 1)


def test_pf_ppo_card() -> None:
    """Best and worst of the card's two prompts; of equal best ones the first."""
    assert extremes(group([1.2, -0.4, 0.3, 2.0, -1.1])) == [(3, 4)]
    assert extremes(group([0.5, 0.5, 0.1, -0.2, 0.5])) == [(0, 3)]


def test_acecode_card() -> None:
    """The largest against the smallest reward with a gap above 0.5."""
    assert extremes(group([-0.3, 0.5, 1.5]), gap=0.5) == [(2, 0)]
    assert extremes(group([0.5, 1.0]), gap=0.5) == []


def test_codedpo_options() -> None:
    """The card's three rules: extremes with a ratio, top against bottom, all above a gap."""
    scores = group([1, 0.856493, 0.390880, 0.067361])
    assert extremes(scores, ratio=10) == [(0, 3)] and extremes(scores, ratio=20) == []
    assert top_against_bottom(scores, k=2) == [(0, 3), (1, 2)]
    assert top_against_bottom(scores, k=9) == [(0, 3), (1, 2)]
    assert above_gap(scores, gap=0.5) == [(0, 3), (1, 3), (0, 2)]
    assert above_gap(scores, at_most=1) == [(0, 3)]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@given(st.lists(st.integers(0, 3).map(float), max_size=9), st.integers(0, 5))
def test_every_rule_proposes_places(rule, scores, seed) -> None:
    """Pairs are of two places, distinct, the better chosen (ties aside); a seed decides draws."""
    if not scores:
        return
    pairs = rule(group(scores, seed))
    assert len(set(pairs)) == len(pairs)
    for one, other in pairs:
        assert one != other and scores[one] >= scores[other]
    assert rule(group(scores, seed)) == pairs


@given(st.lists(st.integers(0, 99), min_size=1, max_size=17, unique=True))
def test_tournament_has_a_champion(scores) -> None:
    """Of n distinct scores come n - 1 pairs, each but the best loses once."""
    pairs = tournament(group(scores))
    assert len(pairs) == len(scores) - 1
    losers = {other for _, other in pairs}
    assert set(range(len(scores))) - losers == {int(np.argmax(scores))}
