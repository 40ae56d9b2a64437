"""What makes two sources the same program."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorers.program_text import bound_names, distinct, free_names, normalise_source, parse

ADD = 'def add(a, b):\n    """Adds."""\n    # a comment\n    return (a + b)\n'


def test_layout_comments_and_docstrings_are_nothing() -> None:
    """Sources that differ in layout, comments, docstrings and quotes are one; names count."""
    same = ["def add(a,b): return a+b", ADD, '"""Module."""\n' + ADD]
    other = "def add(x, y): return x + y"
    found = distinct([*same, other, "x = 'a'", 'x = "a"'])
    assert found.texts == [same[0], other, "x = 'a'"]
    assert (found.copies.tolist(), found.places) == ([3, 1, 2], [0, 0, 0, 1, 2, 2])
    assert len(set(found.ids)) == 3


def test_selfcodealign_card_representation() -> None:
    """The card's block: a function without docstring and comment is two lines."""
    block = 'def f(a):\n    """Doc."""\n    # note\n    return a\n'
    assert normalise_source(block) == "def f(a):\n    return a"
    assert normalise_source('def f():\n    """Only a docstring."""') == "def f():\n    pass"


def test_messages_of_assertions_are_nothing() -> None:
    """Two assertions that differ in their message are one test."""
    assert len(distinct(["assert f(1) == 2", "assert f(1)==2, 'why'"]).texts) == 1


@pytest.mark.parametrize("source", ["def f(", "a\0b", "x = '\ud800'", "x = " + "9" * 5000, ""])
def test_what_does_not_parse_has_an_id(source: str) -> None:
    """A source that the parser refuses is the same program as itself."""
    assert distinct([source, source]).copies.tolist() == [2]


def test_odd_literals_are_no_warnings() -> None:
    """Warnings of the parser about a model's source are not ours."""
    assert parse("x = '\\d' + 1 if 1is 1 else 0") is not None


@given(st.lists(st.sampled_from(["a = 1", "a=1", "b = 1", "c", "d("])))
def test_distinct_leads_back(sources: list[str]) -> None:
    """Every source has a place, copies add up, and distinct texts stay as they are."""
    found = distinct(sources)
    assert found.copies.sum() == len(sources) == len(found.places)
    assert distinct(found.texts).texts == found.texts


def test_names() -> None:
    """What a block binds at its top, and what it takes from elsewhere."""
    tree = parse("import os.path as p\nfor i in q: x, y = f(i)\ndef g(a): return a + h + len(p.z)")
    assert tree is not None
    assert bound_names(tree) == {"p", "i", "x", "y", "g"}
    assert free_names(tree) == {"q", "f", "h"}
