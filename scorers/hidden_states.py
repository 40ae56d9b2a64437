"""From the hidden states of a row to its vector: pooling that padding cannot change."""

from typing import Literal

import numpy as np


def pool(
    hidden: np.ndarray, mask: np.ndarray, *, how: Literal["weighted", "mean", "last"] = "weighted"
) -> np.ndarray:
    """Pool states float[n, length, d] over the tokens of mask bool[n, length], to float32[n, d].

    weighted: token i of L real ones counts i / (1 + ... + L): RDS+ (arXiv 2503.01807, section 2),
    whose code counts padding too and so depends on the batch. mean; last (DEITA). A row without
    tokens is NaN: no selector chooses it.
    """
    real = np.asarray(mask, dtype=bool)
    place = np.cumsum(real, axis=1)
    if how == "last":
        weights = (real & (place == place[:, -1:])).astype(np.float64)
    else:
        weights = np.where(real, place if how == "weighted" else 1.0, 0.0)
    total = weights.sum(axis=1, keepdims=True)
    shares = weights / np.where(total > 0, total, np.nan)
    # Padding may hold anything, infinities too; 0 * inf would be NaN.
    states = np.where(real[:, :, None], np.asarray(hidden, np.float64), 0.0)
    pooled: np.ndarray = np.einsum("nl,nld->nd", shares, states)
    return pooled.astype(np.float32)
