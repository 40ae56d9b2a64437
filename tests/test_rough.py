"""float32 cosines: the proven error, and a filter that float32 speeds up and never decides."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.selection.rough import Kept, rough_error, unit_rows
from pipeline.selection.similarity import cosines, unit_grid
from pipeline.selectors import spread

NUDGES = [0, 1e-9, -1e-9, 1e-7, -1e-7, 1e-6, -1e-6, 2e-5, -2e-5, 1e-2, -1e-2]


def crowded(seed: int, rows: int, width: int, threshold: float) -> np.ndarray:
    """Rows whose cosines to a few centres lie about a threshold, closer than float32 can tell."""
    rng = np.random.default_rng(seed)
    centres = np.linalg.qr(rng.normal(size=(width, 3)))[0].T
    own = centres[rng.integers(0, 3, rows)]
    aside = rng.normal(size=(rows, width))
    aside -= (aside @ centres.T) @ centres
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    cosine = (threshold + rng.choice(NUDGES, rows))[:, None]
    found = cosine * own + np.sqrt(1 - cosine**2) * aside
    found[: rows // 4] = own[: rows // 4]
    return found * 10.0 ** rng.integers(-3, 3, (rows, 1))


def plain_loop(vectors: np.ndarray, order: list[int], threshold: float) -> list[int]:
    """Return what a loop over single rows in float64 keeps."""
    grid, kept = unit_grid(vectors), list[int]()
    for row in order:
        near = [cosines(grid[[row]], grid[[other]])[0, 0] for other in kept]
        alike = any(np.float32(one) > np.float32(threshold) for one in near)
        if not alike and not np.isnan(grid[row, 0]):
            kept.append(row)
    return kept


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    block=st.integers(1, 60),
    part=st.integers(1, 20),
    threshold=st.sampled_from([0.3, 0.7, 0.9]),
    dtype=st.sampled_from(["float16", "float32", "float64"]),
)
def test_kept_rows_are_those_of_a_float64_loop(
    seed: int, block: int, part: int, threshold: float, dtype: str
) -> None:
    """With cosines crowded about the threshold, any block and part keep what a plain loop keeps."""
    vectors = crowded(seed, 50, 5, threshold).astype(dtype)
    vectors[7], vectors[8] = 0, np.nan
    order = np.random.default_rng(seed).permutation(50)
    kept = Kept(vectors, threshold, part=part)
    for start in range(0, 50, block):
        kept.add(order[start : start + block])
    assert kept.rows.tolist() == plain_loop(vectors, order.tolist(), threshold)


@pytest.mark.parametrize("k", [None, 0, 1, 11, 400])
def test_a_budget_cuts_the_ranking(k: int | None) -> None:
    """A budget keeps the first k of what no budget keeps, duplicates of a row being one."""
    vectors = np.repeat(crowded(3, 100, 8, 0.9), 4, axis=0)
    scores = np.random.default_rng(3).normal(size=400)
    everything = plain_loop(vectors, np.argsort(-scores).tolist(), 0.9)
    assert 11 < len(everything) < 100
    assert spread(vectors, scores, k, block=32).tolist() == everything[:k]


@pytest.mark.parametrize("threshold", [1.0, -1.0])
def test_extreme_thresholds(threshold: float) -> None:
    """Nothing is above a cosine of 1, not even a row's equal; all but the first is above -1."""
    vectors = np.repeat(np.random.default_rng(0).normal(size=(30, 384)), 2, axis=0)
    kept = spread(vectors, -np.arange(60), threshold=threshold)
    assert kept.tolist() == (list(range(60)) if threshold == 1 else [0])


@given(st.integers(0, 10_000), st.sampled_from([1, 3, 64, 1000]), st.integers(-25, 25))
def test_the_error_holds(seed: int, width: int, power: int) -> None:
    """Products of float32 units are within the error of exact cosines, at any length of a row."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(20, width)) ** 3 * 10.0**power
    exact = cosines(unit_grid(vectors), unit_grid(vectors))
    units = unit_rows(vectors)
    there = np.isfinite(exact[:, 0]) | np.isfinite(np.diag(exact))
    assert (np.isnan(units[:, 0]) == ~there).all()
    found = (units @ units.T)[np.ix_(there, there)]
    assert np.abs(found - exact[np.ix_(there, there)]).max(initial=0) <= rough_error(width)
