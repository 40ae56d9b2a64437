"""The languages besides Python: how a program becomes something that a jail can execute.

Tests are stdin and expected output, or the assertions that Python programs have too, as long as
they are calls with literal arguments: ``assert f([1, 2]) == 3``. The program is joined with a
driver (driver.cpp, driver.js) that takes calls on a channel and answers with tagged JSON, each
answer under the random number of its question. What is expected never enters; answers are compared
outside, so these verdicts are "isolated". A tuple is an array here, and equal to one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sandbox.built import Built
from sandbox.languages import cpp, javascript
from sandbox.outcomes import TestResult
from sandbox.runs import Tally


@dataclass(frozen=True)
class Language:
    """One language.

    version: what runs or compiles it, for cache keys; raises LookupError with one sentence where
    that is missing. build: makes the program of a tally executable; `names` are the functions that
    its tests call, none for a program that only reads and prints. A TestResult says why not.
    """

    version: Callable[[], str]
    build: Callable[[Tally, frozenset[str]], Built | TestResult]


_CPP = Language(cpp.version, cpp.build)
_JAVASCRIPT = Language(javascript.version, javascript.build)
LANGUAGES = {
    "cpp": _CPP,
    "c++": _CPP,
    "javascript": _JAVASCRIPT,
    "js": _JAVASCRIPT,
    "nodejs": _JAVASCRIPT,
}
