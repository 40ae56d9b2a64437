"""Where the final answer of a response is found, and where it is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorers.extraction import extract

ONE_LINE_MORE = "First we add the two, then we take one away.\n"


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        (r"so \boxed{5}.", "5"),
        (r"\boxed{1}, and then \boxed{2}", "2"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{x = \boxed{5}}", "5"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\fbox{5} and \boxed 7$", "7"),
        (r"\boxed{5}" + "\n#### 6", "5"),
        (ONE_LINE_MORE + "#### 1,234", "1,234"),
        (ONE_LINE_MORE + "#### 12\nThat is all.", "12"),
        (ONE_LINE_MORE + "The answer is 5.", "5"),
        (ONE_LINE_MORE + "The final answer is: $x = 3.5$. I hope so.", "$x = 3.5$"),
        (ONE_LINE_MORE + "**Answer:** 5 apples because two are gone", "5 apples"),
        (ONE_LINE_MORE + "The answer to the question is 7\nBye.", "7"),
        (ONE_LINE_MORE + "The answer is 5. No: the answer is 6.", "6"),
        (ONE_LINE_MORE + "So 42 is the answer.", "42"),
        ("5", "5"),
        ("  another one\n", "another one"),
        (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}"),
    ],
)
def test_the_answer_is_found(response: str, answer: str) -> None:
    """The most explicit mark wins, and of several of its kind the last."""
    assert extract(response) == answer


@pytest.mark.parametrize(
    "response",
    [
        "",
        r"so \boxed{5",  # cut off
        r"\boxed{3} and so \boxed{\frac{1}{2}",  # the last one counts, and it was cut off
        r"\boxed{}",
        "#### ",
        ONE_LINE_MORE + "There are 5 of them.",
        "I really do not know what to say about 5",
    ],
)
def test_no_answer_is_no_answer(response: str) -> None:
    """A box that never closes and numbers in running text are not taken for answers."""
    assert extract(response) is None


def test_lenient_takes_the_last_formula_or_number() -> None:
    """Only on request is an answer guessed from running text."""
    assert extract(ONE_LINE_MORE + "We get 3 and then 1,234.5 in all.", lenient=True) == "1,234.5"
    assert extract(ONE_LINE_MORE + "We get $x+1$ of the 3 things.", lenient=True) == "x+1"
    assert extract(r"so \boxed{5", lenient=True) is None


@given(st.text(alphabet=st.characters(exclude_characters="{}\\", codec="utf-8"), min_size=1))
def test_a_box_gives_back_what_was_put_in(content: str) -> None:
    """Whatever has no braces comes out of a box as it went in, but for the spaces around it."""
    assert extract(f"thus \\boxed{{{content}}} holds") == (content.strip() or None)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "piece",
    [
        "\\boxed{",
        "{",
        "answer ",
        "answer is ",
        "the answer" + " " * 99,
        " ",
        "$",
        "is the answer",
        "9",
    ],
)
def test_work_is_bounded_whatever_repeats(piece: str) -> None:
    """Ten megabytes of the same piece cost no more than the tail does, in linear time."""
    extract(piece * (10_000_000 // len(piece)), lenient=True)
