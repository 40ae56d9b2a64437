"""Rankings by consensus: the cards' worked examples, the laws they obey, degenerate matrices."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.errors import UserError
from scorers.consensus import (
    Contrast,
    b4,
    codedpo,
    codet,
    contrast,
    dstc,
    informative,
    max_pass,
    mbr_exec,
)

METHODS = [max_pass, mbr_exec, codet, b4, codedpo, dstc]
each_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
shapes = st.tuples(st.integers(0, 7), st.integers(0, 7))
matrices = arrays(np.bool_, shapes)

A = [
    [1, 1, 0, 0, 1],
    [0, 1, 0, 0, 1],
    [0, 1, 0, 0, 1],
    [1, 1, 1, 0, 1],
    [1, 1, 0, 1, 0],
    [1, 1, 0, 1, 0],
]
B = [
    [0, 0, 1, 1, 0],
    [1, 0, 1, 0, 1],
    [0, 0, 1, 1, 1],
    [1, 1, 0, 1, 1],
    [1, 0, 1, 0, 1],
    [0, 0, 1, 1, 0],
]
C = [[1, 1, 1, 0, 0], [1, 1, 1, 0, 0], [1, 1, 0, 0, 1], [0, 0, 0, 1, 1]]
LINK = [[1, 1, 1, 1, 0], [1, 1, 1, 0, 0], [1, 0, 0, 0, 1], [0, 0, 0, 0, 1]]


def groups_with_scores(ranking):
    """Tie groups with their scores, best first."""
    return [(group, ranking.scores[group[0]]) for group in ranking.groups]


def close(ranking, expected, tolerance=1e-6):
    """Whether tie groups and scores are as expected."""
    groups, scores = zip(*expected, strict=True)
    found = [score for _, score in groups_with_scores(ranking)]
    return ranking.groups == groups and np.allclose(found, scores, rtol=0, atol=tolerance)


def test_b4_card_example_a() -> None:
    """The B4 card's example A: four strategies, four different winners."""
    assert close(max_pass(A), [((3,), 4), ((0, 4, 5), 3), ((1, 2), 2)])
    assert close(mbr_exec(A), [((1, 2, 4, 5), 2), ((0, 3), 1)])
    expected = [((4, 5), 4.242641), ((3,), 4), ((0,), 3), ((1, 2), 2.828427)]
    assert close(codet(A), expected)
    expected = [((0,), -37.862361), ((4, 5), -38.224809), ((3,), -38.421977), ((1, 2), -38.880930)]
    assert close(b4(A), expected)
    expected = [((3,), -92.519562), ((0,), -101.766587)]
    expected += [((4, 5), -111.294282), ((1, 2), -127.927700)]
    assert close(b4(A, alpha_xy=1e3, beta_0=1e4), expected)


@pytest.mark.parametrize(
    ("beta_0", "scores"),
    [
        (1e4, [-110.3797, -111.2943, -115.7689, -135.7521]),
        (1e5, [-121.8890, -125.1068, -129.5830, -156.4689]),
        (1e6, [-133.4016, -138.9220, -143.3984, -177.1916]),
    ],
)
def test_b4_card_example_b(beta_0: float, scores: list[float]) -> None:
    """The B4 card's example B: a single program wins for every prior, against all baselines."""
    groups = [(2,), (1, 4), (3,), (0, 5)]
    ranking = b4(B, alpha_xy=1e3, beta_0=beta_0)
    assert close(ranking, list(zip(groups, scores, strict=True)), 1e-4)
    assert max_pass(B).best == (3,) and codet(B).best == (1, 4)
    assert mbr_exec(B).best == (0, 1, 4, 5)


