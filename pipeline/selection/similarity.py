"""Dot products that are exact, so that no block size, thread count or device changes a pick.

Sums of floats depend on the order of summation, which BLAS chooses by the shape of the block: equal
rows would differ in the last bit and ties fall at random. Here components are rounded to whole
numbers so small that every partial sum of products stays below 2**53: float64 adds them without
error in any order. The rounding is 2**-27 of a vector's length, finer than float32.
"""

import math

import numpy as np

_BITS = 26
_TINY = 1e-12


def unit_grid(vectors: np.ndarray) -> np.ndarray:
    """Return rows scaled to length 2**26 and rounded, float64[n, d].

    Rows that are zero (length < 1e-12) or not finite become NaN: a cosine with them is undefined.
    """
    exact = np.asarray(vectors, dtype=np.float64)
    with np.errstate(all="ignore"):
        # A sum along a row depends on that row alone, unlike a matrix product.
        lengths = np.sqrt((exact * exact).sum(axis=1, keepdims=True))
        lengths[~((lengths >= _TINY) & np.isfinite(lengths))] = np.nan
        grid: np.ndarray = np.rint(exact * (2.0**_BITS / lengths))
    grid[np.isnan(lengths[:, 0])] = np.nan
    return grid


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the cosines of every row of one grid with every row of another, float64[n, m]."""
    with np.errstate(invalid="ignore"):
        products: np.ndarray = one @ other.T
    products *= 2.0 ** (-2 * _BITS)
    return products


def point_grid(vectors: np.ndarray) -> tuple[np.ndarray, float]:
    """Return points rounded to whole numbers, float64[n, d], and the length of one unit.

    One scale for all, set by the longest; differences of squares stay exact. Rows that are not
    finite become NaN.
    """
    exact = np.asarray(vectors, dtype=np.float64)
    finite = np.isfinite(exact).all(axis=1)
    lengths = np.sqrt((exact[finite] * exact[finite]).sum(axis=1))
    # A power of two keeps numbers of few digits as they are, and so their ties.
    longest = max(float(lengths.max(initial=0.0)), _TINY)
    unit = 2.0 ** (math.ceil(math.log2(longest)) + 1 - _BITS)
    grid: np.ndarray = np.rint(exact / unit)
    grid[~finite] = np.nan
    return grid, unit


def squared_distances(grid: np.ndarray, squares: np.ndarray, row: int) -> np.ndarray:
    """Return squared distances of each row of a grid to one of its rows, float64[n], exact.

    `squares` holds the rows' squared lengths, (grid * grid).sum(axis=1).
    """
    apart: np.ndarray = squares - 2 * (grid @ grid[row]) + squares[row]
    return apart
