"""PF-PPO's filters against the worked checks of its card."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.reward_filters import explained_share, filter_weights, resample

P1, P2 = [1.2, -0.4, 0.3, 2.0, -1.1], [0.5, 0.5, 0.1, -0.2, 0.5]
REWARDS, GROUPS = P1 + P2, ["p1"] * 5 + ["p2"] * 5
TRUE = {
    "rewards": [2, 1.2, 0.3, -0.4, -1.1, 0.9, 0.5, 0.1, -0.2, -0.6],
    "scores": [1, 1, 0, 1, 0, 1, 0, 1, 0, 0],
}


def test_best_and_worst_are_kept_by_prompt() -> None:
    """The last of equal bests and the first of equal worsts, one of each a prompt."""
    expected = [0, 0, 0, 1, 1, 0, 0, 0, 1, 1]
    assert filter_weights(REWARDS, GROUPS, "best_worst").tolist() == expected


def test_best_and_random_have_the_codes_weights() -> None:
    """0.4 and 0.1 as in the official code; the chances over the buffer are 1/16 and 1/4."""
    found = filter_weights(REWARDS, GROUPS, "best_random", weights_as="code")
    assert found == pytest.approx([0.1, 0.1, 0.1, 0.4, 0.1, 0.1, 0.1, 0.1, 0.1, 0.4])
    chances = found / found.sum()
    assert sorted(chances) == pytest.approx([0.0625] * 8 + [0.25] * 2)


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=12, unique=True))
def test_the_best_has_half_of_the_draws_for_any_number(rewards) -> None:
    """Weights as shares mean the same for every n."""
    found = filter_weights(rewards, ["p"] * len(rewards))
    assert found[int(np.argmax(rewards))] == pytest.approx(0.5) and found.sum() == pytest.approx(1)


def test_power_squares_the_reward() -> None:
    """The card's squares; by default the distance to the prompt's mean counts instead."""
    found = filter_weights(REWARDS, GROUPS, "power", centre=False)
    assert found == pytest.approx([1.44, 0.16, 0.09, 4.0, 1.21, 0.25, 0.25, 0.01, 0.04, 0.25])
    shifted = filter_weights(np.array(REWARDS) + 7, GROUPS, "power")
    assert shifted == pytest.approx(filter_weights(REWARDS, GROUPS, "power"))


def test_no_prompt_disappears() -> None:
    """Grouped by prompt the second one keeps two rows; over the whole buffer it had none."""
    grouped = filter_weights(REWARDS, GROUPS, "best_worst")
    whole = filter_weights(REWARDS, ["all"] * 10, "best_worst")
    assert grouped[5:].sum() == 2 and whole[5:].sum() == 0
    assert whole[:5].tolist() == [0, 0, 0, 1, 1]


def test_no_contrast_and_no_judgement_weigh_nothing() -> None:
    """One reward throughout, a single reply, and NaN get 0; so do all where nothing is left."""
    rewards = [1.0, 1.0, 0.3, np.nan, 2.0, 1.0]
    groups = ["a", "a", "b", "b", "c", "c"]
    assert filter_weights(rewards, groups, "best_worst").tolist() == [0, 0, 0, 0, 1, 1]
    assert filter_weights(rewards, groups, "all", reliable=False).tolist() == [1, 1, 1, 0, 1, 1]
    assert resample([0.0, 0.0], seed=1).tolist() == [0, 0]
    with pytest.raises(UserError, match="2 prompts"):
        filter_weights([1.0], ["a", "b"])


def test_explained_share_is_the_cards() -> None:
    """R² of all rows, of best and worst, and none for the best alone."""
    rewards, scores = TRUE["rewards"], TRUE["scores"]
    kept = filter_weights(rewards, GROUPS, "best_worst")
    assert np.flatnonzero(kept).tolist() == [0, 4, 5, 9]
    assert explained_share(rewards, scores, np.ones(10)) == pytest.approx(0.314226, abs=1e-6)
    assert explained_share(rewards, scores, kept) == pytest.approx(0.878738, abs=1e-6)
    assert explained_share(rewards, scores, filter_weights(rewards, GROUPS, "best")) is None


def test_resampling_keeps_the_size_and_the_chances() -> None:
    """As many draws as rows, none of weight 0, the same for a seed, shares near the weights."""
    weights = np.array([0.0, 1.0, 3.0] * 2000)
    drawn = resample(weights, seed=3)
    assert drawn.sum() == 6000 and drawn[::3].sum() == 0
    assert drawn[2::3].sum() / drawn[1::3].sum() == pytest.approx(3, rel=0.1)
    assert (drawn == resample(weights, seed=3)).all()
