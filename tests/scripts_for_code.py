"""Scripted models for tests of the code recipes: what they answer depends on the request alone.

`world` knows every task of a pool and answers any stage: programs and tests are wrong now and then,
by the request's seed.
"""

import random
from functools import cache
from typing import Any

from pipeline.engines import Request
from pipeline.nano_code import concepts_of
from pipeline.nano_world import code_tasks

WRONG_PROGRAMS, WRONG_TESTS = 0.4, 0.2


def echoes(request: Request) -> str:
    """Answer each stage of the chain in `test_execution`."""
    word, _, rest = request.messages[-1][1].partition(" ")
    if word == "TOPIC":
        return f"topic of {rest}"
    if word == "CODE":
        return f"```python\ndef f(x):\n    return x + {request.seed % 3}\n```"
    return "```python\nassert f(1) == 2\nassert f(0) == 1\n```"


def world(request: Request) -> str:
    """Answer a stage of SelfCodeAlign, CodeDPO, DSTC or PLUM about a task of the pool."""
    text, draw = request.messages[-1][1], random.Random(request.seed)
    head = text.partition("\n\n")[0]
    if "Could a programmer" in text:
        return "Yes" if draw.random() < 0.8 else "No"
    if "Which programming concepts" in text:
        return ", ".join(concepts_of(head))
    if "Write a new task" in text:
        return draw.choice(sorted(pool()))
    row = pool()[head]
    solution = draw.choice(row["wrong_solutions"])
    solution = solution if draw.random() < WRONG_PROGRAMS else row["solution"]
    tests = draw.sample(row["tests"], 3)
    if row["wrong_tests"] and draw.random() < WRONG_TESTS:
        tests[0] = draw.choice(row["wrong_tests"])
    program, suite = (f"```python\n{code}\n```" for code in (solution, "\n".join(tests)))
    if "says Tests:" in text:
        return f"{program}\n\nTests:\n\n{suite}"
    if "second Python block" in text:
        return f"{program}\n\n{suite}"
    return (
        f"Here it is.\n{suite}"
        if "three assertions" in text
        else f"Way {draw.randrange(9)}.\n{program}"
    )


@cache
def pool() -> dict[str, dict[str, Any]]:
    """The tasks that the world knows, by their text."""
    rows = code_tasks(240, seed=0).to_pylist()
    return {row["messages"][0]["content"]: row for row in rows}
