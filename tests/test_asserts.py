"""Which tests need no interpreter, and that judging them outside agrees with running them."""

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.asserts import find_checks
from sandbox.compare import evaluate, same_output
from sandbox.wire import decode

LITERAL = st.recursive(
    st.integers(-5, 5) | st.booleans() | st.none() | st.sampled_from([0.5, 1.0, "a", "ab"]),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner),
    max_leaves=4,
).map(repr)
CONDITION = st.builds(
    str.format,
    st.sampled_from(
        [
            "f({0}) == {1}", "{1} == f({0})", "f({0}) != {1}", "f({0}) in [{1}, {0}]", "not f({0})",
            "f({0}) is True", "f({0}) is not None", "f({0}) < {1}", "len(f({0})) == 1",
            "sorted(f({0})) == {1}", "abs(f({0}) - {1}) < 0.6", "f({0})[0] == {1}",
            "f({0}) == f({1})", "f({0}) or f({1})", "math.isclose(f({0}), {1}, abs_tol=0.6)",
            "1 < f({0}) <= 3", "-1 * f({0}) == {1}", "tuple(f({0})) == ({1},)",
            "f({0}) == [{1}] * 2",
        ]
    ),
    LITERAL,
    LITERAL,
)  # fmt: skip


def run(statement):
    """What Python makes of an assertion about the identity function."""
    import math

    try:
        exec(statement, {"f": lambda x: x, "math": math})
    except Exception as error:
        return type(error).__name__
    return "pass"


@given(CONDITION)
def test_judging_outside_agrees_with_running(condition):
    """For the identity function, the condition evaluated on its answers is what Python says."""
    (check,) = find_checks(ast.parse(f"assert {condition}"), "f")
    answers = [decode(call.arguments[0]) for call in check.calls]
    try:
        judged = "pass" if evaluate(check.condition, answers) else "AssertionError"
    except Exception as error:
        judged = type(error).__name__
    assert judged == run(f"assert {condition}")


@pytest.mark.parametrize(
    ("test", "calls"),
    [
        ("assert f(1) == 1", ["f"]),
        ("assert candidate(1) == 1", ["f"]),
        ("def check(c):\n    assert c(1) == 1\n    assert c(2) == 2\ncheck(f)", ["f", "f"]),
        ("X = 3\n'''doc'''\nimport math\ndef test_a():\n    assert g(1)", ["g"]),
        ("assert Solution().run(n=[1]) == 1", ["Solution().run"]),
        ("assert f(10**9 + 7, -1, 2 * 'ab', float('inf')) == {1: (2,)}", ["f"]),
    ],
)
def test_what_is_taken_apart(test, calls):
    """Assertions, check functions and test functions over literal arguments."""
    checks = find_checks(ast.parse(test), "f")
    assert [call.name for check in checks for call in check.calls] == calls


@pytest.mark.parametrize(
    "test",
    [
        "x = [1]\nassert f(x) == x",
        "assert f(g(1)) == 1",
        "for i in range(3): assert f(i)",
        "assert sorted(f(1), key=len) == []",
        "assert f(*[1])",
        "assert f(1).strip() == ''",
        "assert True",
        "def test_a(fixture):\n    assert f(1)",
        "assert f(10**10**10) == 1",
        "assert f(1) == 'a' * 10**9",
        "print(f(1))",
        "assert isinstance(f(1), int)",
    ],
)
def test_what_is_left_whole(test):
    """Anything that needs an interpreter, or too much of one, is not judged by halves."""
    checks = find_checks(ast.parse(test), "f")
    if checks is not None:  # the condition is too large to compute: that shows on evaluation
        with pytest.raises(Exception, match=r"long|large"):
            evaluate(checks[0].condition, ["a"])


@pytest.mark.parametrize(
    ("got", "expected", "compare", "same"),
    [
        (b"1\n", "1\n", "exact", True),
        (b"1", "1\n", "exact", False),
        (b" 1  2\r\n\n3 ", "1 2\n3\n", "tokens", True),
        (b"1\n2", "1 2", "tokens", False),
        (b"1\n", "1\n2\n", "tokens", False),
        (b"", "\n5", "tokens", False),
        (b"\xff\xfe", "\udcff\udcfe", "tokens", True),
        (b"0.1000000001 a", "0.1 a", "float", True),
        (b"0.11", "0.1", "float", False),
        (b"nan", "nan", "float", True),
        (b"nan", "1", "float", False),
        (b"1e999", "2e999", "float", False),
        (b"1", "1 1", "float", False),
    ],
)
def test_printed_output(got, expected, compare, same):
    """Output is compared as a whole: a prefix, a missing line or another layout is not equal."""
    assert same_output(got, expected, compare) is same
