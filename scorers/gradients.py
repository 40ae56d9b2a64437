"""What LESS makes of a row's gradient: the step that Adam would take. Formulas only.

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
