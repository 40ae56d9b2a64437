"""ACECode's reward against the worked check of its card."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.schema import WORDS
from scorers.run_times import Levels, check_levels, reference_noise, run_time_reward

TIMES = st.floats(1e-3, 1e3)


@pytest.mark.parametrize(
    ("verdict", "time", "reward"),
    [
        ("unparsable", None, -1.0),
        ("error", None, -0.6),
        ("timeout", None, -0.6),
        ("wrong", None, -0.3),
        ("correct", 8.0, 0.5),
        ("correct", 4.0, 0.5),
        ("correct", 3.0, 0.707519),
        ("correct", 2.0, 1.0),
        ("correct", 1.5, 1.207519),
        ("correct", 1.0, 1.5),
        ("correct", 0.25, 1.5),
    ],
)
def test_rewards_are_the_cards(verdict, time, reward) -> None:
    """The card's table, with a reference of two seconds."""
    assert run_time_reward(verdict, time, 2.0).value == pytest.approx(reward, abs=1e-6)


@given(st.sampled_from(WORDS), TIMES, TIMES, TIMES)
def test_no_fast_wrong_program_beats_a_slow_right_one(word, fast, slow, reference) -> None:
    """Whatever the times: wrong < right, and the reward never rises with the time."""
    fast, slow = sorted((fast, slow))
    right = run_time_reward("correct", slow, reference).value
    assert run_time_reward("correct", fast, reference).value >= right
    other = run_time_reward(word, fast, reference).value
    assert word == "correct" or other is None or other < right


def test_what_was_not_judged_has_no_reward() -> None:
    """Trouble of our own is neither good nor bad."""
    assert run_time_reward("infra").value is None and run_time_reward("unverified").value is None


def test_noise_and_blunt_clocks_count_as_equal() -> None:
    """A gain within the reference's own spread is none; nor is one on a clock too coarse."""
    noise = reference_noise([2.0, 2.2, 1.9])
    assert noise == pytest.approx(0.1375, abs=1e-4)
    assert run_time_reward("correct", 1.9, 2.0, noise=noise) == (1.0, "correct")
    assert run_time_reward("correct", 1.0, 2.0, noise=noise) == (1.5, "faster")
    assert run_time_reward("correct", 0.1, 0.5, least=1.0) == (1.0, "correct")
    assert run_time_reward("correct", 0.1, None) == (1.0, "correct")


def test_levels_that_would_mislead_are_refused() -> None:
    """A wrong program's level above the slowest right one's is a user fault."""
    assert check_levels(Levels()) == Levels()
    with pytest.raises(UserError, match="wrong < equal"):
        check_levels(Levels(wrong=0.6))
