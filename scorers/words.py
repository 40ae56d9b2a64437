"""Answers that are words: times of day, truth, weekdays, option letters, plain text.

A reference is of the first of these kinds that it fits; an answer is then read as that kind only,
so that "eyes" is no "yes" and "money" no Monday.
"""

import re
from typing import Literal, NamedTuple

from scorers.notation import unwrap

_CLOCK = re.compile(r"(?P<h>\d{1,2})(?::(?P<m>[0-5]\d))?\s?(?:(?P<half>[ap])\.?\s?m\b\.?)?", re.I)
_OPTION = re.compile(r"[A-J]|\(\s?[A-Ja-j]\s?\)")
_CHOSEN = re.compile(r"\(?\s?([a-j])\s?(?:[).:].*)?", re.I | re.S)
_ONLY_LETTERS = re.compile(r"[^\W\d_](?:[^\W\d_]|[\s'.,!?-])*")
_LETTERS = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{3,}")
_FUNCTIONS = frozenset(
    "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log ln exp sqrt lim min max gcd "
    "lcm mod and".split()
)
_TRUTH = {"yes": "true", "true": "true", "no": "false", "false": "false"}
_WEEK = "monday tuesday wednesday thursday friday saturday sunday".split()
_DAYS = {day[:n]: day for day in _WEEK for n in (3, 4, 5, len(day))}


class Word(NamedTuple):
    """A word of a kind, in canonical spelling."""

    kind: Literal["clock", "truth", "day", "option", "text"]
    value: str


def read_word(text: str) -> Word:
    """Read a cleaned reference that is no amount and no formula."""
    plain = unwrap(text)
    if _clock(plain):
        return Word("clock", plain)
    if truth := _TRUTH.get(plain.casefold()):
        return Word("truth", truth)
    if day := _DAYS.get(plain.casefold()):
        return Word("day", day)
    if _OPTION.fullmatch(plain):
        return Word("option", plain.strip("( )").casefold())
    return Word("text", _letters(plain))


def is_text(text: str) -> bool:
    """Tell words from formulas: letters only, or a word of three letters that no function has."""
    if r"\begin" in text:
        return False
    bare = unwrap(text)
    if _ONLY_LETTERS.fullmatch(bare):
        return len(bare) > 1 and bare not in _FUNCTIONS
    return any(word not in _FUNCTIONS for word in _LETTERS.findall(bare))


def is_word(text: str) -> bool:
    """Tell the kinds that do not look like text: "3:30 pm", "3:30", "(B)"."""
    plain = unwrap(text)
    return bool(_clock(plain) or _OPTION.fullmatch(plain))


def same_word(reference: Word, answer: str) -> bool:
    """Read a cleaned answer as the kind of the reference, and compare."""
    plain = unwrap(answer)
    if reference.kind == "clock":
        return _same_clock(reference.value, plain)
    if reference.kind == "truth":  # "Yes, it is"
        return _TRUTH.get(re.split(r"[.,;:!]", plain.casefold())[0]) == reference.value
    if reference.kind == "day":
        return _DAYS.get(plain.casefold().rstrip("!")) == reference.value
    if reference.kind == "option":  # "(B)", "B. 12 apples"
        chosen = _CHOSEN.fullmatch(plain)
        return chosen is not None and chosen[1].casefold() == reference.value
    return _letters(plain) == reference.value


def _letters(text: str) -> str:
    """Drop what does not count in plain text: case, a leading article, quotes, hyphens in words."""
    text = re.sub(r"^(?:the|an?)\s+", "", text.casefold())
    text = re.sub(r"(?<=[^\W\d_])-(?=[^\W\d_])", " ", text)
    return " ".join(re.sub(r"['\"]", "", text).split()).strip(".,;:!?()")


def _clock(text: str) -> tuple[int, int, str] | None:
    """Read "3:30", "3:30 pm", "3 p.m.", "15:30" as hour, minute and "a", "p" or "" if unsaid."""
    match = _CLOCK.fullmatch(text)
    if not match or not (match["m"] or match["half"]) or int(match["h"]) > 24:
        return None
    hour, half = int(match["h"]), (match["half"] or "").lower()
    if hour > 12:
        hour, half = hour - 12, "p"
    return hour % 12, int(match["m"] or 0), half


def _same_clock(reference: str, answer: str) -> bool:
    """Compare times of day; the half of the day counts where both say it."""
    one, other = _clock(reference), _clock(answer)
    if not one or not other or one[:2] != other[:2]:
        return False
    return one[2] == other[2] or not one[2] or not other[2]
