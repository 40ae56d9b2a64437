r"""Units: what an amount is counted in, and what turns one unit into another.

A known unit is a dimension and an exact factor to its base; an unknown one ("apples") is a
dimension of its own, named by its head noun in the singular.
"""

import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

_Known = dict[str, tuple[str, str]]


class Unit(NamedTuple):
    """A dimension ("time", "length^2", "usd", "#apple") and the factor to its base unit."""

    dimension: str
    factor: Fraction


PERCENT = Unit("percent", Fraction(1))

_KNOWN: _Known = {
    "second": ("time", "1"),
    "minute": ("time", "60"),
    "hour": ("time", "3600"),
    "day": ("time", "86400"),
    "week": ("time", "604800"),
    "month": ("months", "1"),  # not a fixed number of days
    "year": ("months", "12"),
    "mm": ("length", "0.001"),
    "cm": ("length", "0.01"),
    "m": ("length", "1"),
    "km": ("length", "1000"),
    "inch": ("length", "0.0254"),
    "foot": ("length", "0.3048"),
    "yard": ("length", "0.9144"),
    "mile": ("length", "1609.344"),
    "mg": ("mass", "0.001"),
    "g": ("mass", "1"),
    "kg": ("mass", "1000"),
    "ounce": ("mass", "28.349523125"),
    "pound": ("mass", "453.59237"),
    "ml": ("volume", "0.001"),
    "l": ("volume", "1"),
    "cup": ("volume", "0.2365882365"),
    "pint": ("volume", "0.473176473"),
    "quart": ("volume", "0.946352946"),
    "gallon": ("volume", "3.785411784"),
    "cent": ("usd", "0.01"),
    "dollar": ("usd", "1"),
    "euro": ("eur", "1"),
    "gbp": ("gbp", "1"),
    "yen": ("jpy", "1"),
    "rupee": ("inr", "1"),
    "degree": ("angle", "1"),
    "percent": ("percent", "1"),
}
_ALIASES = {
    **dict.fromkeys(("sec", "secs", "s"), "second"),
    **dict.fromkeys(("min", "mins"), "minute"),
    **dict.fromkeys(("hr", "hrs", "h"), "hour"),
    **dict.fromkeys(("yr", "yrs"), "year"),
    **dict.fromkeys(("millimeter", "millimetre"), "mm"),
    **dict.fromkeys(("centimeter", "centimetre"), "cm"),
    **dict.fromkeys(("meter", "metre"), "m"),
    **dict.fromkeys(("kilometer", "kilometre"), "km"),
    **dict.fromkeys(("in", "inches"), "inch"),
    **dict.fromkeys(("ft", "feet"), "foot"),
    **dict.fromkeys(("yd", "yds"), "yard"),
    "mi": "mile",
    "milligram": "mg",
    "gram": "g",
    **dict.fromkeys(("kilogram", "kilo"), "kg"),
    "oz": "ounce",
    **dict.fromkeys(("lb", "lbs"), "pound"),
    **dict.fromkeys(("milliliter", "millilitre"), "ml"),
    **dict.fromkeys(("liter", "litre"), "l"),
    **dict.fromkeys(("¢", "penny", "pennies"), "cent"),
    **dict.fromkeys(("$", "usd", "us$", "us dollar", "buck"), "dollar"),
    **dict.fromkeys(("€", "eur"), "euro"),
    **dict.fromkeys(("£", "pound sterling"), "gbp"),
    **dict.fromkeys(("¥", "jpy"), "yen"),
    **dict.fromkeys(("₹", "inr"), "rupee"),
    **dict.fromkeys((r"^\circ", "deg"), "degree"),
    **dict.fromkeys(("%", "pct", "per cent", "percentage"), "percent"),
}
_COMPOUNDS = {"mph": "mile/hour", "kph": "km/hour", "kmph": "km/hour"}
# What may follow a noun without changing what is counted: "apples left", "cups of flour".
_TAIL = re.compile(
    r"\s+(?:of|in|left|total|altogether|remaining|each|away|long|tall|old|high|wide|deep|more)\b.*"
)
_NOT_A_UNIT = re.compile(
    r"\d|[=+*_<>()|&\\]|\b(?:and|or|not|no|to|than|less|fewer|plus|minus|times|between|at|least|most"
    r"|over|if|is|are|but|half|halves|thirds?|quarters?|fourths?|squared root|dozens?|modulo|mod)\b"
)
_POWER = re.compile(
    r"(?P<word>square|sq\.?|cubic|cu\.?)\s+(?P<a>.+)|(?P<b>.+?)(?:\^\{?(?P<n>[23])\}?|\s+(?P<after>squared|cubed))"
)
_MAX_WORDS = 6
_LONGEST = 100  # characters


@lru_cache(maxsize=4096)
def read_unit(text: str) -> Unit | None:
    r"""Read lower-case `text` ("apples", "km/h", "square feet", "%"); None if it is no unit."""
    if len(text) > _LONGEST:
        return None
    text = re.sub(r"\bper\b(?! cent)", "/", text).strip(" .-")
    text = re.sub(r"\b(?:the|an?)\s+", "", text)
    parts = [part.strip() for part in _COMPOUNDS.get(text, text).split("/")]
    units = [_read_part(part) for part in parts]
    if not text or len(text.split()) > _MAX_WORDS or None in units:
        return None
    first, *others = [unit for unit in units if unit]
    for unit in others:
        first = Unit(f"{first.dimension}/{unit.dimension}", first.factor / unit.factor)
    return first


def _read_part(part: str) -> Unit | None:
    if known := _known(part):
        return known
    part = _TAIL.sub("", " " + part).strip()
    if known := _known(part):
        return known
    if power := _POWER.fullmatch(part):
        base = _known((power["a"] or power["b"]).strip())
        n = 3 if (power["word"] or "").startswith("cu") or "cubed" == power["after"] else 2
        n = int(power["n"] or n)
        return Unit(f"{base.dimension}^{n}", base.factor**n) if base else None
    if _NOT_A_UNIT.search(part) or not re.fullmatch(r"[^\W\d][\w' -]*", part):
        return None
    head = part.split()[-1]
    return Unit("#" + _singular(head), Fraction(1)) if len(head) > 1 else None


def _known(name: str) -> Unit | None:
    for form in (name, _singular(name)):
        if entry := _KNOWN.get(_ALIASES.get(form, form)):
            return Unit(entry[0], Fraction(entry[1]))
    return None


def _singular(noun: str) -> str:
    for ending, repaired in (
        ("ies", "y"),
        ("shes", "sh"),
        ("ches", "ch"),
        ("xes", "x"),
        ("ss", "ss"),
    ):
        if noun.endswith(ending) and len(noun) > len(ending) + 1:
            return noun.removesuffix(ending) + repaired
    return noun.removesuffix("s") if len(noun) > 2 else noun
