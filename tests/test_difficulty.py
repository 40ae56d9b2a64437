"""Pass rates, item response theory and Glicko-2 against the Easy2Hard card."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.budgets import wilson
from pipeline.errors import UserError
from scorers.difficulty import fit_irt, normalise_ratings, pass_rates, rate_prompts
from scorers.glicko import Attempt, Rating, rate, update

TABLE = ["111110", "111100", "111000", "110100", "100000"]
SOLVERS, ITEMS = np.repeat(np.arange(5), 6), np.tile(np.arange(6), 5)
CORRECT = np.array([int(cell) for row in TABLE for cell in row])


def test_1pl_of_the_card() -> None:
    """Minimum, abilities, difficulties and their std; ratings and quantiles, ties equal."""
    fit = fit_irt(SOLVERS, ITEMS, CORRECT)
    assert fit.minimum == pytest.approx(14.863737, abs=1e-6)
    assert fit.ability == pytest.approx([0.8651, 0.4070, -0.0333, -0.0333, -0.9221], abs=1e-4)
    assert fit.difficulty == pytest.approx(
        [-1.1921, -0.6779, -0.1995, -0.1995, 0.7399, 1.2458], abs=1e-4
    )
    assert fit.std == pytest.approx([0.7540, 0.7246, 0.7097, 0.7097, 0.7209, 0.7482], abs=1e-4)
    rating, std, quantile = normalise_ratings(fit.difficulty, fit.std)
    assert rating == pytest.approx([0, 0.2109, 0.4071, 0.4071, 0.7925, 1], abs=1e-4)
    assert quantile == pytest.approx([0.0833, 0.25, 0.5, 0.5, 0.75, 0.9167], abs=1e-4)
    assert std == pytest.approx(fit.std / np.ptp(fit.difficulty))


def test_2pl_of_the_card() -> None:
    """Minimum, difficulties and slopes to a thousandth."""
    fit = fit_irt(SOLVERS, ITEMS, CORRECT, kind="2pl")
    assert fit.minimum == pytest.approx(14.112453, abs=1e-6)
    assert fit.difficulty == pytest.approx(
        [-1.2154, -0.6657, -0.1938, -0.1938, 0.7391, 1.2706], abs=1e-3
    )
    assert fit.slope == pytest.approx([1.3139, 1.3376, 1.2065, 1.2065, 1.2875, 1.3316], abs=1e-3)


def test_one_class_items_stay_finite() -> None:
    """Prompts that all or none solved, and a single cell, have finite difficulty and std."""
    for correct in (np.zeros(6), np.ones(6)):
        fit = fit_irt(np.arange(6) % 3, np.arange(6) // 3, correct)
        assert np.isfinite(fit.difficulty).all() and (fit.std < 1).all()
        assert np.sign(fit.difficulty).tolist() == [1 - 2 * correct[0]] * 2
    assert fit_irt([0], [0], [1]).difficulty[0] < 0


def test_trials_count_as_repeated_cells() -> None:
    """3 correct of 5 in one cell is five cells of one trial each."""
    many = fit_irt(np.zeros(5, int), np.zeros(5, int), np.array([1, 1, 1, 0, 0]))
    once = fit_irt(np.array([0]), np.array([0]), np.array([3]), np.array([5]))
    assert once.difficulty == pytest.approx(many.difficulty, abs=1e-6)
    assert once.std == pytest.approx(many.std, abs=1e-6)


@settings(max_examples=15)
@given(st.integers(0, 1000))
def test_laplace_is_the_inverse_hessian(seed: int) -> None:
    """Block elimination gives the diagonal of the dense inverse, on sparse tables too."""
    rng = np.random.default_rng(seed)
    seen = rng.random(24) < 0.7
    seen[0] = True
    s, i = np.repeat(np.arange(4), 6)[seen], np.tile(np.arange(6), 4)[seen]
    fit = fit_irt(s, i, rng.integers(0, 2, 24)[seen])
    n, m = len(fit.ability), len(fit.difficulty)
    hessian = np.eye(n + m)
    for one, other in zip(s, i, strict=True):
        p = 1 / (1 + np.exp(fit.difficulty[other] - fit.ability[one]))
        cell = np.zeros(n + m)
        cell[one], cell[n + other] = 1, -1
        hessian += p * (1 - p) * np.outer(cell, cell)
    assert fit.std == pytest.approx(np.sqrt(np.diag(np.linalg.inv(hessian))[n:]), abs=1e-9)


def test_impossible_counts_are_refused() -> None:
    """No cells, and more correct than tried, are explained."""
    for cells in (([], [], []), ([0], [0], [2])):
        with pytest.raises(UserError, match="0 <= correct <= trials"):
            fit_irt(*map(np.array, cells))


def test_equal_items_have_one_rating() -> None:
    """A set of one difficulty has rating 0 and quantile 0.5; an empty one is empty."""
    rating, _, quantile = normalise_ratings(np.full(3, 0.4), np.ones(3))
    assert rating.tolist() == [0, 0, 0] and quantile.tolist() == [0.5, 0.5, 0.5]
    assert not len(normalise_ratings(np.zeros(0), np.zeros(0))[0])


def test_pass_rates_count_only_what_was_judged() -> None:
    """Infra and unverified are no evidence; the interval is Wilson's; no evidence is null."""
    words = ["correct", "wrong", "infra", "timeout", "unverified", "infra"]
    table = pa.table({"id": ["b", "b", "b", "b", "b", "a"], "verdict": words})
    first, second = pass_rates(table).to_pylist()
    assert first == {"id": "a", "judged": 0, "correct": 0, "pass_rate": None, "low": 0, "high": 1}
    low, high = wilson(1, 3)
    assert second == {
        "id": "b", "judged": 3, "correct": 1, "pass_rate": 1 / 3, "low": low, "high": high,
    }  # fmt: skip
    assert pass_rates(table.slice(6)).num_rows == 0


