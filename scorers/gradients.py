"""What LESS makes of a row's gradient: the step that Adam would take, projected. Formulas only.

Xia et al., arXiv 2402.04333, section 3.1; `princeton-nlp/LESS`.
"""

from typing import Literal

import numpy as np

from pipeline.errors import UserError

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8


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


def project(vectors: np.ndarray, width: int, *, seed: int = 0, block: int = 4096) -> np.ndarray:
    """Multiply float[n, p] by a random sign matrix [p, width] made from the seed, to float32.

    As in the official code there is no factor 1/sqrt(width), and one matrix must serve pool,
    queries and checkpoints; ours is not trak's, so never mix the two (projector kind
    "signs-pcg64"). The matrix is made in blocks of `block` rows, which are part of its identity,
    and never held whole.
    """
    vectors = np.asarray(vectors, dtype=np.float64)
    projected = np.zeros((len(vectors), width))
    for number, start in enumerate(range(0, vectors.shape[1], block)):
        part = vectors[:, start : start + block]
        drawn = np.random.PCG64([seed, number]).random_raw(-(-block * width // 64))
        bits = np.unpackbits(drawn.astype("<u8").view(np.uint8), count=block * width)
        signs = bits.reshape(block, width)[: part.shape[1]].astype(np.float64) * 2 - 1
        projected += part @ signs
    return projected.astype(np.float32)
