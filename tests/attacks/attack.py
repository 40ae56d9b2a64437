r"""The corpus as data: one program a file, what is expected of it in comments at its head.

First line: what the program does. Then any of

    # expect: VERDICT ...     verdicts that are right (F: all but correct; C, X: see ``DEFAULTS``)
    # test: CODE              a test, with ``\n`` between its lines; may be repeated
    # statuses: STATUS ...    what each test must say
    # keeps: TEXT             text that the captured output must contain
    # burns: SECONDS          CPU time that the outcome must report at least
    # twice: REASON           run it twice; both runs must print the same

Kinds, by first letter: F forges a verdict (its answers are wrong), C and X break out, L hangs,
crashes or floods. Evidence is not declared: every probe of the stage is read after every program.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

CORPUS = Path(__file__).with_name("corpus")
PREAMBLE = Path(__file__).with_name("preamble.py")
ANY = frozenset({"correct", "wrong", "error", "timeout"})
WRONG = frozenset({"wrong", "error", "timeout", "unverified"})
DEFAULTS = {
    "F": ("f", ("assert f(3) == 7919", "assert f(4) == 104729"), WRONG),
    "C": ("attack", ('assert attack() == "clean"',), ANY),
    "X": ("attack", ('assert attack() == "clean"',), ANY),
    "L": ("f", (), ANY),
}


@dataclass(frozen=True)
class Attack:
    """One program and what a sandbox must say about it."""

    id: str
    title: str
    code: str
    entry_point: str
    tests: tuple[str, ...]
    expect: frozenset[str]
    statuses: tuple[str, ...] = ()
    keeps: str = ""
    burns_s: float = 0.0
    twice: bool = False


def load() -> list[Attack]:
    """The corpus in order of id; the halves of a pair (a, b) follow each other."""
    return [read(path) for path in sorted(CORPUS.glob("*.py"))]


def read(path: Path) -> Attack:
    """One file of the corpus."""
    code = path.read_text()
    entry_point, tests, expect = DEFAULTS[path.stem[0]]
    head = re.findall(r"^# (expect|test|statuses|keeps|burns|twice): (.*)$", code, re.MULTILINE)
    given = dict(head)
    own_tests = tuple(text.replace("\\n", "\n") for key, text in head if key == "test")
    return Attack(
        id=path.stem,
        title=code.split("\n", 1)[0].removeprefix("# "),
        code=code,
        entry_point=entry_point,
        tests=own_tests or tests,
        expect=frozenset(given["expect"].split()) if "expect" in given else expect,
        statuses=tuple(given.get("statuses", "").split()),
        keeps=given.get("keeps", ""),
        burns_s=float(given.get("burns", 0)),
        twice="twice" in given,
    )


def staged_code(attack: Attack, facts: dict[str, object]) -> str:
    """The program with what it needs to know about the stage put before it."""
    if not re.search(r"STAGE|SECRET|loot|parents|syscall|reachable|opened", attack.code):
        return attack.code
    return f"STAGE = {facts!r}\n{PREAMBLE.read_text()}\n\n{attack.code}"
