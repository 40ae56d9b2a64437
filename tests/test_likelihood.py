"""Formulas on token losses against the cards of IFD, GRAPE, CoLoR-Filter and SFTMix."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.selectors import top_k
from scorers.likelihood import (
    Losses,
    color,
    confidence,
    fittest,
    ifd,
    mean_loss,
    split_at_median,
    sum_losses,
    within_ifd,
)


def losses(*rows: list[float]) -> Losses:
    """Sums and counts of rows of token losses, the first token of a context of one left out."""
    return sum_losses([np.array(row, dtype=np.float32) for row in rows])


GIVEN = losses([1, 1.5, 0.5], [2, 2.2], [0.9, 1.1, 1, 1], [0.2, 0.2])
ALONE = losses([2, 2.5, 1.5], [2.1, 1.9], [1.2, 1, 1.1, 1.1], [0.5, 0.3])
PROMPT = losses([3, 2], [1, 1, 1], [5, 5], [1.5, 0.5])


def test_ifd_of_the_card() -> None:
    """IFD card: both ratios and IC-IFD of four rows, and the three orders."""
    by_loss, by_ppl = ifd(GIVEN, ALONE), ifd(GIVEN, ALONE, ratio="perplexity")
    ic = ifd(GIVEN, ALONE, PROMPT)
    assert by_loss == pytest.approx([0.5, 1.05, 0.909091, 0.5], abs=1e-6)
    assert by_ppl == pytest.approx([0.367879, 1.105171, 0.904837, 0.818731], abs=1e-6)
    assert ic == pytest.approx([0.2, 1.05, 0.181818, 0.5], abs=1e-6)
    names = np.array(list("abcd"))
    by_loss = np.round(by_loss, 6)  # float32 losses: a and d tie
    assert "".join(names[top_k(within_ifd(by_loss, "cherry"), 4)]) == "cad"
    assert "".join(names[top_k(within_ifd(by_ppl, "superfiltering"), 4)]) == "cda"
    assert "".join(names[top_k(ic, 4)]) == "bdac"


def test_ifd_selection_of_the_card() -> None:
    """IFD card: Superfiltering [c, a, f]; Cherry's bound keeps 1.0 and gives [d, c, a]."""
    names = np.array(list("abcdef"))
    scores = np.array([0.4, 1.1, 0.9, 1.0, np.nan, 0])
    assert names[top_k(within_ifd(scores, "superfiltering"), 3)].tolist() == ["c", "a", "f"]
    scores[4] = 0.2
    assert names[top_k(within_ifd(scores, "cherry"), 3)].tolist() == ["d", "c", "a"]


def test_unjudged_rows_are_nan() -> None:
    """No tokens, or a loss that is not finite, is NaN in every score; a tiny divisor is floored."""
    empty, broken = losses([], [1.0]), losses([1.0], [np.inf])
    assert np.isnan(ifd(empty, losses([1.0], [1.0]))).tolist() == [True, False]
    assert np.isnan(color(empty, broken)).all()
    assert ifd(losses([2.0]), losses([0.0])) == pytest.approx([2000])


def test_context_tokens_do_not_count() -> None:
    """A prompt of three tokens leaves two losses out: the first token never had one."""
    found = sum_losses([np.array([9.0, 9, 1, 2]), np.array([1.0])], [3, 0])
    assert found.total.tolist() == [3, 1] and found.tokens.tolist() == [2, 1]
    beyond = sum_losses([np.array([1.0])], [9])
    assert beyond.tokens.tolist() == [0]
    with pytest.raises(UserError, match="2 starts for 1 texts"):
        sum_losses([np.array([1.0])], [1, 2])


@given(st.lists(st.floats(0, 20), min_size=1, max_size=9), st.integers(0, 8))
def test_sums_of_parts_add_up(row: list[float], start: int) -> None:
    """Losses before and after a boundary make the whole."""
    whole, rest = sum_losses([np.array(row)]), sum_losses([np.array(row)], [start + 1])
    assert rest.total[0] + sum(row[:start]) == pytest.approx(whole.total[0])
    assert rest.tokens[0] + min(start, len(row)) == whole.tokens[0] == len(row)


