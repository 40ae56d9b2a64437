"""Condor's versions between a wrong and a right program, run in the real sandbox."""

import pytest

from pipeline.code_edits import hunk_versions, relative_distance
from pipeline.pair_matching import edit_distance
from sandbox import Program, Sandbox, StdioTest

WRONG = "n = int(input())\ns = 1\nfor i in range(n):\n    s += i\nprint(s + 1)"
RIGHT = WRONG.replace("s = 1", "s = 0").replace("s + 1", "s")


def test_versions_are_new_and_wrong_as_in_the_card() -> None:
    """Two hunks give two programs; for 0 and 4 both print 1 and 7, where 0 and 6 are right."""
    versions = hunk_versions(WRONG, RIGHT)
    assert versions == [WRONG.replace("s = 1", "s = 0"), WRONG.replace("s + 1", "s")]
    cases = {WRONG: ("2", "8"), versions[0]: ("1", "7"), versions[1]: ("1", "7"), RIGHT: ("0", "6")}
    programs = [
        Program(code, code, tests=tuple(map(StdioTest, ("0\n", "4\n"), printed)))
        for code, printed in cases.items()
    ]
    with Sandbox(workers=1) as box:
        assert [one.verdict for one in box.run(programs)] == ["correct"] * 4


def test_distances_are_the_cards() -> None:
    """Three edits; relative to the mean length 0.3, not the notebook's 0.206897."""
    one = "int main ( ) { return 0 ; }".split()
    other = "int main ( int argc ) { return 1 ; }".split()
    assert (len(one), len(other)) == (9, 11)
    assert edit_distance(one, other) == 3
    assert relative_distance(one, other) == pytest.approx(0.3)
    assert relative_distance([], []) == 0


def test_versions_are_capped_and_repeatable() -> None:
    """Of 2^h - 2 subsets so many are drawn; one hunk has none; many hunks are sampled."""
    lines = [f"x{i} = {i}" for i in range(40)]
    wrong = "\n".join(
        line.replace("= ", "= 1") if i % 8 == 0 else line for i, line in enumerate(lines)
    )
    right = "\n".join(lines)
    assert len(hunk_versions(wrong, right, at_most=99)) == 2**5 - 2
    assert len(hunk_versions(wrong, right)) == 14
    assert hunk_versions(wrong, right, seed=1) == hunk_versions(wrong, right, seed=1)
    assert hunk_versions("a = 1", "a = 2") == []
    many = "\n".join(line + "0" if i % 2 else line for i, line in enumerate(lines))
    assert 0 < len(hunk_versions(many, right)) <= 14
