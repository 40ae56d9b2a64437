"""Meta Ranking: is a response reliable, by comparing it with references of other prompts.

Liu et al., arXiv 2402.12146. The paper's text and code were not at hand: vote weights, ties, order
handling and threshold are our reconstruction and all of them are parameters.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from pipeline.errors import UserError

Reply = Literal["A", "B", "TIE"]
_TARGET_FIRST = {"A": 1.0, "B": -1.0, "TIE": 0.0}


def merge_orders(forward: Reply | None, backward: Reply | None) -> float:
    """Return the outcome for the target in -1 .. 1 of asking in both orders.

    The target is A in `forward` and B in `backward`; a reply that is none of the three is 0.
    """
    ahead = _TARGET_FIRST.get(forward or "", 0.0)
    behind = -_TARGET_FIRST.get(backward or "", 0.0)
    return (ahead + behind) / 2


def vote(
    outcomes: Sequence[float],
    reliable: Sequence[bool],
    *,
    weak: float = 0.5,
    tie: float = 0.5,
) -> np.ndarray:
    """Return one vote a reference, float64; their sum is the score, reliable if above a threshold.

    Beating a reliable reference or losing to an unreliable one is strong evidence and counts whole;
    the other two count `weak` times; a tie counts `tie` for or against, as the reference is.
    A judge that always ties scores tie * (reliable - unreliable references): keep them balanced or
    move the threshold from 0. Raises UserError unless there is one flag an outcome.
    """
    if len(outcomes) != len(reliable):
        raise UserError(f"there are {len(outcomes)} outcomes for {len(reliable)} references")
    o, c = np.asarray(outcomes, np.float64), np.where(np.asarray(reliable, bool), 1.0, -1.0)
    return np.where(o == 0, tie * c, np.where(o * c > 0, o, weak * o))
