"""Which replies of a prompt a policy should learn from, by the rank of an unreliable reward.

Policy filtration (PF-PPO): Shen and Zhang, ICML 2025, arXiv 2409.06957, and the weights of the
official code. Everything is by prompt: the official port to verl drops the grouping and loses
prompts.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import UserError

Strategy = Literal["best", "best_random", "best_worst", "power", "all"]
Floats = NDArray[np.float64]

_SHARE = 0.5  # of a prompt's draws that go to its best reply, whatever the number of replies
_CODE_BEST, _CODE_OTHER = 0.4, 0.1  # the official code's, which mean a half for five replies


def filter_weights(
    rewards: ArrayLike,
    groups: Sequence[str],
    strategy: Strategy = "best_random",
    *,
    weights_as: Literal["share", "code"] = "share",
    centre: bool = True,
    reliable: bool = True,
) -> Floats:
    """Return the weight of every reply, float64 [n]; 0 leaves it out.

    rewards: float [n], NaN for what was not judged (weight 0). groups: the prompt of each. Of equal
    bests the last counts, of equal worsts the first (official code).

    weights_as: best_random gives the best half of a prompt's draws; "code" has the constants 0.4
    and 0.1, which mean a half for five replies only. centre: power squares the distance to the
    prompt's mean; without it the reward itself, which the place of zero decides. reliable: a prompt
    whose replies all have one reward has weight 0: it holds no contrast.
    """
    values = np.asarray(rewards, np.float64)
    if values.shape != (len(groups),):
        raise UserError(f"filter_weights: {values.shape} rewards for {len(groups)} prompts")
    weights = np.zeros(len(values))
    members: dict[str, list[int]] = {}
    for place, group in enumerate(groups):
        if np.isfinite(values[place]):
            members.setdefault(group, []).append(place)
    for places in members.values():
        own = values[places]
        if not (reliable and own.min() == own.max()):
            weights[places] = _RULES[strategy](own, weights_as == "code", centre)
    return weights


def _best(own: Floats, code: bool, centre: bool) -> Floats:
    weights = np.zeros(len(own))
    weights[_last_best(own)] = 1.0
    return weights


def _best_random(own: Floats, code: bool, centre: bool) -> Floats:
    others = _CODE_OTHER if code else (1 - _SHARE) / max(len(own) - 1, 1)
    weights = np.full(len(own), others)
    weights[_last_best(own)] = _CODE_BEST if code else _SHARE
    return weights


def _best_worst(own: Floats, code: bool, centre: bool) -> Floats:
    weights = _best(own, code, centre)
    weights[int(np.argmin(own))] = 1.0
    return weights


def _power(own: Floats, code: bool, centre: bool) -> Floats:
    return (own - own.mean() if centre else own) ** 2


def _all(own: Floats, code: bool, centre: bool) -> Floats:
    return np.ones(len(own))


_RULES: dict[str, Callable[[Floats, bool, bool], Floats]] = {
    "best": _best,
    "best_random": _best_random,
    "best_worst": _best_worst,
    "power": _power,
    "all": _all,
}


def _last_best(own: Floats) -> int:
    return len(own) - 1 - int(np.argmax(own[::-1]))


def resample(weights: ArrayLike, *, seed: int) -> NDArray[np.int64]:
    """Return how often each of n rows is drawn in n draws with replacement, int64 [n].

    Chances are in proportion to weights over the whole buffer, so that the number of updates does
    not shrink. All zero: nothing is drawn.
    """
    values = np.asarray(weights, np.float64)
    if not values.any():
        return np.zeros(len(values), np.int64)
    counts = np.random.default_rng(seed).multinomial(len(values), values / values.sum())
    drawn: NDArray[np.int64] = counts.astype(np.int64)
    return drawn


def explained_share(rewards: ArrayLike, scores: ArrayLike, weights: ArrayLike) -> float | None:
    """Return R², how far rewards explain true scores on the rows of weight above 0.

    The squared Pearson correlation (the paper's regression was not found); None where it is not
    defined: fewer than two rows, or one value throughout.
    """
    reward, score = np.asarray(rewards, np.float64), np.asarray(scores, np.float64)
    kept = (np.asarray(weights) > 0) & np.isfinite(reward) & np.isfinite(score)
    one, other = reward[kept], score[kept]
    if len(one) < 2 or one.min() == one.max() or other.min() == other.max():
        return None
    return float(np.corrcoef(one, other)[0, 1] ** 2)
