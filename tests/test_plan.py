"""Where tests run, and that no program has a say in it."""

import pytest

from sandbox.plan import plan_test
from sandbox.programs import Program, StdioTest

PLACES = {
    "assert f(1) == 2": "calls",
    "x = 1\nassert f(x) == 2": "split",
    "for i in range(3):\n    assert f(i) == g(i)": "split",
    "try:\n    f(-1)\n    assert False\nexcept ValueError: pass": "split",
    "from solution import f\ndef test_f():\n    y = f(1)\n    assert y": "split",
    "xs = [2, 1]\nf(xs)\nassert xs == [1, 2]": "inline",
    "stack = Stack()\nassert stack.size() == 0": "inline",
    "import unittest\nclass T(unittest.TestCase):\n    pass": "inline",
    "assert LIMIT == 7 and f(1)": "inline",
    "assert f(1 ==": "impossible",
    "x = \0": "impossible",
    "x = " + "(" * 10_000: "impossible",
}


@pytest.mark.parametrize("code", ["def f(x): ...", "class f: pass\nx = y = i = f", "(", "f = 3\n"])
def test_the_strongest_place_that_the_test_allows(code):
    """The place follows from the test, whatever the program contains."""
    planned = [plan_test(Program("it", code, "f", (test,)), 0) for test in PLACES]
    assert [test.place for test in planned] == list(PLACES.values())


@pytest.mark.parametrize(
    ("mode", "test", "place"),
    [
        ("split", "assert f(1) == 2", "split"),
        ("inline", "assert f(1) == 2", "inline"),
        ("calls", "x = 1\nassert f(x) == 2", "impossible"),
        ("stdio", "assert f(1) == 2", "impossible"),
        ("split", StdioTest("1", "2"), "impossible"),
        ("stdio", StdioTest("1", "2"), "stdio"),
        (None, StdioTest("1", "2"), "stdio"),
    ],
)
def test_a_mode_that_is_asked_for_is_kept(mode, test, place):
    """A test that the mode cannot express is not run elsewhere."""
    assert plan_test(Program("it", "", "f", (test,), mode=mode), 0).place == place


def test_equal_tests_keep_their_own_places():
    """A plan that is remembered from another program carries the right index."""
    program = Program("it", "", "f", ("assert f(1) == 2",) * 3)
    assert [plan_test(program, i).index for i in range(3)] == [0, 1, 2]
