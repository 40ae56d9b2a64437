"""Which rollouts of one prompt make a pair, by more than their scores: length, edits, run time."""

import re
from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from pipeline.pair_rules import Group, Pairs, rule

_TOKEN = re.compile(r"\w+|[^\w\s]")


@rule()
def length_matched(
    group: Group, *, within: float = 0.1, gap: float = 0.0, at_most: int | None = None
) -> Pairs:
    """Pair a better with a worse one of nearly the same length, the closest first, each used once.

    Lengths in characters may differ by `within` of the longer one; scores by more than `gap`.
    """
    lengths = [len(text) for text in group.texts]
    near = [
        (abs(lengths[one] - lengths[other]) / max(lengths[one], lengths[other], 1), one, other)
        for one, other in _better_and_worse(group, gap)
    ]
    return _each_once([(one, other) for apart, one, other in sorted(near) if apart <= within])[
        :at_most
    ]


@rule()
def minimal_edit(
    group: Group, *, edits: int = 50, gap: float = 0.0, at_most: int | None = None
) -> Pairs:
    """Pair each worse one with the better one nearest to it, at most `edits` tokens away (CONDOR).

    The limit and the pairing are reconstructed. The closest pairs come first; a chosen text may
    serve several rejected ones.
    """
    tokens = [_TOKEN.findall(text) for text in group.texts]
    nearest: dict[int, tuple[int, int]] = {}
    for one, other in _better_and_worse(group, gap):
        if abs(len(tokens[one]) - len(tokens[other])) > edits:
            continue
        apart = edit_distance(tokens[one], tokens[other])
        if apart <= edits:
            nearest[other] = min(nearest.get(other, (apart, one)), (apart, one))
    pairs = sorted((apart, one, other) for other, (apart, one) in nearest.items())
    return [(one, other) for _, one, other in pairs][:at_most]


@rule(needs=("times_ms",), ties=True)
def fast_against_slow(
    group: Group,
    *,
    ratio: float = 1.1,
    deviations: float = 3.0,
    repetitions: int = 5,
    least_ms: float = 1.0,
) -> Pairs:
    """Pair the fastest with the slowest of the best-scored programs (CodeDPO; reconstructed).

    Column `times_ms`: list of float64, one sum over the trusted tests a repetition. The medians'
    quotient must reach `ratio` and their difference exceed `deviations` pooled median absolute
    deviations; below `least_ms` a clock tells nothing. Programs timed fewer than `repetitions`
    times do not take part.
    """
    best = np.flatnonzero(group.scores == group.scores.max())
    timed = {
        int(place): np.array(group.rows[place]["times_ms"], np.float64)
        for place in best
        if len(group.rows[place]["times_ms"] or ()) >= repetitions
    }
    if len(timed) < 2:
        return []
    medians = {place: float(np.median(times)) for place, times in timed.items()}
    fast = min(medians, key=lambda place: (medians[place], place))
    slow = max(medians, key=lambda place: (medians[place], -place))
    spread = deviations * _pooled_deviation([timed[fast], timed[slow]])
    clear = medians[slow] >= ratio * medians[fast] and medians[slow] - medians[fast] > spread
    return [(fast, slow)] if clear and medians[slow] >= least_ms else []


def edit_distance(one: Sequence[str], other: Sequence[str]) -> int:
    """Return the Levenshtein distance of two token sequences (bit-parallel: Hyyrö 2003)."""
    if not one:
        return len(other)
    places: dict[str, int] = {}
    for place, token in enumerate(one):
        places[token] = places.get(token, 0) | 1 << place
    every, last = (1 << len(one)) - 1, 1 << (len(one) - 1)
    up, down, distance = every, 0, len(one)  # vertical differences +1 and -1 of the column
    for token in other:
        equal = places.get(token, 0)
        diagonal = ((((equal & up) + up) ^ up) | equal | down) & every
        right, left = down | (every & ~(diagonal | up)), up & diagonal
        distance += bool(right & last) - bool(left & last)
        right, left = (right << 1 | 1) & every, (left << 1) & every
        up, down = left | (every & ~(diagonal | right)), right & diagonal
    return distance


def _better_and_worse(group: Group, gap: float) -> Pairs:
    n = range(len(group.scores))
    return [(i, j) for i, j in product(n, n) if group.scores[i] - group.scores[j] > gap]


def _each_once(pairs: Sequence[tuple[int, int]]) -> Pairs:
    used: set[int] = set()
    kept: Pairs = []
    for one, other in pairs:
        if used.isdisjoint((one, other)):
            used |= {one, other}
            kept.append((one, other))
    return kept


def _pooled_deviation(timings: Sequence[NDArray[np.float64]]) -> float:
    apart = [np.abs(times - np.median(times)) for times in timings]
    return float(np.median(np.concatenate(apart)))
