"""Test k-center and facility location against the curation card and against brute force."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

import pipeline.selection.coverage
from pipeline.selection.coverage import coverage_gains, facility_location, k_center, radii

POINTS = np.array([[0, 0], [0.2, 0], [0, 0.3], [5, 5], [5.2, 5], [9, 0]], dtype=float)
NEAR = 1 / (1 + np.linalg.norm(POINTS[:, None] - POINTS, axis=2))


def test_facility_location_of_the_card() -> None:
    """Curation card: rows [0, 4, 5], their gains, f, and no triple is better."""
    rows = facility_location(NEAR, 3)
    assert rows.tolist() == [0, 4, 5]
    gains = coverage_gains(NEAR, rows)
    assert gains.tolist() == pytest.approx([2.948209, 1.625049, 0.86264], abs=1e-6)
    assert gains.sum() == pytest.approx(5.435897, abs=1e-6)
    best = max(NEAR[:, list(three)].max(axis=1).sum() for three in combinations(range(6), 3))
    assert best == pytest.approx(gains.sum(), abs=1e-9)


def test_lazy_greedy_is_lazy(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the card's points at most 13 gains are evaluated; plain greedy needs 6 + 5 + 4."""
    calls = []
    columns = pipeline.selection.coverage._Columns
    plain = columns.gain
    monkeypatch.setattr(columns, "gain", lambda *a: calls.append(1) or plain(*a))
    facility_location(NEAR, 3)
    assert len(calls) <= 13


@given(st.integers(0, 10_000))
def test_lazy_equals_greedy(seed: int) -> None:
    """Lazy evaluation picks what a full greedy search does, ties and negative values included."""
    similarity = np.random.default_rng(seed).integers(-3, 4, (9, 9)).astype(float)
    shifted = similarity - min(0.0, similarity.min())
    chosen: list[int] = []
    for _ in range(5):
        best = shifted[:, chosen].max(axis=1, initial=0)
        gains = np.maximum(shifted - best[:, None], 0).sum(axis=0)
        gains[chosen] = -1
        chosen.append(int(np.argmax(gains)))
    assert facility_location(similarity, 5).tolist() == chosen


def test_sparse_neighbours_serve() -> None:
    """A sparse matrix gives what the same matrix does dense; f counts a shift back."""
    cut = np.where(NEAR > 0.2, NEAR, 0)
    assert facility_location(csr_array(cut), 4).tolist() == facility_location(cut, 4).tolist()
    rows = facility_location(NEAR - 0.5, 3)
    f = (NEAR - 0.5)[:, rows].max(axis=1).sum()
    assert coverage_gains(NEAR - 0.5, rows).sum() == pytest.approx(f)


def test_k_center_of_the_card() -> None:
    """Curation card: from row 0 the rows [0, 5, 3], radii 9 and 6.403124, then 0.3."""
    rows = k_center(POINTS, 3, first=0)
    assert rows.tolist() == [0, 5, 3]
    assert radii(POINTS, rows).tolist() == pytest.approx([9.0, 6.403124, 0.3], abs=1e-6)


@given(st.integers(0, 10_000), st.integers(1, 5))
def test_k_center_is_within_twice_the_best(seed: int, k: int) -> None:
    """The greedy radius is at most twice that of the best k centres."""
    points = np.random.default_rng(seed).normal(size=(8, 2))
    apart = np.linalg.norm(points[:, None] - points, axis=2)
    best = min(apart[:, list(c)].min(axis=1).max() for c in combinations(range(8), k))
    assert radii(points, k_center(points, k, seed=seed))[-1] <= 2 * best + 1e-6


def test_k_center_takes_duplicates_last() -> None:
    """Equal points come only when no other is left, by id."""
    points = np.array([[0.0, 0], [0, 0], [3, 0], [3, 0], [0, 4]])
    rows = k_center(points, 5, first=1).tolist()
    assert rows == [1, 4, 2, 0, 3]
