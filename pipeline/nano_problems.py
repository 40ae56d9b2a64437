"""Word problems with worked steps: what draws a story's numbers, works it out and tells it.

A story is data: ranges to draw from, steps to work through, phrasings. A step reads "a + b" over
drawn numbers, literals and results s1, s2, ... of earlier steps. Operators: + - * / (exact), "x" a
product spelled out by partial products, "~" a fraction in lowest terms. Upper-case numbers are
money: drawn in cents, kept as Decimal. Draws whose steps leave the positive numbers are redrawn.
"""

import math
import random
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

Number = int | Decimal | Fraction
Ranges = Mapping[str, tuple[int, int, int]]  # name -> first, last, step


class Problem(NamedTuple):
    """A word problem: its text, the worked steps one a line, the answer, and the numbers drawn."""

    text: str
    steps: tuple[str, ...]
    answer: str
    numbers: tuple[int, ...]


class Story(NamedTuple):
    """What a kind of problem is made of; `held_out` kinds appear in the test split only."""

    kind: str
    level: int
    ranges: Ranges
    steps: str  # separated by "; "
    texts: tuple[str, ...]
    unit: str = ""
    held_out: bool = False


def tell(story: Story, rng: random.Random) -> Problem:
    """Draw one problem of a story: numbers until every step is positive and exact, then words."""
    while True:
        drawn = {name: rng.randrange(a, b + 1, step) for name, (a, b, step) in story.ranges.items()}
        values: dict[str, Number] = {
            name: Decimal(n) / 100 if name.isupper() else n for name, n in drawn.items()
        }
        lines = _work(story.steps, values, rng)
        if lines is not None:
            break
    words = dict(zip(("n", "m"), rng.sample(_NAMES, 2), strict=True))
    words |= {"t": rng.choice(_THINGS), "box": rng.choice(_BOXES), "item": rng.choice(_GOODS)}
    shown = {name: _show(value) for name, value in values.items()}
    text = rng.choice(story.texts).format(**words, **shown)
    answer = shown[max(name for name in shown if name.startswith("s"))] + story.unit
    return Problem(text, tuple(lines), answer, tuple(drawn.values()))


def _work(steps: str, values: dict[str, Number], rng: random.Random) -> list[str] | None:
    lines: list[str] = []
    for index, step in enumerate(steps.split("; "), start=1):
        left, operator, right = step.split()
        a, b = (values[n] if n in values else int(n) for n in (left, right))
        result = _apply(a, operator, b)
        if result is None:
            return None
        lines += _spell(a, operator, b, result, rng)
        values[f"s{index}"] = result
    return lines


def _apply(a: Number, operator: str, b: Number) -> Number | None:
    """Compute one step; None if the result is not positive and exact, or the fraction is dull."""
    result: Number
    if operator == "~":
        result = Fraction(int(a), int(b))
        return result if a < b and result.denominator < b else None
    if operator == "/":
        exact = Fraction(a) / Fraction(b)
        if isinstance(a, Decimal):
            cents = exact * 100
            return Decimal(int(cents)) / 100 if cents.denominator == 1 else None
        return int(exact) if exact.denominator == 1 else None
    if operator == "+":
        result = a + b  # type: ignore[operator]
    elif operator == "-":
        result = a - b  # type: ignore[operator]
    else:
        result = a * b  # type: ignore[operator]
    return result if result > 0 else None


def _spell(a: Number, operator: str, b: Number, result: Number, rng: random.Random) -> list[str]:
    """Write one step as lines; sums and products commute now and then."""
    if operator == "~":
        top, bottom = int(a), int(b)
        common = math.gcd(top, bottom)
        return [f"{n} / {common} = {n // common}" for n in (top, bottom)]
    if operator == "x":
        tens, ones = divmod(int(b), 10)
        if tens and ones:
            parts = (int(a) * tens * 10, int(a) * ones)
            return [
                f"{a} * {tens * 10} = {parts[0]}",
                f"{a} * {ones} = {parts[1]}",
                f"{parts[0]} + {parts[1]} = {result}",
            ]
        operator = "*"
    if operator in "+*" and rng.random() < 0.2:
        a, b = b, a
    return [f"{_show(a)} {operator} {_show(b)} = {_show(result)}"]


def _show(value: Number) -> str:
    return f"{value:.2f}" if isinstance(value, Decimal) else str(value)


_NAMES = (
    "Ada Ben Cleo Dan Eva Finn Gia Hugo Ines Jon Kira Liam Mona Nils Olga Paul Rosa Sam Tara Udo "
    "Vera Will Yara Zoe"
).split()
_THINGS = (
    "apples pears coins books cards shells stamps beads nuts pens keys cups eggs plums marbles "
    "buttons stones tickets flowers cookies stickers lemons ribbons bricks"
).split()
_BOXES = "boxes bags jars crates baskets trays shelves rows packs bins".split()
_GOODS = "notebook sandwich toy lamp ticket scarf ball mug plant puzzle kite drum".split()