def test_grape_of_the_card() -> None:
    """GRAPE card: sums, means, perplexities; the mean rule picks b, the sum rule a."""
    found = losses([0.2, 0.3, 0.1], [0.05] * 20, [1.2, 0.4])
    assert -found.total == pytest.approx([-0.6, -1.0, -1.6], abs=1e-6)
    assert -mean_loss(found) == pytest.approx([-0.2, -0.05, -0.8], abs=1e-6)
    assert np.exp(mean_loss(found)) == pytest.approx([1.221403, 1.051271, 2.225541], abs=1e-5)
    ids, group = ["a", "b", "c"], ["i"] * 3
    assert fittest(group, found, ids, at_most=3).tolist() == [1, 0, 2]
    assert fittest(group, found, ids, at_most=2).tolist() == [1, 0]
    assert fittest(group, found, ids, rule="sum").tolist() == [0]
    for rule in ("mean", "sum"):
        assert fittest(group, found, ids, at_most=3, rule=rule)[-1] == 2


def test_grape_ties_and_groups() -> None:
    """Ties go to fewer tokens, then id; each group has its own winner; NaN never wins."""
    found = losses([0.5, 0.5], [0.5], [0.5], [], [1.0])
    assert fittest(["x", "x", "x", "y", "y"], found, list("dcbaz")).tolist() == [2, 4]


def test_color_of_the_card() -> None:
    """CoLoR card: row by row, and a token-level mean that prompt tokens do not touch."""
    prior, cond = [3.2, 2.9, 3.5, 4.1, 2.0, 3.0, 3.8, 2.5], [2.7, 3.0, 2.9, 4.2, 1.2, 2.6, 3.7, 2.5]
    found = color(losses(*[[x] for x in prior]), losses(*[[x] for x in cond]))
    assert found == pytest.approx([0.5, -0.1, 0.6, -0.1, 0.8, 0.4, 0.1, 0], abs=1e-6)
    assert color(losses([2, 1, 3]), losses([1, 1, 1])).tolist() == [1.0]
    masked = [sum_losses([np.array([7.0, *row])], [2]) for row in ([2, 1, 3], [1, 1, 1])]
    assert color(*masked).tolist() == [1.0]


NLL = np.array(
    [[1, 0.8, 0.6], [2, 1.5, 1.2], [0.5, 0.4, 0.4], [3, 2.9, 2], [1.1, 1, 0.9], [1.5, 1.5, 1.4]]
)


def checkpoints(table: np.ndarray) -> list[Losses]:
    """One `Losses` a column, one token a row."""
    return [Losses(column, np.ones(len(column), int)) for column in table.T]


def test_sftmix_of_the_card() -> None:
    """SFTMix card: confidences, their median, halves and order; two rows that NLL would swap."""
    found = confidence(checkpoints(NLL))
    assert found == pytest.approx(
        [-2.255314, -5.063621, -1.544124, -15.216246, -2.72735, -4.339526], abs=1e-6
    )
    assert np.median(found) == pytest.approx(-3.533438, abs=1e-6)
    assert split_at_median(found, list("abcdef")).tolist() == [
        True,
        False,
        True,
        False,
        True,
        False,
    ]
    assert "".join(np.array(list("abcdef"))[top_k(found, 6)]) == "caefbd"
    pair = confidence(checkpoints(np.array([[0.1, 3.0], [1.8, 1.8]])))
    assert pair == pytest.approx([-10.595354, -6.049647], abs=1e-6)


def test_sftmix_median_rule_of_the_card() -> None:
    """Ties at the median go by id, so halves are equal; NaN has no half."""
    assert split_at_median(np.array([-1.0, -2, -2, -3]), list("0123")).tolist() == [
        True, True, False, False,
    ]  # fmt: skip
    with pytest.raises(UserError, match="1 of 2 scores are NaN"):
        split_at_median(np.array([1, np.nan]), ["a", "b"])


@given(st.lists(st.floats(-5, 5), max_size=9))
def test_halves_differ_by_one_at_most(scores: list[float]) -> None:
    """The upper half is floor(n / 2) rows and no lower score is above one of it."""
    upper = split_at_median(np.array(scores), [str(i) for i in range(len(scores))])
    assert upper.sum() == len(scores) // 2
    values = np.array(scores)
    if upper.any():
        assert values[upper].min() >= values[~upper].max()


def test_sftmix_scaling_of_the_card() -> None:
    """A factor on every perplexity leaves the halves; one checkpoint's alone moves them."""
    plain = split_at_median(confidence(checkpoints(NLL)), list("abcdef"))
    scaled = split_at_median(confidence(checkpoints(NLL + 0.7)), list("abcdef"))
    assert plain.tolist() == scaled.tolist()
    table = np.array([[0.1, 2.0], [1.5, 1.0]])
    late = table + np.array([3, 0])
    ids = ["a", "b"]
    assert split_at_median(confidence(checkpoints(table)), ids).tolist() == [False, True]
    assert split_at_median(confidence(checkpoints(late)), ids).tolist() == [True, False]
