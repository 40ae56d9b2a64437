"""Small scorers against their cards: DEITA digits, Meta Ranking, LESS's Adam step, pooling."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UserError
from scorers.digits import evol_score, expected_digit, expected_digit_of
from scorers.gradients import adam_step, project
from scorers.hidden_states import pool
from scorers.meta_ranking import merge_orders, vote


def test_digit_scores_of_the_card() -> None:
    """DEITA card: from logits, from shown log-probabilities, and no digit is no score."""
    assert expected_digit([1, 2, 3, 2.5, 0, -1]) == pytest.approx([3.056249], abs=1e-6)
    shown = {"1": -4, "2": -3, "3": -1, "4": -0.8, "5": -2, "6": -5}
    assert expected_digit_of(shown) == pytest.approx(3.636368, abs=1e-6)
    assert expected_digit_of({"the": -0.1, "7": -2}) is None
    assert expected_digit_of({"2": -40.0}) == pytest.approx(2)
    assert np.isnan(expected_digit([[1, np.nan, 0]])).all()


def test_evol_scores_of_the_card() -> None:
    """DEITA card: sums of products over turns; lists of unequal length are refused."""
    c = [[3], [2, 2], [4], [1.5], [5], [2]]
    q = [[4], [3, 5], [2], [2], [1], [4]]
    assert evol_score(c, q).tolist() == [12, 16, 8, 3, 5, 8]
    with pytest.raises(UserError, match="row 0: 2 complexities for 1 qualities"):
        evol_score([[2, 2]], [[3]])


RELIABLE = [True, True, False, False, True]


@pytest.mark.parametrize(
    "outcomes, votes, score, strong, plain",
    [
        ([1, 0, 1, -1, -1], [1, 0.5, 0.5, -1, -0.5], 0.5, 0, 0),
        ([1, 1, 1, 1, 0], [1, 1, 0.5, 0.5, 0.5], 3.5, 2, 4),
        ([-1, -1, -1, 0, -1], [-0.5, -0.5, -1, -0.5, -0.5], -3.0, -1, -4),
        ([-1, -1, 1, 1, -1], [-0.5, -0.5, 0.5, 0.5, -0.5], -0.5, 0, -1),
        ([0.5, 0, 0.5, -0.5, -0.5], [0.5, 0.5, 0.25, -0.5, -0.25], 0.5, 0, 0),
        ([0] * 5, [0.5, 0.5, -0.5, -0.5, 0.5], 0.5, 0, 0),
    ],
)
def test_votes_of_the_card(
    outcomes: list[float], votes: list[float], score: float, strong: float, plain: float
) -> None:
    """Meta Ranking card: votes and score of six rows, with weak evidence and without."""
    assert vote(outcomes, RELIABLE).tolist() == votes
    assert vote(outcomes, RELIABLE).sum() == score
    assert vote(outcomes, RELIABLE, weak=0, tie=0).sum() == strong
    assert sum(outcomes) == plain


@pytest.mark.parametrize(
    "forward, backward, outcome",
    [
        ("A", "A", 0), ("A", "B", 1), ("A", "TIE", 0.5), ("B", "A", -1), ("B", "B", 0),
        ("B", "TIE", -0.5), ("TIE", "A", -0.5), ("TIE", "B", 0.5), ("TIE", "TIE", 0),
        (None, "B", 0.5), ("A", None, 0.5), (None, None, 0),
    ],
)  # fmt: skip
def test_orders_merge_as_in_the_card(
    forward: str | None, backward: str | None, outcome: float
) -> None:
    """All nine pairs of replies; an invalid one counts as 0."""
    assert merge_orders(forward, backward) == outcome


def test_votes_need_a_flag_each() -> None:
    """Outcomes and references of different number are refused."""
    with pytest.raises(UserError, match="2 outcomes for 1 references"):
        vote([1, 1], [True])


GRADIENT, M, V = [0.5, 1.0, -0.02, -2.0], [0.1, -0.2, 0, 0.3], [0.04, 0.01, 1e-8, 0.09]


def test_adam_steps_of_the_card() -> None:
    """LESS card A: the official vector, epsilon outside, the paper's and the textbook's."""
    assert adam_step(GRADIENT, M, V) == pytest.approx(
        [0.69817, -0.763117, -3.086104, 0.228424], abs=1e-6
    )
    assert adam_step(GRADIENT, M, V, mode="epsilon_outside")[2] == pytest.approx(
        -3.123465, abs=1e-6
    )
    assert adam_step(GRADIENT, M, V, mode="paper", step=105) == pytest.approx(
        [0.220478, -0.240988, -0.985190, 0.072135], abs=1e-6
    )
    assert adam_step(GRADIENT, M, V, mode="textbook", step=105)[2] == pytest.approx(
        -0.986382, abs=1e-6
    )


def test_epsilon_inside_the_root_is_scaled_momentum() -> None:
    """LESS card A, last line: with tiny moments the two places of epsilon differ a hundredfold."""
    assert adam_step([0], [1e-6], [1e-12]) == pytest.approx([0.0089995], abs=1e-7)
    assert adam_step([0], [1e-6], [1e-12], mode="epsilon_outside") == pytest.approx(
        [0.89153], abs=1e-5
    )
    with pytest.raises(UserError, match="needs the checkpoint's step"):
        adam_step([0], [0], [0], mode="paper")


def test_projection_keeps_angles() -> None:
    """LESS card B: from 20,000 to 2,048 a cosine moves by little, norms grow by about 45.25."""
    rng = np.random.default_rng(0)
    one = rng.normal(size=20_000)
    pair = np.stack([one, 0.6 * one + 0.8 * rng.normal(size=20_000)])
    small = project(pair, 2048)

    def cosine(v: np.ndarray) -> float:
        return float(v[0] @ v[1] / np.linalg.norm(v[0]) / np.linalg.norm(v[1]))

    assert cosine(small) == pytest.approx(cosine(pair), abs=0.06)
    growth = np.linalg.norm(small, axis=1) / np.linalg.norm(pair, axis=1)
    assert growth == pytest.approx([2048**0.5] * 2, rel=0.08)


def test_projection_is_one_matrix_for_all_rows() -> None:
    """Row by row equals the batch, unit vectors show signs, and another seed is another matrix."""
    rows = np.random.default_rng(1).normal(size=(3, 50))
    alone = np.concatenate([project(row[None], 8) for row in rows])
    assert alone == pytest.approx(project(rows, 8), rel=1e-5)
    signs = project(np.eye(50), 8)
    assert set(signs.ravel().tolist()) == {-1.0, 1.0} and abs(signs.mean()) < 0.2
    assert (signs != project(np.eye(50), 8, seed=1)).any()
    assert rows @ signs == pytest.approx(project(rows, 8), abs=1e-5)


@pytest.mark.parametrize("width", [1, 8, 256, 300])
def test_blocks_do_not_change_the_matrix(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many signs are made at once, each row of the matrix is the same."""
    whole = project(np.eye(40), width)
    monkeypatch.setattr("scorers.gradients._SIGNS_AT_ONCE", 3 * 256)
    assert (project(np.eye(40), width) == whole).all()
    assert width < 256 or len(np.unique(whole, axis=0)) == 40