def test_b4_card_examples_c_and_d() -> None:
    """The B4 card's agreement case, and matrices of one value."""
    assert close(b4(C), [((0, 1), -27.163685), ((2,), -31.545712), ((3,), -34.268792)])
    assert close(codet(C)._replace(groups=codet(C).groups[:1]), [((0, 1), 4.242641)])
    assert close(max_pass(C)._replace(groups=max_pass(C).groups[:1]), [((0, 1, 2), 3)])
    assert close(b4(np.ones((4, 5))), [((0, 1, 2, 3), -7.649693)])
    assert close(b4(np.zeros((4, 5)), keep_zero=True), [((0, 1, 2, 3), -15.251595)])


def test_b4_programs_that_pass_nothing_cannot_win() -> None:
    """The B4 card's pitfall: five programs that pass nothing would win, were they not left out."""
    passed = np.zeros((7, 3), bool)
    passed[2, 1] = passed[4, 2] = True
    priors = {"alpha_xy": 1e3, "beta_0": 1e5}
    expected = [((0, 1, 3, 5, 6), -79.7391), ((2, 4), -86.8111)]
    assert close(b4(passed, keep_zero=True, **priors), expected, 1e-4)
    ranking = b4(passed, **priors)
    assert ranking.best == (2, 4)
    assert ranking.groups[-1] == (0, 1, 3, 5, 6) and ranking.scores[0] == -np.inf
    assert b4(np.zeros((4, 5))).best == ()


def b4_by_definition(passed, alpha_xy, beta_0):
    """B4 of the card, cell by cell."""
    from scipy.special import betaln

    n, m_all = passed.shape
    scores = []
    for row in passed:
        same = [i for i in range(n) if (passed[i] == row).all()]
        outside = [passed[i, j] for i in range(n) if i not in same for j in np.flatnonzero(row)]
        rest = [passed[i, j] for i in range(n) if i not in same for j in np.flatnonzero(~row)]
        s, m = len(same), int(row.sum())
        terms = [betaln(s + alpha_xy, n - s + 1), betaln(m + alpha_xy, m_all - m + 1)]
        terms += [betaln(sum(outside) + 1, len(outside) - sum(outside) + 1)]
        terms += [betaln(sum(rest) + 1, len(rest) - sum(rest) + beta_0)]
        scores.append(sum(terms))
    return np.array(scores)


@given(matrices, st.sampled_from([1.0, 10.0, 1e3]), st.sampled_from([10.0, 1e4]))
def test_b4_fast_form_is_the_definition(passed, alpha_xy, beta_0) -> None:
    """The form that costs O(NM) gives the scores of the sums over cells."""
    fast = b4(passed, alpha_xy=alpha_xy, beta_0=beta_0, keep_zero=True).scores
    assert np.allclose(fast, b4_by_definition(passed, alpha_xy, beta_0), rtol=0, atol=1e-8)


def test_codedpo_card_example_a() -> None:
    """The CodeDPO card's example A: rounds 1, 2, 10, the limit; not the in-place update."""
    for rounds, codes, tests in [
        (1, [3.55, 2.70, 1.85, 1.00], [2.70, 1.85, 1.85, 1.00, 1.85]),
        (2, [6.8225, 5.8450, 4.1450, 1.7225], [7.2900, 5.5900, 5.5900, 3.1675, 2.7000]),
        (
            10,
            [8089.2593, 6928.3925, 3161.9258, 544.9032],
            [7257.5187, 5990.4854, 5990.4854, 3226.5451, 1488.5094],
        ),
    ]:
        raw = codedpo(LINK, rounds=rounds, normalised=False)
        assert np.allclose(raw.scores, codes, rtol=0, atol=1e-4)
        assert np.allclose(raw.test_scores, tests, rtol=0, atol=1e-4)
    found = codedpo(LINK)
    assert np.allclose(found.scores, [1, 0.856493, 0.390880, 0.067361], rtol=0, atol=1e-6)
    tests = [1, 0.825418, 0.825418, 0.444580, 0.205099]
    assert np.allclose(found.test_scores, tests, rtol=0, atol=1e-6)
    limit = [1, 0.856247, 0.387647, 0.065081]
    assert np.allclose(codedpo(LINK, rounds=500).scores, limit, rtol=0, atol=1e-6)
    assert not np.allclose(found.scores, [1, 0.856249, 0.387672, 0.065099], rtol=0, atol=1e-4)
    assert found.groups[0] == (0,) and found.groups[-1] == (3,)


