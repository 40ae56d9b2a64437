"""The interpreter's words, from real programs in the real sandbox, against LeTI's card."""

import pytest

from scorers.feedback import interpreter_feedback, read_traceback

TASK = '"""\nWrite a function to add two numbers.\nassert add(1, 2) == 3\n"""\n'
TESTS = "assert add(1, 2) == 3\nassert add(2, 2) == 4"
REPLIES = {
    "right": "def add(a, b):\n    return a + b\n",
    "wrong": "def add(a, b):\n    return a - b\n",
    "colon": "def add(a, b)\n    return a + b\n",
    "name": "def add(a, b):\n    return a + c\n",
    "exit": "import sys\nsys.exit(0)\n",
    "loop": "while True: pass\n",
}
HEAD = "Traceback (most recent call last):\n"
AT_TEST = '  File "<string>", line 8, in <module>\n    assert add(1, 2) == 3\n'


@pytest.fixture(scope="module")
def said() -> dict[str, str | None]:
    """The feedback on every reply of the card."""
    sources = [TASK + reply + "\n" + TESTS for reply in REPLIES.values()]
    found = interpreter_feedback(sources, limits={"test_cpu_s": 0.4, "cpu_s": 1.0})
    return dict(zip(REPLIES, found, strict=True))


def test_tracebacks_are_the_cards(said) -> None:
    """Line numbers, frames and messages of the card; the official blank lines are left out."""
    assert said["right"] is None
    assert said["wrong"] == HEAD + AT_TEST + "AssertionError\n"
    syntax = "  File \"<string>\", line 5\n    def add(a, b)\nSyntaxError: expected ':'\n"
    assert said["colon"] == HEAD + syntax
    inside = '  File "<string>", line 6, in add\n    return a + c\n'
    assert said["name"] == HEAD + AT_TEST + inside + "NameError: name 'c' is not defined\n"


def test_a_loop_is_a_timeout_and_an_exit_says_nothing(said) -> None:
    """The word is right at once, where the official executor waits and calls both the same."""
    assert said["loop"] == "timeout"
    assert said["exit"] is None  # no traceback: the verdict, from elsewhere, has the reason


def test_feedback_is_the_same_whatever_the_machine() -> None:
    """Foreign frames, carets and addresses are gone; what went before the traceback too."""
    stderr = (
        "warning: x\n" + HEAD + '  File "/usr/lib/python3.11/runner.py", line 3, in run\n'
        '    exec(code)\n    ^^^^\n  File "__main__.py", line 1, in <module>\n'
        "ValueError: <object at 0x7f12ab34cd56>\nmore\n"
    )
    expected = (
        '  File "<string>", line 1, in <module>\n    f()\nValueError: <object at 0x...>\nmore\n'
    )
    assert read_traceback(stderr, "f()") == HEAD + expected
    assert read_traceback("nothing of the kind", "f()") is None
    assert len(read_traceback(HEAD + "E: " + "x" * 9000, "f()")) == 2001
