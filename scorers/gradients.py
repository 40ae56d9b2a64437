"""What LESS makes of a row's gradient: the step that Adam would take, projected. Formulas only.

Xia et al., arXiv 2402.04333, section 3.1; `princeton-nlp/LESS`.
"""

from functools import lru_cache
from typing import Literal

import numpy as np

from pipeline.errors import UserError

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8
_SIGNS_AT_ONCE = 1 << 23  # floats: 32 MB


def adam_step(
    gradient: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    *,
    mode: Literal["code", "paper", "textbook", "epsilon_outside"] = "code",
    step: int | None = None,
) -> np.ndarray:
    """Return the direction of one Adam step from moments m and v, which are not changed.

    code: no bias correction, epsilon inside the root (a floor of 1e-4 on the divisor). paper: the
    same with both moments divided by 1 - beta**step. textbook: that with epsilon outside the root.
    epsilon_outside: as code otherwise. The correction is one factor a checkpoint and cancels in a
    cosine, so "code" is sound and reproduces the published numbers.
    """
    m = _BETA1 * np.asarray(m, np.float64) + (1 - _BETA1) * np.asarray(gradient, np.float64)
    v = _BETA2 * np.asarray(v, np.float64) + (1 - _BETA2) * np.square(gradient, dtype=np.float64)
    if mode in ("paper", "textbook"):
        if step is None or step < 1:
            raise UserError(f"mode '{mode}' needs the checkpoint's step, not {step}")
        m, v = m / (1 - _BETA1**step), v / (1 - _BETA2**step)
    if mode in ("code", "paper"):
        inside: np.ndarray = m / np.sqrt(v + _EPSILON)
        return inside
    outside: np.ndarray = m / (np.sqrt(v) + _EPSILON)
    return outside


def project(vectors: np.ndarray, width: int, *, seed: int = 0) -> np.ndarray:
    """Multiply float[n, p] by a random sign matrix [p, width] made from the seed, to float32.

    As in the official code there is no factor 1/sqrt(width), and one matrix must serve pool,
    queries and checkpoints; ours is not trak's, so never mix the two (projector "signs-philox").
    Row i is the output of Philox at a counter that depends on i and width alone, so the matrix is
    made some rows at a time and never held. One pass over it serves all n rows: give many.
    """
    if width < 1:
        raise UserError(f"width = {width} of projected gradients must be at least 1")
    vectors = np.asarray(vectors, dtype=np.float32)
    projected = np.zeros((len(vectors), width))
    draws = -(-width // 256)  # Philox makes 256 bits a count
    rows = max(1, _SIGNS_AT_ONCE // (256 * draws))
    signs = np.empty((rows * draws * 32, 8), dtype=np.float32)
    for start in range(0, vectors.shape[1], rows):
        part = vectors[:, start : start + rows]
        count = part.shape[1] * draws
        drawn = np.random.Philox(key=seed, counter=start * draws).random_raw(4 * count)
        own = signs[: 32 * count]
        np.take(_signs_of_bytes(), drawn.astype("<u8").view(np.uint8), axis=0, out=own, mode="clip")
        projected += part @ own.reshape(part.shape[1], -1)[:, :width]
    return projected.astype(np.float32)


@lru_cache(maxsize=1)
def _signs_of_bytes() -> np.ndarray:
    """Return the eight signs that each byte stands for, float32[256, 8]."""
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
    return bits.astype(np.float32) * 2 - 1