def test_codedpo_card_examples_b_and_c() -> None:
    """A program with two passes beats one with three; a test that all pass pulls wrong ones up."""
    b = [[1, 0, 1, 1, 0], [0, 1, 0, 0, 1], [1, 0, 0, 0, 1], [0, 0, 0, 0, 1]]
    raw = [600.8444, 488.0764, 680.1383, 370.5697]
    assert np.allclose(codedpo(b, normalised=False).scores, raw, rtol=0, atol=1e-4)
    c = [[1, 1, 1, 0, 1], [1, 1, 0, 0, 1], [0, 0, 0, 1, 1], [0, 0, 0, 1, 1]]
    found, without = codedpo(c), codedpo(c, drop_constant=True)
    assert np.allclose(found.scores, [1, 0.869285, 0.516595, 0.516595], rtol=0, atol=1e-6)
    tests = [0.643749, 0.643749, 0.344371, 0.356251, 1]
    assert np.allclose(found.test_scores, tests, rtol=0, atol=1e-6)
    assert np.allclose(without.scores, [1, 0.780772, 0.017186, 0.017186], rtol=0, atol=1e-6)
    assert np.isnan(without.test_scores[4])
    zeros = codedpo(np.zeros((3, 4)), normalised=False).scores
    assert np.allclose(zeros, 5.767e-9, rtol=1e-3)
    ones = codedpo(np.ones((15, 15)), normalised=False).scores
    assert np.allclose(ones, 1.276e11, rtol=1e-3)


def test_dstc_card_example() -> None:
    """The DSTC card's table: which test is chosen decides who is rejected."""
    assert contrast(LINK) == Contrast(0, 0, 3)
    assert contrast(LINK, rejected_rule="near_miss") == Contrast(0, 0, 3)
    assert contrast(LINK, test_rule="hardest") == Contrast(0, 3, 3)
    assert contrast(LINK, test_rule="hardest", rejected_rule="near_miss") == Contrast(0, 3, 1)
    assert contrast(np.ones((4, 5))) is None and contrast(np.zeros((4, 5))) is None
    assert contrast([[1]]) is None and contrast([[1], [0]]) == Contrast(0, 0, 1)
    assert dstc(LINK).order.tolist() == [0, 1, 2, 3]
    assert dstc(LINK).scores.tolist() == [9, 8, 7, 1]


@each_method
@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (3, 0)])
def test_empty_matrices(method, shape) -> None:
    """Without programs there is no winner; without tests all programs tie."""
    ranking = method(np.zeros(shape, bool))
    assert ranking.order.tolist() == list(range(shape[0]))
    assert ranking.groups == ((tuple(range(shape[0])),) if shape[0] else ())


@each_method
def test_bad_matrices_are_refused(method) -> None:
    """Another dimension, other values and weights that do not fit are one sentence each."""
    for passed, weights in [
        ([1, 0], None),
        ([[2, 0]], None),
        ([[0.5]], None),
        ([[1, 0]], [1, 1]),
        ([[1, 0]], [0]),
    ]:
        with pytest.raises(UserError):
            method(passed, weights=weights)


@each_method
@given(matrices)
def test_order_is_the_tie_groups(method, passed) -> None:
    """Every row is ranked once, best first; equal rows tie; the score is what groups them."""
    ranking = method(passed)
    assert [row for group in ranking.groups for row in group] == ranking.order.tolist()
    assert sorted(ranking.order) == list(range(len(passed)))
    leads = [ranking.scores[group[0]] for group in ranking.groups]
    assert leads == sorted(leads, reverse=True)
    home = {row: group for group in ranking.groups for row in group}
    for one in range(len(passed)):
        for other in range(one):
            if method is not dstc and (passed[one] == passed[other]).all():
                assert home[one] == home[other]


