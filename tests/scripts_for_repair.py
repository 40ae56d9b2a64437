"""A scripted model for the recipes of features, feedback and repair: an oracle that errs."""

import json
import random
from functools import cache

from pipeline.engines import Request
from pipeline.nano_features import features_of
from pipeline.nano_world import code_tasks

TASKS = 8  # that the recipes are run on in tests: nano_code, seed 0


@cache
def known() -> dict[str, dict]:
    """The tasks of the world by their text."""
    return {row["messages"][0]["content"]: row for row in code_tasks(TASKS, seed=0).to_pylist()}


def imperfect(request: Request) -> str:
    """Answer whatever stage is asked; a third of the programs and of the tests is wrong."""
    text, wrong = request.messages[-1][1], request.seed % 3 == 0
    if "Explain in prose" in text:
        return "The sign is wrong." if request.seed % 5 else "```python\nx = 1\n```"
    if "JSON tree" in text:
        return next(
            json.dumps(features_of(row)) for row in known().values() if row["solution"] in text
        )
    if "larger tree" in text:
        return '{"operation": {"list": ["new operation"]}, "constant": ["3", "99"]}'
    if "Reply in three lines" in text:
        task = random.Random(request.seed).choice(sorted(known()))
        return f"Features: a, b\nScenario: a shop\nTask: {task}" if request.seed % 7 else "No idea."
    row = next(row for task, row in known().items() if task in text)
    program = random.Random(request.seed).choice(row["wrong_solutions"]) if wrong else None
    if "Write three assertions" in text:
        return fenced("\n".join(row["wrong_tests"][:3] if wrong else row["tests"][:3]))
    if "Drop and weaken no test" in text:
        return f"The function is wrong.\n\n{fenced(row['solution'])}"
    if "in another" in text:
        tests = "\n".join(row["tests"][:3])
        return f"{fenced(program or row['solution'])}\n\n{fenced(tests)}"
    code = program or row["solution"]
    return code if text.rstrip().endswith('"""') else fenced(code)


def fenced(code: str) -> str:
    """A Python block."""
    return f"```python\n{code}\n```"
