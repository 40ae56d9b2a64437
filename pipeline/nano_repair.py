"""The nano world's broken code: a program or a test that is wrong, and the oracle's repair of it.

Built on `nano_world.code_tasks`. What a draw returns are the columns that a recipe's template reads
and the reply of the oracle; the recipe owns the wording of the question.
"""

import difflib
import json
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from pipeline.nano_tasks import KINDS
from pipeline.nano_world import code_tasks

_TEXTS = {kind.name: kind.text for kind in KINDS}
_SHOWN = 3  # tests beside a program
_LONGEST = 150  # characters of a broken task's five tests, so that all fits the nano context


class Asked(NamedTuple):
    """One question of a stage: the row that the recipe's template is rendered over, the answer."""

    row: dict[str, Any]
    reply: str


def plain_program(rng: random.Random) -> Asked:
    """Draw a task; the reply is the program alone, as it would stand in a file."""
    row = _task(rng)
    return Asked(row, row["solution"])


def program_with_tests(rng: random.Random) -> Asked:
    """Draw a task; the reply is the function and three assertions, in two blocks."""
    row = _task(rng)
    blocks = (row["solution"], "\n".join(row["tests"][:_SHOWN]))
    return Asked(row, "\n\n".join(map(block, blocks)))


def broken_task(rng: random.Random) -> Asked:
    """Draw a task with a wrong program, or with a wrong test; the reply mends that block alone.

    Columns beside the task's: program, tests (3 assertions), failing (one that the program fails),
    complaint (how it fails).
    """
    row = _task(rng)
    while len("".join(row["tests"])) > _LONGEST:
        row = _task(rng)
    if row["wrong_tests"] and rng.random() < 0.4:
        columns, diagnosis, mended = _break_test(row, rng)
    else:
        columns, diagnosis, mended = _break_program(row, rng)
    columns["complaint"] = complaint(columns["program"], columns["failing"])
    return Asked(row | columns, f"{diagnosis}\n\n{block(mended)}")


def _break_test(row: dict[str, Any], rng: random.Random) -> tuple[dict[str, Any], str, str]:
    wrong = rng.choice(row["wrong_tests"])
    call = wrong.rpartition(" == ")[0] + " == "
    place = next(i for i, test in enumerate(row["tests"]) if test.startswith(call))
    right = _with(row["tests"], place)
    shown = [wrong if test.startswith(call) else test for test in right]
    columns = {"program": row["solution"], "tests": shown, "failing": wrong}
    diagnosis = f"A test is wrong: `{wrong}` must be `{row['tests'][place]}`."
    return columns, diagnosis, "\n".join(right)


def _break_program(row: dict[str, Any], rng: random.Random) -> tuple[dict[str, Any], str, str]:
    program = rng.choice(row["wrong_solutions"])
    caught = next(i for i, test in enumerate(row["tests"]) if complaint(program, test) is not None)
    shown = _with(row["tests"], caught)
    failing = next(test for test in shown if complaint(program, test) is not None)
    columns = {"program": program, "tests": shown, "failing": failing}
    diagnosis = f"The function is wrong: {_change(program, row['solution'])}"
    return columns, diagnosis, row["solution"]


def explained_repair(rng: random.Random) -> Asked:
    """Draw a wrong and the right program; the reply says what was wrong and what mends it.

    Columns beside the task's: buggy, fixed.
    """
    row = _task(rng)
    buggy, meta = rng.choice(row["wrong_solutions"]), json.loads(row["meta"])
    goal = _TEXTS[meta["kind"]].format(k=meta["k"])
    change = _change(buggy, row["solution"])
    reply = f"The function {goal}, which the program does not do: {change}"
    return Asked(row | {"buggy": buggy, "fixed": row["solution"]}, reply)


def complaint(program: str, test: str) -> str | None:
    """Say how one of the world's own programs fails a test; None if it passes."""
    try:
        exec(f"{program}\n{test}", {})  # the world's code; a model's goes to the sandbox
    except AssertionError:
        return "wrong answer"
    except Exception as problem:
        return f"{type(problem).__name__}: {problem}"
    return None


def block(code: str) -> str:
    """Write code as a fenced block."""
    return f"```python\n{code}\n```"


def _task(rng: random.Random) -> dict[str, Any]:
    [row] = code_tasks(1, seed=rng.getrandbits(48)).to_pylist()
    return dict(row)


def _with(tests: Sequence[str], place: int) -> list[str]:
    """Return the first tests, the one at `place` among them, in their order."""
    others = [one for one in range(len(tests)) if one != place]
    shown = sorted([place, *others[: _SHOWN - 1]])
    return [tests[one] for one in shown]


def _change(wrong: str, right: str) -> str:
    """Name the lines that differ."""
    old, new = wrong.split("\n"), right.split("\n")
    codes = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    changed = [(old[a:b], new[c:d]) for tag, a, b, c, d in codes if tag != "equal"]
    before, after = (
        _quoted([line for part in parts for line in part]) for parts in zip(*changed, strict=True)
    )
    return f"{before} must be {after}."


def _quoted(lines: Sequence[str]) -> str:
    return " and ".join(f"`{line.strip()}`" for line in lines) or "nothing"
