"""Which rollouts of one prompt make a pair, by their scores: (chosen, rejected), best first.

A rule sees a `Group` in the order of its rollout ids and returns places in it. It may propose
anything: `pipeline.pairs` refuses ties and equal texts and counts why. Rules by text or time are
in `pipeline.pair_matching`.
"""

import random
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Pairs = list[tuple[int, int]]


class Group(NamedTuple):
    """The judged rollouts of one prompt: scores (float64, higher is better), texts, other columns.

    `seed` belongs to the prompt: draws do not depend on other prompts.
    """

    scores: NDArray[np.float64]
    texts: Sequence[str]
    rows: Sequence[dict[str, Any]]
    seed: int


class Rule(Protocol):
    """Proposes the pairs of one prompt; `needs` are columns it reads beside the scores.

    `ties`: it tells rollouts of equal score apart by something else.
    """

    __name__: str
    version: int
    needs: tuple[str, ...]
    ties: bool

    def __call__(self, group: Group, /, **options: Any) -> Pairs:
        """Return places (chosen, rejected); the first of two equal pairs counts."""
        ...


def rule(
    *, needs: Sequence[str] = (), ties: bool = False, version: int = 1
) -> Callable[[Any], Any]:
    """Mark a function as a `Rule`: what it reads, whether it pairs ties, its version in digests."""

    def mark(function: Any) -> Any:
        function.needs, function.ties, function.version = tuple(needs), ties, version
        return function

    return mark


@rule()
def extremes(
    group: Group,
    *,
    against: Literal["worst", "second", "random"] = "worst",
    gap: float = 0.0,
    ratio: float = 0.0,
) -> Pairs:
    """Pair the best with the worst (CodeDPO, RLHF-Workflow `max_min`), the second, or any other.

    Only if their scores differ by more than `gap`, and the better is at least `ratio` times the
    worse (0: no such bound; CodeDPO's thresholds were not found).
    """
    best, *others = np.argsort(-group.scores, kind="stable").tolist()
    if not others:
        return []
    if against == "random":
        other = random.Random(group.seed).choice(sorted(others))
    else:
        other = others[0] if against == "second" else int(np.argmin(group.scores))
    high, low = group.scores[best], group.scores[other]
    return [(best, other)] if high - low > gap and high >= ratio * low else []


@rule()
def top_against_bottom(group: Group, *, k: int = 2) -> Pairs:
    """Pair the best with the worst, the second with the second worst, up to k pairs.

    No rollout is on both sides: of n at most n // 2 pairs.
    """
    falling = np.argsort(-group.scores, kind="stable").tolist()
    rising = np.argsort(group.scores, kind="stable").tolist()
    k = min(k, len(falling) // 2)
    top = falling[:k]
    return list(zip(top, [place for place in rising if place not in top][:k], strict=True))


@rule()
def above_gap(group: Group, *, gap: float = 0.0, at_most: int | None = None) -> Pairs:
    """Pair all whose scores differ by more than `gap` (Tajwar et al.: 0.1), the widest first."""
    n = range(len(group.scores))
    wide = [
        (one, other)
        for one, other in product(n, n)
        if group.scores[one] - group.scores[other] > gap
    ]
    wide.sort(key=lambda pair: (group.scores[pair[1]] - group.scores[pair[0]], pair))
    return wide[:at_most]


@rule()
def crossed(
    group: Group, *, label: Literal["all", "any"] = "all", at_most: int | None = None
) -> Pairs:
    """Cross preferred with dispreferred programs, each used once on its side, drawn by seed (PLUM).

    Scores are shares of tests passed; preferred are those that pass all of them, or `any`. The
    rest (cap, single use, shuffle) is reconstructed.
    """
    good = [i for i, s in enumerate(group.scores) if (s >= 1 if label == "all" else s > 0)]
    bad = [i for i in range(len(group.scores)) if i not in set(good)]
    draw = random.Random(group.seed)
    draw.shuffle(good)
    draw.shuffle(bad)
    return list(zip(good, bad, strict=False))[:at_most]


@rule()
def first_round(group: Group) -> Pairs:
    """Pair neighbours (1, 2), (3, 4), ... and let the score decide (RSO); an odd last one rests."""
    return _round(group, list(range(len(group.scores))))[0]


@rule()
def tournament(group: Group) -> Pairs:
    """Play `first_round`, then winners against winners until one is left (RSO): n - 1 pairs.

    An odd last one goes on without a game. Of a tie the earlier goes on, and no pair is made.
    """
    games: Pairs = []
    playing = list(range(len(group.scores)))
    while len(playing) > 1:
        played, playing = _round(group, playing)
        games += played
    return games


def _round(group: Group, playing: Sequence[int]) -> tuple[Pairs, list[int]]:
    """Return the games with a winner, and who plays on."""
    pairs: Pairs = []
    winners = []
    for one, other in zip(playing[::2], playing[1::2], strict=False):
        better, worse = (other, one) if group.scores[other] > group.scores[one] else (one, other)
        winners.append(better)
        if group.scores[better] > group.scores[worse]:
            pairs.append((better, worse))
    return pairs, winners + list(playing[len(winners) * 2 :])