HIDDEN = np.array([[[1, 0, 2], [0, 3, 1], [4, 1, 0], [2, 2, 2]]], dtype=float)
ALL = np.ones((1, 4), bool)


def test_pooling_of_the_card() -> None:
    """RDS+ card: weighted and plain mean, direction, cosine with the query."""
    (e,) = pool(HIDDEN, ALL)
    assert e == pytest.approx([2.1, 1.7, 1.2])
    unit = e / np.linalg.norm(e)
    assert unit == pytest.approx([0.710336, 0.575034, 0.405906], abs=1e-6)
    assert unit @ np.array([2, 1, 1]) / np.sqrt(6) == pytest.approx(0.980453, abs=1e-6)
    assert pool(HIDDEN, ALL, how="mean")[0] == pytest.approx([1.75, 1.5, 1.25])
    assert pool(HIDDEN, ALL, how="last")[0] == pytest.approx([2, 2, 2])


@given(st.integers(0, 3), st.integers(0, 3), st.sampled_from(["weighted", "mean", "last"]))
def test_padding_changes_nothing(left: int, right: int, how: str) -> None:
    """Non-zero, even infinite pads on either side leave the vector as it is without them."""
    pads = [np.full((1, n, 3), np.inf) for n in (left, right)]
    padded = np.concatenate([pads[0], HIDDEN, pads[1]], axis=1)
    mask = np.concatenate([np.zeros((1, left), bool), ALL, np.zeros((1, right), bool)], axis=1)
    assert pool(padded, mask, how=how) == pytest.approx(pool(HIDDEN, ALL, how=how), abs=1e-6)


def test_a_row_without_tokens_is_nan() -> None:
    """A mask of no tokens gives NaN for that row and leaves the other alone."""
    two = np.repeat(HIDDEN, 2, axis=0)
    found = pool(two, np.array([[False] * 4, [True] * 4]))
    assert np.isnan(found[0]).all() and found[1] == pytest.approx([2.1, 1.7, 1.2])
