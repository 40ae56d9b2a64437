"""What SelfCodeAlign, DSTC and PLUM ask of a model, with the nano world's oracles."""

import random
from collections.abc import Callable
from typing import Any

from flows.code.selfcodealign import CONCEPTS, INSTRUCT, JUDGE, RESPOND, SEPARATOR
from flows.preference.dstc import CODE, TESTS
from flows.preference.plum import ASK, WRITE
from pipeline.nano_code import draw_task, judged_snippet, named_concepts, task_of_concepts
from pipeline.nano_model import Example
from pipeline.prompts import render

Row = dict[str, Any]
Draw = Callable[[random.Random], Example]

_CATEGORIES = ("function", "function", "class", "program")
_DIFFICULTIES = ("easy", "medium", "hard")


def name_concepts(rng: random.Random) -> Example:
    """Name the concepts of a snippet."""
    row, reply = named_concepts(rng)
    return _asked(CONCEPTS, row), reply


def judge_snippet(rng: random.Random) -> Example:
    """Say whether a docstring describes its function."""
    row, reply = judged_snippet(rng)
    return _asked(JUDGE, row), reply


def write_task(rng: random.Random) -> Example:
    """Write a task from concepts; the world has functions only, whatever kind is asked for."""
    row, reply = task_of_concepts(rng)
    drawn = {"category": rng.choice(_CATEGORIES), "difficulty": rng.choice(_DIFFICULTIES)}
    return _asked(INSTRUCT, row | drawn | {"language": "Python"}), reply


def respond(rng: random.Random) -> Example:
    """Solve a task and test the answer in one reply (SelfCodeAlign)."""
    row = draw_task(rng)
    return _asked(RESPOND, row), f"{_program(row)}\n\n{SEPARATOR}\n\n{_tests(row, 3)}"


def solve_and_test(rng: random.Random) -> Example:
    """Solve a task and write five tests for anyone's answer (PLUM)."""
    row = draw_task(rng)
    return _asked(WRITE, row), f"{_program(row)}\n\n{_tests(row, 5)}"


def obey(rng: random.Random) -> Example:
    """Answer a bare instruction with a program (PLUM's policy)."""
    row = draw_task(rng)
    return _asked(ASK, row), _program(row)


def write_named(rng: random.Random) -> Example:
    """Write the function of that name (DSTC)."""
    row = draw_task(rng)
    return _asked(CODE, row), _program(row)


def write_named_tests(rng: random.Random) -> Example:
    """Write three assertions for the function of that name (DSTC)."""
    row = draw_task(rng)
    return _asked(TESTS, row), _tests(row, 3)


# Name, weight among the examples, how one is drawn.
CODE_STAGES: tuple[tuple[str, float, Draw], ...] = (
    ("concepts", 0.04, name_concepts),
    ("docstring", 0.02, judge_snippet),
    ("task", 0.05, write_task),
    ("respond", 0.05, respond),
    ("solve_and_test", 0.05, solve_and_test),
    ("obey", 0.03, obey),
    ("named_program", 0.03, write_named),
    ("named_tests", 0.04, write_named_tests),
)


def _asked(template: str, row: Row) -> list[dict[str, str]]:
    return [{"role": role, "content": text} for role, text in render(template, row).messages]


def _program(row: Row) -> str:
    return f"```python\n{row['solution']}\n```"


def _tests(row: Row, n: int) -> str:
    return "```python\n{}\n```".format("\n".join(row["tests"][:n]))