@each_method
@given(matrices, st.randoms(use_true_random=False))
def test_permutation_invariance(method, passed, draw) -> None:
    """Shuffling programs and tests shuffles the tie groups and nothing else."""
    rows, columns = list(range(len(passed))), list(range(passed.shape[1]))
    draw.shuffle(rows)
    draw.shuffle(columns)
    shuffled = passed[rows]
    if method is not dstc:  # which test it selects among equals depends on their order
        shuffled = shuffled[:, columns]
    found = method(shuffled)
    if method is dstc and len({int(x) for x in passed.sum(axis=1)}) < len(passed):
        return  # the first of the best programs selects the test
    expected = [set(group) for group in method(passed).groups]
    assert [{rows[i] for i in group} for group in found.groups] == expected


@each_method
@given(arrays(np.bool_, st.tuples(st.integers(1, 5), st.integers(1, 5))), st.data())
def test_weights_are_repetitions(method, passed, data) -> None:
    """Weights rank distinct programs as if each were listed so many times."""
    weights = data.draw(st.lists(st.integers(1, 3), min_size=len(passed), max_size=len(passed)))
    firsts = np.repeat(np.arange(len(passed)), weights)
    short, long = method(passed, weights=weights), method(passed[firsts])
    expected = [set(group) for group in short.groups]
    assert [set(firsts[list(group)].tolist()) for group in long.groups] == expected
    starts = np.searchsorted(firsts, np.arange(len(passed)))
    assert np.allclose(short.scores, long.scores[starts])


@given(matrices, st.data())
def test_one_more_pass_never_hurts(passed, data) -> None:
    """By MaxPass, and by CodeDPO's raw score, a program that passes one more test gains."""
    if not passed.size:
        return
    row = data.draw(st.integers(0, len(passed) - 1))
    column = data.draw(st.integers(0, passed.shape[1] - 1))
    more = passed.copy()
    more[row, column] = True
    assert max_pass(more).scores[row] >= max_pass(passed).scores[row]
    raw = [codedpo(matrix, normalised=False).scores[row] for matrix in (passed, more)]
    assert raw[1] >= raw[0]


@each_method
@given(matrices)
def test_unjudged_cells_are_no_evidence(method, passed) -> None:
    """A row and a column that were not judged leave the ranking of the others as it was."""
    cells = np.full((len(passed) + 1, passed.shape[1] + 1), -1, np.int8)
    cells[:-1, :-1] = passed
    if not passed.size:
        return
    wide, plain = method(cells), method(passed)
    assert wide.groups == (*plain.groups, (len(passed),))
    assert np.array_equal(wide.scores[:-1], plain.scores) and np.isnan(wide.scores[-1])


def test_half_judged_programs() -> None:
    """A program judged on half of the tests is ranked by those; on fewer it is not ranked."""
    cells = [[1, 1, 0, 0], [0, 1, -1, -1], [1, -1, -1, -1]]
    assert max_pass(cells).groups == ((0,), (1,), (2,))
    assert np.array_equal(max_pass(cells).scores, [2, 1, np.nan], equal_nan=True)
    assert max_pass([[-1, -1]]).best == ()


def test_informative_tests() -> None:
    """A test tells programs apart if one passes it and another fails it; unjudged cells do not."""
    cells = [[1, 0, 1, 1], [1, 0, 0, -1]]
    assert informative(cells).tolist() == [False, False, True, False]
    assert b4([[1, 1], [1, 1]], drop_constant=True).best == (0, 1)


def test_codet_ties_are_exact() -> None:
    """Three tests twice and one test eighteen times are the same score, rounding apart."""
    passed = np.zeros((20, 4), bool)
    passed[:2, :3] = True
    passed[2:, 3] = True
    assert codet(passed).groups == (tuple(range(20)),)
