"""Projektor's fit and slope: what the card leaves to code."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.selection.mixtures import fit_score, predicted_score, score_slope


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000))
def test_slope_is_the_derivative(seed: int) -> None:
    """The slope in a share equals a finite difference of the score, the distance moving along."""
    random = np.random.default_rng(seed)
    far, plain = random.normal(size=(2, 3, 4))
    shares, distance, moves = random.random(4), 1.3, random.normal(size=4)
    slope = score_slope(shares, distance, moves, far, plain)
    for i, step in enumerate(1e-6 * np.eye(4)):
        up = predicted_score(shares + step, distance + 1e-6 * moves[i], far, plain)
        down = predicted_score(shares - step, distance - 1e-6 * moves[i], far, plain)
        assert slope[i] == pytest.approx((up - down) / 2e-6, abs=1e-5)


def test_fit_predicts_mixtures_it_has_not_seen() -> None:
    """With enough mixtures the fit predicts a polynomial score; an unmeasured one is left out."""
    random = np.random.default_rng(0)
    shares = random.dirichlet(np.ones(3), 80)
    distances = 1 + shares @ [0.3, 0.1, 0.6] + random.random(80)
    scores = distances * (shares**2 @ [0.2, 0.1, -0.1]) + shares @ [0.5, -0.3, 0.4] - 2
    scores[5] = np.nan
    fit = fit_score(shares[:60], distances[:60], scores[:60], ridge=1e-9)
    found = [predicted_score(p, d, *fit) for p, d in zip(shares[60:], distances[60:], strict=True)]
    assert found == pytest.approx(scores[60:], abs=1e-3)
    assert np.isfinite(fit[0]).all() and fit[0].shape == fit[1].shape == (3, 3)
