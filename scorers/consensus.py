"""Which of many unreliable programs is best, judged by many unreliable tests.

Every method maps a pass matrix, one row a program and one column a test, to a `Ranking`. Cells are
true or false, or of three values: 1 passed, 0 did not, -1 not judged (trouble of our own). What was
not judged is evidence for nothing: a program judged on fewer than half of the tests is not ranked,
and of the tests only those count that all the ranked programs were judged on.

`weights` says how many samples each row stands for, where identical programs were run once; without
it every row counts once, as in the driver of B4 (the original CodeT counts samples). Duplicated
tests multiply evidence: deduplicate them before (`scorers.program_text`).

B4, CodeT, MBR-exec and MaxPass: Chen et al., arXiv 2409.08692. CodeDPO: arXiv 2410.05605. DSTC:
arXiv 2411.13611.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import UserError

_SAME = 1e-12  # relative: what is equal but for rounding is tied, whatever the order of the rows


class Ranking(NamedTuple):
    """Programs best first: `order` (int64 [N]) lists every row, tied ones by row number.

    `groups` are the tie groups in that order. `scores` (float64 [N]): -inf for rows that may not be
    chosen, NaN for rows that were not judged; both come last. `test_scores` (float64 [M], NaN where
    a test did not count) only from CodeDPO.
    """

    order: NDArray[np.int64]
    groups: tuple[tuple[int, ...], ...]
    scores: NDArray[np.float64]
    test_scores: NDArray[np.float64] | None = None

    @property
    def best(self) -> tuple[int, ...]:
        """Return the rows of the first tie group; none if no row may be chosen."""
        first = self.groups[0] if self.groups else ()
        return first if first and math.isfinite(self.scores[first[0]]) else ()


class Contrast(NamedTuple):
    """A program, one better than it, and the test that tells them apart: rows and a column."""

    chosen: int
    test: int
    rejected: int


class _Evidence(NamedTuple):
    """The part of a pass matrix that was judged throughout."""

    shape: tuple[int, int]  # of the whole
    rows: NDArray[np.int64]
    tests: NDArray[np.int64]
    passes: NDArray[np.bool_]  # [rows, tests]
    weights: NDArray[np.float64]  # of the rows


def max_pass(passed: ArrayLike, *, weights: Sequence[float] | None = None) -> Ranking:
    """Rank by the number of tests passed; `weights` make no difference."""
    evidence = _read(passed, weights)
    return _rank(evidence, evidence.passes.sum(axis=1))


def mbr_exec(passed: ArrayLike, *, weights: Sequence[float] | None = None) -> Ranking:
    """Rank by the number of programs that pass exactly the same tests (majority)."""
    evidence = _read(passed, weights)
    labels, _, sizes = _consensus_sets(evidence)
    return _rank(evidence, sizes[labels])


def codet(passed: ArrayLike, *, weights: Sequence[float] | None = None) -> Ranking:
    """Rank by tests passed times the square root of the size of the consensus set."""
    evidence = _read(passed, weights)
    labels, _, sizes = _consensus_sets(evidence)
    n_passed = evidence.passes.sum(axis=1)
    return _rank(evidence, np.sqrt(n_passed**2 * sizes[labels]))  # one rounding: ties stay ties


def b4(
    passed: ArrayLike,
    *,
    weights: Sequence[float] | None = None,
    alpha_xy: float = 10.0,
    beta_0: float = 10.0,
    keep_zero: bool = False,
    drop_constant: bool = False,
) -> Ranking:
    """Rank by the log posterior that a consensus set is exactly the set of correct programs.

    A larger `alpha_xy` believes more programs and tests right, a larger `beta_0` that wrong ones
    rarely agree by chance; the defaults are those of the paper's simulation, its real data has 1e3
    and 1e4 to 1e6. Programs that pass nothing can win under such priors and get -inf, unless
    `keep_zero`. `drop_constant` leaves out tests that all programs pass or fail.
    """
    from scipy.special import betaln

    if min(alpha_xy, beta_0) <= 0:
        raise UserError(f"b4: alpha_xy = {alpha_xy}, beta_0 = {beta_0}; both must be above 0")
    evidence = _read(passed, weights)
    nothing = ~evidence.passes.any(axis=1)
    if drop_constant:
        evidence = evidence._replace(passes=evidence.passes[:, informative(evidence.passes)])
    labels, firsts, s = _consensus_sets(evidence)
    rows = evidence.passes[firsts].astype(np.float64)
    columns = evidence.weights @ evidence.passes
    n, n_tests, m = evidence.weights.sum(), evidence.passes.shape[1], rows.sum(axis=1)
    inside = rows @ columns  # passes of all programs on the set's own tests
    a_1, a_0 = inside - s * m, columns.sum() - inside
    c_1, c_0 = (n - s) * m, (n - s) * (n_tests - m)
    scores = betaln(s + alpha_xy, n - s + 1) + betaln(m + alpha_xy, n_tests - m + 1)
    scores += betaln(a_1 + 1, c_1 - a_1 + 1) + betaln(a_0 + 1, c_0 - a_0 + beta_0)
    return _rank(evidence, np.where(nothing & (not keep_zero), -np.inf, scores[labels]))


def codedpo(
    passed: ArrayLike,
    *,
    weights: Sequence[float] | None = None,
    rounds: int = 10,
    damping: float = 0.85,
    normalised: bool = True,
    drop_constant: bool = False,
) -> Ranking:
    """Rank by mutual reinforcement: programs are good that pass tests that good programs pass.

    All scores start at 1 (reconstructed; a common constant only rescales) and both sides are
    updated from the round before. `normalised` divides by the maximum; the raw scores grow without
    bound and are never comparable between tasks. `drop_constant`: as for `b4`.
    """
    evidence = _read(passed, weights)
    if drop_constant:
        counts = informative(evidence.passes)
        evidence = evidence._replace(
            tests=evidence.tests[counts], passes=evidence.passes[:, counts]
        )
    link = evidence.passes.astype(np.float64)
    programs, tests = np.ones(link.shape[0]), np.ones(link.shape[1])
    for _ in range(rounds):
        programs, tests = (
            (1 - damping) * programs + damping * (link @ tests),
            (1 - damping) * tests + damping * ((evidence.weights * programs) @ link),
        )
        if normalised and programs.size:
            peak = max(programs.max(), tests.max(initial=0.0))
            programs, tests = programs / peak, tests / peak
    if normalised:
        programs, tests = _to_one(programs), _to_one(tests)
    test_scores = np.full(evidence.shape[1], np.nan)
    test_scores[evidence.tests] = tests
    return _rank(evidence, programs)._replace(test_scores=test_scores)


def dstc(
    passed: ArrayLike,
    *,
    weights: Sequence[float] | None = None,
    test_rule: Literal["most_agreed", "hardest"] = "most_agreed",
) -> Ranking:
    """Rank by the test that `contrast` selects, then by tests passed.

    Programs that pass it come first (score: tests passed + M), the others after them (tests
    passed). Where there is no such test the score is the number of tests passed.
    """
    evidence = _read(passed, weights)
    n_passed = evidence.passes.sum(axis=1)
    test = _telling_test(evidence, test_rule)
    if test is None:
        return _rank(evidence, n_passed)
    return _rank(evidence, n_passed + evidence.passes.shape[1] * evidence.passes[:, test])


def contrast(
    passed: ArrayLike,
    *,
    weights: Sequence[float] | None = None,
    test_rule: Literal["most_agreed", "hardest"] = "most_agreed",
    rejected_rule: Literal["clear_gap", "near_miss"] = "clear_gap",
) -> Contrast | None:
    """Choose DSTC's pair: the program that passes most, a test it passes, a program that fails it.

    The paper's exact rule was not found; both choices are reconstructed. test_rule: the test that
    most programs pass (but not all) or that fewest pass. rejected_rule: of the programs that fail
    it the one that passes fewest tests or most. Ties: the smaller number. None if nothing differs.
    """
    evidence = _read(passed, weights)
    test = _telling_test(evidence, test_rule)
    if test is None:
        return None
    n_passed = evidence.passes.sum(axis=1)
    failing = np.flatnonzero(~evidence.passes[:, test])
    among = n_passed[failing] if rejected_rule == "clear_gap" else -n_passed[failing]
    rejected = failing[np.argmin(among)]
    rows, tests = evidence.rows, evidence.tests
    return Contrast(int(rows[np.argmax(n_passed)]), int(tests[test]), int(rows[rejected]))


def informative(passed: ArrayLike) -> NDArray[np.bool_]:
    """Return (bool [M]) which tests some judged program passes and some judged program fails."""
    cells = _cells(passed)
    found: NDArray[np.bool_] = (cells == 1).any(axis=0) & (cells == 0).any(axis=0)
    return found


def _telling_test(evidence: _Evidence, rule: str) -> int | None:
    n_passed = evidence.passes.sum(axis=1)
    if not n_passed.any() or (n_passed == n_passed[0]).all():
        return None
    passes = evidence.weights @ evidence.passes
    tells = evidence.passes[np.argmax(n_passed)] & ~evidence.passes.all(axis=0)
    if not tells.any():
        return None
    hard = np.where(tells, passes if rule == "hardest" else -passes, np.inf)
    return int(np.argmin(hard))


def _cells(passed: ArrayLike) -> NDArray[np.int8]:
    """Return the matrix as int8 [N, M] of 1, 0 and -1, or say what it is instead."""
    given = np.asarray(passed)
    if given.ndim == 1 and not given.size:
        given = given.reshape(0, 0)
    if given.ndim != 2:
        raise UserError(
            f"a pass matrix has 2 dimensions, programs by tests; this has {given.ndim}; "
            "reshape it to (programs, tests)"
        )
    cells = given.astype(np.int8)
    if not ((cells == given) & (cells >= -1) & (cells <= 1)).all():
        raise UserError(
            "a pass matrix holds true and false, or 1, 0 and -1 (not judged); this one holds "
            f"{given.min()} to {given.max()}; map its values first"
        )
    return cells


def _read(passed: ArrayLike, weights: Sequence[float] | None) -> _Evidence:
    cells = _cells(passed)
    counts = np.ones(len(cells)) if weights is None else np.asarray(weights, np.float64)
    if counts.shape != (len(cells),) or not (counts > 0).all():
        raise UserError(
            f"weights are {counts.size} numbers for {len(cells)} programs; give one number above 0 "
            "for each"
        )
    judged = cells >= 0
    tests = np.flatnonzero(judged.any(axis=0))
    rows = np.flatnonzero(2 * judged[:, tests].sum(axis=1) >= len(tests))
    if not len(tests) and judged.size:
        rows = rows[:0]  # there were tests, and not one was judged
    tests = tests[judged[np.ix_(rows, tests)].all(axis=0)]
    return _Evidence(cells.shape, rows, tests, cells[np.ix_(rows, tests)] == 1, counts[rows])


def _consensus_sets(
    evidence: _Evidence,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return the set of each row, and of each set its first row and its size."""
    places: dict[bytes, int] = {}
    packed = np.packbits(evidence.passes, axis=1)
    labels = np.array([places.setdefault(row.tobytes(), len(places)) for row in packed], np.int64)
    firsts = np.unique(labels, return_index=True)[1].astype(np.int64)
    sizes = np.bincount(labels, weights=evidence.weights, minlength=len(places))
    return labels, firsts, sizes.astype(np.float64)


def _rank(evidence: _Evidence, scores: NDArray[Any]) -> Ranking:
    full = np.full(evidence.shape[0], np.nan)
    full[evidence.rows] = scores
    groups: list[list[int]] = []
    for row in np.lexsort((np.where(np.isnan(full), np.inf, -full), np.isnan(full))).tolist():
        if groups and _tied(full[groups[-1][-1]], full[row]):
            groups[-1].append(row)
        else:
            groups.append([row])
    ties = tuple(tuple(sorted(group)) for group in groups)
    order = np.array([row for group in ties for row in group], np.int64)
    return Ranking(order, ties, full)


def _tied(one: float, other: float) -> bool:
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    return math.isclose(one, other, rel_tol=_SAME)


def _to_one(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    return scores / scores.max() if scores.size else scores
