r"""Numbers and amounts: how they are written, and when two of them are the same.

A number keeps its exact value and how many decimals were written, since that says what its author
claims. `same_number` is the whole tolerance rule.
"""

import re
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from scorers.notation import unwrap
from scorers.units import PERCENT, Unit, read_unit


class Number(NamedTuple):
    """An exact value; `places` is how many decimals were written, None for an exact form."""

    value: Fraction
    places: int | None = None


class Quantity(NamedTuple):
    """A number, what it counts (None for a bare number) and the name given to it ("x" in x = 5)."""

    number: Number
    unit: Unit | None = None
    name: str = ""


_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d{1,3}(?:\ \d{3})+(?!\d)|\d+)"
_DECIMAL = rf"(?:{_DIGITS}(?:\.\d*)?|\.\d+)"
_POWER_OF_TEN = (
    r"(?:e(?P<e>[+-]?\d{1,3})(?!\d)"
    r"|\s?(?:\\times|\\cdot|\*|x)\s?10\s?(?:\^|\*\*)\s?\{?(?P<p>[+-]?\d{1,3})\}?(?!\d))"
)
_NUMBER = re.compile(
    rf"""(?P<sign>[+-]?)\s?(?P<money>(?:us)?\$|[€£¥₹])?\s?(?P<inner>[+-]?)
    (?: (?:(?P<w1>\d+)\s?)?\\frac\s?(?:\{{\s?(?P<n1>[+-]?\d+)\s?\}}|\s(?P<n2>\d)|(?P<n3>\d))
        \s?(?:\{{\s?(?P<d1>[+-]?\d+)\s?\}}|(?P<d2>\d))
      | (?:(?P<w2>\d+)\s)?(?P<n4>{_DIGITS})\s?/\s?(?P<d4>[+-]?{_DIGITS})(?![\d.,]*\d)
      | (?P<plain>{_DECIMAL}){_POWER_OF_TEN}?
    )""",
    re.VERBOSE,
)
_NAME = re.compile(r"(\\?[a-z]{1,12}(?:_\{?\w{1,3}\}?)?\s?(?:\(\w\))?)\s?=\s?(?=[^=]+$)", re.I)
_BASE = re.compile(r"_\{?(\d{1,2})\}?")
_SCALES = {"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6} | {
    "billion": 10**9,
    "trillion": 10**12,
}
_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_WORDS = {word: n for n, word in enumerate(_ONES)} | {
    word: 10 * n for n, word in enumerate(_TENS, start=2)
}
_SCALE = re.compile(rf"\s?({'|'.join(_SCALES)})s?\b")
_LONGEST = 1000  # characters of a literal number with its unit


def same_number(reference: Number, answer: Number) -> bool:
    r"""Compare at the precision that the reference claims.

    * Equal values are equal.
    * A decimal reference is a rounded value: an answer that rounds to it is right (1/3 for 0.333,
      22/7 for 3.14) if it is also within 1/500 of it, lest 0.3 accept 0.34.
    * An exact reference (integer, fraction, closed form) accepts rounding noise in a decimal answer
      only: within 1e-5 of the reference, and half a hundredth at most (22.0002 for 22; never
      22.4, 23 or 1000000.1 for 1000000). Two exact forms must be equal.
    """
    gap = abs(reference.value - answer.value)
    if gap == 0:
        return True
    if reference.places is not None:
        half_a_place = Fraction(1, 2) / Fraction(10) ** reference.places
        return gap <= half_a_place and gap <= abs(answer.value) / 500
    noise = min(abs(reference.value) / 10**5, Fraction(1, 200))
    return answer.places is not None and gap <= noise


def same_quantity(reference: Quantity, answer: Quantity) -> bool:
    """Compare amounts in the unit of the reference; a unit or name that one leaves out is implied.

    A percent sign that only one of them writes is either the unit that the other left out or a
    division by 100, so both are tried: 50% is 50 (asked for percent) and 0.5. Without a percent
    sign no factor of 100 is ever forgiven.
    """
    one, other = reference.unit, answer.unit
    number = answer.number
    if reference.name and answer.name and reference.name != answer.name:
        return False
    if one == PERCENT and other is None:
        return any(same_number(reference.number, _scale(number, f)) for f in (1, 100))
    if other == PERCENT and one is None:
        hundredth = Fraction(1, 100)
        return any(same_number(reference.number, _scale(number, f)) for f in (1, hundredth))
    if one and other:
        if one.dimension != other.dimension:
            return False
        number = _scale(number, other.factor / one.factor)
    return same_number(reference.number, number)


