"""How a reply falls apart into single assertions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorers.assertions import extract_asserts
from scorers.code_blocks import extract_code

ONE, TWO = "assert add(1, 2) == 3", "assert add(2, 2) == 4"


@pytest.mark.parametrize(
    "reply",
    [
        f"{ONE}\n{TWO}",
        f"Here are tests:\n```python\n{ONE}\n# a comment\n{TWO}, 'why'\n```\nDone.",
        f"1. {ONE}\n2. `{TWO}`\n",
        f"- `{ONE}`\n- `assert add(2,\n 2) == 4`",
        f"```python\ndef test_one():\n    {ONE}\n\ndef test_two():\n    {TWO}\n```",
        f"def check(candidate):\n    {ONE.replace('add', 'candidate')}\n    {TWO}\n\ncheck(add)\n",
        ">>> add(1, 2)\n3\n>>> add(2, 2)\n4\n>>> print('x')\nx",
        f"```python\ndef add(a, b):\n    return 0\n\n{ONE}\n{TWO}\n```",
        f"if __name__ == '__main__':\n    {ONE}\n    {TWO}",
        "import unittest\nclass TestAdd(unittest.TestCase):\n    def test(self):\n"
        "        self.assertEqual(add(1, 2), 3)\n        self.assertEqual(add(2, 2), 4, 'why')\n",
        f"```python\n{ONE}\n```\nand\n```python\n{TWO}\n```",
        f"```python\n{ONE}\n{TWO}\nassert add(1,",
        f"{ONE}\nassert add(1, == 3\n{TWO}",
        f"<think>assert add(0, 0) == 1</think>\n{ONE}\n{TWO}",
    ],
)
def test_the_same_two_assertions(reply: str) -> None:
    """Lists, fences, test functions, unittest, doctests, broken ends: each test is one column."""
    assert extract_asserts(reply, "add") == [ONE, TWO]


def test_context_comes_along() -> None:
    """A test brings the assignments, imports and helpers that it needs, and no others."""
    reply = (
        "import math\nimport os\nbig = 10\nbig += 1\nitems = []\nitems.append(big)\n"
        "def near(a, b):\n    return math.isclose(a, b)\n"
        "unused = 3\nassert near(total(items), 11)\n"
        "for n in range(3):\n    assert total([n]) == n\n"
    )
    first, second = extract_asserts(reply, "total")
    assert "import os" not in first and "unused" not in first
    space = {"total": sum}
    exec(first, space)
    assert space["items"] == [11]
    assert second == "for n in range(3):\n    assert total([n]) == n"


def test_the_solution_never_comes_along() -> None:
    """A test that restates the solution tests the program all the same."""
    reply = "def add(a, b):\n    return a + b\ndef helper(x):\n    return x\nassert add(1, 2) == 3"
    assert extract_asserts(reply, "add") == [ONE]
    assert extract_asserts(reply) == [ONE]


def test_expected_errors() -> None:
    """`raises` becomes a try statement, which needs no test framework."""
    reply = "import pytest\ndef test():\n    with pytest.raises(ValueError):\n        root(-1)\n"
    (test,) = extract_asserts(reply)

    def refuses(x):
        """Refuse."""
        raise ValueError

    exec(test, {"root": refuses})
    with pytest.raises(AssertionError):
        exec(test, {"root": abs})


def test_class_methods_as_candidates() -> None:
    """`candidate` is written out as the method that is the entry point."""
    reply = "def check(candidate):\n    assert candidate(1) == 1\n"
    assert extract_asserts(reply, "Solution().run") == ["assert Solution().run(1) == 1"]
    assert extract_asserts(reply) == ["assert candidate(1) == 1"]


def test_what_needs_a_fixture_is_left() -> None:
    """Tests that read `self` or return values cannot stand alone."""
    reply = "class TestIt:\n    def test_it(self):\n        assert self.x == f(1)\n"
    assert extract_asserts(reply) == []


def test_selfcodealign_card_examples() -> None:
    """The format filter's card cases: a word is no assertion; an uncalled test function is."""
    assert extract_asserts("We assert it.\n```python\nprint(add(1,2))\n```") == []
    assert extract_asserts("```python\nassert add(1,2)==3\n```") == [ONE]
    assert extract_asserts("```python\ndef test_add():\n    assert add(1,2)==3\n```") == [ONE]
    untagged = "```\ndef add(a, b):\n    return a + b\n```"
    assert extract_code(untagged, "add") == "def add(a, b):\n    return a + b"


@given(st.text(alphabet="assert \n>.(x)==1`-self\x00\ud800:", max_size=80))
def test_any_text_is_read(text: str) -> None:
    """No reply raises."""
    assert isinstance(extract_asserts(text, "f"), list)
