r"""Formulas: what needs a computer algebra system. Slow (1 ms to for ever), hence run in workers.

LaTeX goes through math-verify and latex2sympy with their time limits off: those use `signal.alarm`,
which only works in the main thread. Around them stand the guards that they lack: no parse of half
an answer, brackets that must be of the same kind, an equation is not an expression.
"""

import logging
import re
from fractions import Fraction
from functools import lru_cache
from typing import Any

from scorers.quantities import Number, same_number

# latex2sympy reads "5 5" as 10, "12_7" as 12 and "5\ldots" as 5: better not understood than wrong.
_MISREAD = re.compile(r"\d\s+\d|\d\s?_|\\[lcd]?dots|\.\.\.")
_SOLVED = re.compile(r"\\?[a-zA-Z](?:_\{?\w\}?)?\s?\\in(?![a-zA-Z])")
_OPENING, _CLOSING = ("(", "[", r"\{", r"\langle"), (")", "]", r"\}", r"\rangle")
_DIGITS = 40
_HUGE = 10**15


@lru_cache(maxsize=1024)
def parse_formula(text: str) -> Any | None:
    """Parse cleaned LaTeX into a SymPy object; None if any part of it is not understood."""
    from math_verify import LatexExtractionConfig, parse

    if not text or "$" in text or _MISREAD.search(text):
        return None
    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that time limits are off
    text = _SOLVED.sub("", text.replace("\n", " "), count=1)
    parsed = parse(
        f"${text.replace('%', chr(92) + '%')}$",
        [LatexExtractionConfig(boxed_match_priority=-1)],
        fallback_mode="no_fallback",
        extraction_mode="first_match",
        parsing_timeout=None,
    )
    return parsed[0] if parsed and not _undefined(parsed[0]) else None


def evaluate(expression: Any) -> Number | None:
    """Return the value of a real constant to 40 digits; None if it has none or is out of range."""
    import sympy

    if not isinstance(expression, sympy.Expr) or expression.free_symbols:
        return None
    if isinstance(expression, sympy.Rational):
        return Number(Fraction(int(expression.p), int(expression.q)))
    value = sympy.N(expression, _DIGITS)
    if not isinstance(value, sympy.Float) or not -_HUGE < value < _HUGE:
        return None
    rounded = Fraction(0) if abs(value) < Fraction(1, 10**30) else Fraction(str(value))
    return Number(rounded, _DIGITS if expression.atoms(sympy.Float) else None)


def same_formula(reference: str, answer: str) -> bool | None:
    """Compare cleaned formulas; None if the answer does not parse. The reference must parse."""
    expected, found = parse_formula(reference), parse_formula(answer)
    if found is None:
        return None
    if not _comparable(expected, found) or not _same_brackets(reference, answer):
        return False
    expected, found = _strip_names(expected, found)
    one, other = evaluate(expected), evaluate(found)
    if one and other:
        return close(one._replace(places=None), other)
    return _equal(expected, found)


def same_value(number: Number, answer: str) -> bool | None:
    """Compare a number with a cleaned formula; None if that does not parse."""
    from sympy import Expr, Rational

    found = parse_formula(answer)
    if found is None:
        return None
    found = _strip_names(Rational(0), found)[1]
    if value := evaluate(found):
        return close(number, value)
    if not isinstance(found, Expr) or found.free_symbols or abs(number.value) < _HUGE // 10:
        return False
    exact = Rational(number.value.numerator, number.value.denominator)
    return _equal(exact, found)


def _equal(expected: Any, found: Any) -> bool:
    from math_verify import verify

    try:
        options = {"allow_set_relation_comp": True, "raise_on_error": True}
        return bool(verify(expected, found, timeout_seconds=None, **options))
    except (MemoryError, RecursionError):
        raise  # no answer was reached, which is not the answer "no"
    except Exception:  # SymPy has many: it cannot even subtract the two, so they differ in kind
        return False


def close(reference: Number, answer: Number) -> bool:
    """Compare numbers of which one was evaluated: `same_number`, but for the last of 40 digits."""
    gap = abs(reference.value - answer.value)
    return gap <= Fraction(1, 10**20) or same_number(reference, answer)


def _comparable(expected: Any, found: Any) -> bool:
    """An equation or inequality needs another, or a set; `x = 5` only names its value."""
    from sympy import Set
    from sympy.core.relational import Relational
    from sympy.logic.boolalg import Boolean

    relation = isinstance(expected, Relational | Boolean) and not _names_constant(expected)
    return not relation or isinstance(found, Relational | Boolean | Set)


def _strip_names(expected: Any, found: Any) -> tuple[Any, Any]:
    """Take `x =` away where only one side writes it, or both write the same."""
    from sympy.core.relational import Eq

    if isinstance(expected, Eq) and isinstance(found, Eq):
        same = expected.lhs == found.lhs
        return (expected.rhs, found.rhs) if same else (expected, found)
    if _names_constant(expected):
        return expected.rhs, found
    return (expected, found.rhs) if isinstance(found, Eq) and _holds(found) else (expected, found)


def _holds(equation: Any) -> bool:
    """Tell a false equation of constants (1 = 0) from `x = 5` and `2 + 3 = 5`."""
    left, right = evaluate(equation.lhs), evaluate(equation.rhs)
    return left is None or right is None or close(right, left)


def _names_constant(expression: Any) -> bool:
    from sympy import Symbol
    from sympy.core.relational import Eq

    named = isinstance(expression, Eq) and isinstance(expression.lhs, Symbol)
    return named and not getattr(expression.rhs, "free_symbols", ())


def _same_brackets(reference: str, answer: str) -> bool:
    r"""Hold (0, 1), [0, 1] and \{0, 1\} apart; a list without brackets may be a tuple or a set."""
    ours, theirs = _brackets(reference), _brackets(answer)
    return ours == theirs if ours and theirs else not {"[", "]"} & set(ours + theirs)


def _brackets(text: str) -> str:
    """Return the pair of brackets around a list: "(]" for (0, 1], "" where there is none."""
    body = _SOLVED.sub("", text.rpartition("=")[2].strip(), count=1).strip()
    first = next((sign for sign in _OPENING if body.startswith(sign)), "")
    last = next((sign for sign in _CLOSING if body.endswith(sign)), "")
    single = len(re.findall(r"[(\[]|\\\{|\\langle", body)) == 1
    return first + last if first and last and single and "," in body else ""


def _undefined(expression: Any) -> bool:
    from sympy import nan, zoo

    return expression in (nan, zoo)
