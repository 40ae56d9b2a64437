"""Optimal transport against the GOT-D card, exact values and invariances."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pipeline.selection.transport
from pipeline.errors import UserError
from pipeline.selection.transport import calibrate, solve_transport, transport_gradient

X, Y = np.array([[0.0], [1], [2], [6]]), np.array([[5.0], [6], [7]])


def test_calibration_of_exact_duals() -> None:
    """GOT-D card: slopes of the exact duals for both costs; a constant cancels; they sum to 0."""
    assert calibrate(np.array([7.0, 6, 5, 1])) == pytest.approx(
        [3, 1.666667, 0.333333, -5], abs=1e-6
    )
    assert calibrate(np.array([43.0, 34, 25, 1])) == pytest.approx([23, 11, -1, -33])
    assert calibrate(np.array([143.0, 134, 125, 101])) == pytest.approx([23, 11, -1, -33])
    with pytest.raises(UserError, match="at least 2"):
        calibrate(np.ones(1))


@pytest.mark.parametrize(
    "epsilon, slopes",
    [
        (1.0, [23.2025, 10.2603, -1.5379, -31.925]),
        (0.1, [23.0732, 10.9268, -1.0732, -32.9268]),
    ],
)
def test_sinkhorn_slopes_of_the_card(epsilon: float, slopes: list[float]) -> None:
    """GOT-D card: squared cost at two regularisations, to four decimals."""
    found = solve_transport(X, Y, epsilon=epsilon, tolerance=1e-9)
    assert calibrate(found.f) == pytest.approx(slopes, abs=1e-4)
    assert found.epsilon == epsilon and found.marginal_error <= 1e-9


def test_small_epsilon_tends_to_the_exact_distance() -> None:
    """At 0.01 distance and slopes are those of the linear programme: 16.75, [23, 11, -1, -33]."""
    found = solve_transport(X, Y, epsilon=0.01)
    assert found.distance == pytest.approx(16.75, abs=1e-3)
    assert calibrate(found.f) == pytest.approx([23, 11, -1, -33], abs=0.08)


def test_slope_is_the_derivative_of_the_distance() -> None:
    """More copies of a row change the distance the way its slope says: down for negative ones."""
    base = solve_transport(np.repeat(X, 20, axis=0), Y, epsilon=0.05).distance
    slopes = calibrate(solve_transport(X, Y, epsilon=0.05).f)
    for row in range(4):
        more = np.vstack([np.repeat(X, 20, axis=0), X[row : row + 1]])
        assert np.sign(solve_transport(more, Y, epsilon=0.05).distance - base) == np.sign(
            slopes[row]
        )


def test_selection_of_the_card() -> None:
    """GOT-D card: towards the target [3, 2], away from it [0, 1]."""
    assert transport_gradient(X, Y, 2).tolist() == [3, 2]
    assert transport_gradient(X, Y, 2, contrast=True).tolist() == [0, 1]


@settings(max_examples=15)
@given(st.integers(0, 1000), st.sampled_from([1, 2, 3, 7]))
def test_blocks_do_not_change_the_duals(seed: int, block: int) -> None:
    """Cost blocks of any size give the same slopes and marginals that add up."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(9, 2)), rng.normal(size=(5, 2)) + 1
    whole = solve_transport(x, y)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.selection.transport, "_BLOCK", block)
        parts = solve_transport(x, y)
    assert calibrate(parts.f) == pytest.approx(calibrate(whole.f), abs=1e-9)
    cost = ((x[:, None] - y) ** 2).sum(axis=2)
    plan = np.exp((whole.f[:, None] + whole.g - cost) / whole.epsilon) / 45
    assert plan.sum(axis=1) == pytest.approx(np.full(9, 1 / 9), rel=1e-4)
    assert plan.sum(axis=0) == pytest.approx(np.full(5, 1 / 5), rel=1e-4)
    assert (plan * cost).sum() == pytest.approx(whole.distance, rel=1e-6)


def test_faulty_problems_are_refused() -> None:
    """Empty and not finite sets, a bad epsilon and no convergence are said in one sentence."""
    with pytest.raises(UserError, match="1 rows that are not finite"):
        solve_transport(np.array([[0.0], [np.nan]]), Y)
    with pytest.raises(UserError, match="at least 1 row"):
        solve_transport(np.zeros((0, 1)), Y)
    with pytest.raises(UserError, match="must be above 0"):
        solve_transport(X, Y, epsilon=0.0)
    with pytest.raises(UserError, match="raise epsilon"):
        solve_transport(X, Y, epsilon=0.01, max_iterations=2)
