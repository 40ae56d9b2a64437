"""Scores of DEITA's scorers: expected digit, and complexity times quality over the turns.

Liu et al., arXiv 2312.15685. The scorer is a small model tuned to answer with one digit, 1 to 6.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.errors import UserError


def expected_digit(logits: np.ndarray) -> np.ndarray:
    """Return the mean digit under a softmax over the digits' logits alone, float64[n].

    logits: float[n, digits], of "1", "2", ... at the first generated place. NaN where any is not
    finite: the official default of 3.0 looks like a real score.
    """
    table = np.atleast_2d(np.asarray(logits, dtype=np.float64))
    with np.errstate(invalid="ignore"):
        powers = np.exp(table - table.max(axis=1, keepdims=True))
    digits: np.ndarray = powers @ np.arange(1.0, table.shape[1] + 1) / powers.sum(axis=1)
    return digits


def expected_digit_of(logprobs: Mapping[str, float], most: int = 6) -> float | None:
    """Return the same from the log-probabilities that a server shows; None if no digit is there.

    Digits that are not shown count as having no mass.
    """
    seen = {d: logprobs[str(d)] for d in range(1, most + 1) if str(d) in logprobs}
    if not seen:
        return None
    row = np.full(most, -1e9)
    row[np.array(list(seen)) - 1] = list(seen.values())
    return float(expected_digit(row)[0])


def evol_score(
    complexity: Sequence[Sequence[float]], quality: Sequence[Sequence[float]]
) -> np.ndarray:
    """Return the sum over turns of complexity times quality, float64[n] (a sum of products).

    Raises UserError when a row's two lists differ in length, which NumPy would broadcast away.
    """
    for row, (c, q) in enumerate(zip(complexity, quality, strict=True)):
        if len(c) != len(q):
            raise UserError(
                f"row {row}: {len(c)} complexities for {len(q)} qualities; one each a turn"
            )
    rows = zip(complexity, quality, strict=True)
    return np.array([float(np.dot(c, q)) for c, q in rows], dtype=np.float64)