def test_ratings_of_rollouts_are_those_of_their_cells() -> None:
    """The card's table as shuffled rollouts of five solvers: its ratings; untried is null."""
    rows = [
        (f"q{i}", f"m{s}", "{}", "correct" if right else "timeout")
        for s, i, right in zip(SOLVERS, ITEMS, CORRECT, strict=True)
    ]
    rows += [("q9", "m0", "{}", "infra"), ("q0", "m0", "{}", "unverified")]
    order = np.random.default_rng(0).permutation(len(rows))
    columns = list(zip(*[rows[i] for i in order], strict=True))
    names = ("id", "model", "sampling", "verdict")
    found = rate_prompts(pa.table(dict(zip(names, columns, strict=True))))
    assert found["id"].to_pylist() == ["q0", "q1", "q2", "q3", "q4", "q5", "q9"]
    raw = found["unnorm_rating"].to_pylist()
    assert raw[:6] == pytest.approx([-1.1921, -0.6779, -0.1995, -0.1995, 0.7399, 1.2458], abs=1e-3)
    quantiles = [0.0833, 0.25, 0.5, 0.5, 0.75, 0.9167]
    assert found["rating_quantile"].to_pylist()[:6] == pytest.approx(quantiles, abs=1e-4)
    assert found["model_avg_acc"].to_pylist()[:2] == [1.0, 0.8]
    assert set(found.slice(6).drop_columns(["id"]).to_pylist()[0].values()) == {None}


def test_solvers_differ_by_sampling_and_trials_add_up() -> None:
    """One model at two temperatures is two solvers; no judged trial at all rates nothing."""
    words = ["correct", "correct", "wrong", "wrong"]
    table = pa.table(
        {"id": ["a", "b", "a", "b"], "model": ["m"] * 4, "sampling": ["0", "0", "1", "1"],
         "verdict": words}
    )  # fmt: skip
    (one, other) = rate_prompts(table, kind="2pl").to_pylist()
    assert one["model_avg_acc"] == 0.5 and one["unnorm_rating"] == other["unnorm_rating"]
    none = rate_prompts(table.set_column(3, "verdict", pa.array(["infra"] * 4)))
    assert none["rating"].null_count == 2 and none["id"].to_pylist() == ["a", "b"]
    assert rate_prompts(table.slice(4)).num_rows == 0


def test_glicko_reference_case() -> None:
    """Glickman's own example: rating 1464.05, deviation 151.52, volatility 0.05999."""
    games = [(Rating(1400, 30), 1.0), (Rating(1550, 100), 0.0), (Rating(1700, 300), 0.0)]
    after = update(Rating(1500, 200, 0.06), games)
    assert after == pytest.approx((1464.0507, 151.5165, 0.059996), abs=1e-4)


def test_glicko_item_of_the_card() -> None:
    """An item that three of four solvers failed; and one that nobody tried."""
    games = [
        (Rating(1600, 50), 1.0),
        (Rating(1400, 80), 1.0),
        (Rating(1900, 60), 0.0),
        (Rating(1500, 200), 1.0),
    ]
    after = update(Rating(), games)
    assert after.rating == pytest.approx(1740.2117, abs=1e-4)
    assert after.deviation == pytest.approx(178.2841, abs=1e-4)
    assert after.volatility == pytest.approx(0.059999, abs=1e-6)
    assert update(Rating(1500, 200, 0.06), []).deviation == pytest.approx(200.2714, abs=1e-4)


def test_glicko_rates_both_sides_from_before_the_period() -> None:
    """A newcomer's win over a newcomer moves both by the same amount, in any order of attempts."""
    first = Attempt("s", "i", True, 0)
    solvers, items = rate([first])
    assert solvers["s"].rating - 1500 == pytest.approx(1500 - items["i"].rating)
    later = [first, Attempt("t", "i", False, 0), Attempt("s", "j", True, 2)]
    assert rate(later) == rate(later[::-1])
    # In one period i beats t and loses to s, all three newcomers: it stays where it was.
    assert rate(later)[1]["i"].rating == pytest.approx(1500)
    assert rate([]) == ({}, {})