@lru_cache(maxsize=8192)
def read_quantity(text: str) -> Quantity | None:
    """Read cleaned `text` as one amount; None if it is anything else."""
    if text.isdigit() and text.isascii() and len(text) <= _LONGEST:
        return Quantity(Number(Fraction(int(text))))
    if len(text) > _LONGEST:
        return None
    text = unwrap(text)
    name = _NAME.match(text)
    text = (text[name.end() :] if name else text).lower()
    found = _read_sum(text) or _read_one(text) or _read_words(text)
    return found._replace(name=name[1].replace(" ", "")) if found and name else found


def _read_one(text: str) -> Quantity | None:
    match = _NUMBER.match(text)
    number = _value(match) if match else None
    if not match or number is None:
        return None
    rest = text[match.end() :]
    if scale := _SCALE.match(rest):
        number, rest = _scale_words(number, scale[1]), rest[scale.end() :]
    if match["money"]:
        return _money(number, match["money"], rest)
    if base := _BASE.fullmatch(rest):
        return Quantity(number, Unit("base " + base[1], Fraction(1)))
    return _with_unit(number, rest)


def _with_unit(number: Number, rest: str) -> Quantity | None:
    """Attach the unit; `5x` and `5m` are products: one letter counts only after a space."""
    if not rest.strip():
        return Quantity(number)
    glued = rest[0].isalpha() and (len(rest) == 1 or not rest[1].isalpha())
    unit = None if glued else read_unit(rest.strip())
    if unit is None or (rest[0].isalpha() and unit.dimension.startswith("#")):
        return None
    return Quantity(number, unit)


def _money(number: Number, sign: str, rest: str) -> Quantity | None:
    rest = rest.strip()
    if re.match(r"/|per\b", rest):
        unit = read_unit(sign + rest)
        return Quantity(number, unit) if unit else None
    unit = read_unit(sign)
    further = read_unit(rest) if rest else unit
    known = further is not None and (further == unit or further.dimension.startswith("#"))
    return Quantity(number, unit) if known else None


def _read_sum(text: str) -> Quantity | None:
    """Read "1 hour 30 minutes" or "5 feet and 6 inches": falling units of one dimension."""
    parts = re.findall(r"(\d+(?:\.\d+)?)\s?([a-z]+)(?:\s?,)?(?:\s+and)?\s*", text)
    if len(parts) < 2 or "".join("".join(p) for p in parts) != re.sub(r"[ ,]|\band\b", "", text):
        return None
    amounts = [_read_one(f"{number} {unit}") for number, unit in parts]
    units = [amount.unit for amount in amounts if amount and amount.unit]
    if len(units) < len(parts) or len({unit.dimension for unit in units}) > 1:
        return None
    if any(a.factor <= b.factor for a, b in pairwise(units)):
        return None
    total = sum(a.number.value * a.unit.factor for a in amounts if a and a.unit)
    return Quantity(Number(Fraction(total) / units[-1].factor), units[-1])


def _read_words(text: str) -> Quantity | None:
    """Read "zero", "twenty-one", "one hundred and five", "two hours"."""
    words = re.sub(r"(?<=y)-(?=[a-z])", " ", text).split()
    total = group = used = 0
    for word in words:
        if word in _WORDS:
            group += _WORDS[word]
        elif word in _SCALES and used:
            group *= _SCALES[word]
            total, group = (total + group, 0) if _SCALES[word] > 100 else (total, group)
        elif not (word == "and" and used and words[used - 1] in _SCALES):
            break
        used += 1
    known = used > 0 and words[used - 1] != "and"
    number = Number(Fraction(total + group))
    return _with_unit(number, "".join(" " + word for word in words[used:])) if known else None


def _value(match: re.Match[str]) -> Number | None:
    sign = -1 if (match["sign"] == "-") != (match["inner"] == "-") else 1
    if plain := match["plain"]:
        written = re.sub(r"[ ,]", "", plain)
        exponent = int(match["e"] or match["p"] or 0)
        places = len(written.partition(".")[2]) - exponent if "." in written else None
        value = Fraction("0" + written.rstrip(".")) * Fraction(10) ** exponent
        return Number(sign * value, places if places != 0 or exponent else None)
    parts = (
        (match["n1"] or match["n2"] or match["n3"] or match["n4"]),
        match["d1"] or match["d2"] or match["d4"],
    )
    top, bottom = (int(re.sub(r"[ ,]", "", part)) for part in parts)
    whole = int(match["w1"] or match["w2"] or 0)
    return Number(sign * (whole + Fraction(top, bottom))) if bottom else None


def _scale_words(number: Number, word: str) -> Number:
    value = number.value * _SCALES[word]
    if number.places is None or word == "dozen":
        return Number(value)
    return Number(value, number.places - len(str(_SCALES[word])) + 1)


def _scale(number: Number, factor: int | Fraction) -> Number:
    return number._replace(value=number.value * factor)
