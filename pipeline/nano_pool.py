"""A pool and queries from the built-in world: what selection is shown and proved on.

Worked word problems of every level and Python tasks; `source` is the level or "code". Some prompts
have a second answer, terse or wrong, and `meta` says of every row whether it is sound.
"""

import json
import random
from typing import Any

import pyarrow as pa

from pipeline.nano_world import LEVELS, code_tasks, word_problems, worked_answer
from pipeline.schema import POOL, digest

_ROWS, _QUERIES = 480, 24
_TAUGHT = (LEVELS[-3], LEVELS[-2])  # levels that the built-in model half knows


def nano_pool(rows: int = 0, *, seed: int = 0) -> pa.Table:
    """Return `rows` (0: 480) answered tasks of the train split as a POOL table.

    Five eighths are worked problems, an eighth is a second and terse answer to one of them, an
    eighth a second and wrong one, and the last eighth are programs, every eighth of them wrong.
    """
    n = rows or _ROWS
    part = n // 8
    problems = word_problems(n - 3 * part, seed=seed).to_pylist()
    found = [_worked(row, worked_answer(row)) for row in problems]
    random_ = random.Random(f"nano_pool/{seed}")
    chosen = random_.sample(problems, 2 * part)
    found += [_worked(row, f"\\boxed{{{row['answer']}}}") for row in chosen[:part]]
    for row in chosen[part:]:
        other = random_.choice([p for p in problems if p["answer"] != row["answer"]])
        found.append(_worked(row, worked_answer(other), sound=False))
    for i, row in enumerate(code_tasks(part, seed=seed).to_pylist()):
        sound = i % 8 != 0 or not row["wrong_solutions"]
        found.append(_written(row, row["solution"] if sound else row["wrong_solutions"][0], sound))
    return pa.Table.from_pylist(found, schema=POOL)


def nano_queries(rows: int = 0, *, seed: int = 0) -> pa.Table:
    """Return `rows` (0: 24) answered tasks of the test split as POOL rows: three tasks, alike many.

    Two levels that the nano model half knows, and code.
    """
    n = rows or _QUERIES
    code = code_tasks(n // 3, seed=seed, split="test").to_pylist()
    math = word_problems(n - len(code), seed=seed, levels=_TAUGHT, split="test").to_pylist()
    found = [_worked(row, worked_answer(row)) for row in math]
    found += [_written(row, row["solution"]) for row in code]
    return pa.Table.from_pylist(found, schema=POOL)


def _worked(row: dict[str, Any], answer: str, sound: bool = True) -> dict[str, Any]:
    return _answered(row, answer, f"level_{json.loads(row['meta'])['level']}", sound)


def _written(row: dict[str, Any], program: str, sound: bool = True) -> dict[str, Any]:
    return _answered(row, f"```python\n{program}\n```", "code", sound)


def _answered(row: dict[str, Any], answer: str, source: str, sound: bool) -> dict[str, Any]:
    messages = [*row["messages"], {"role": "assistant", "content": answer}]
    meta = {"kind": json.loads(row["meta"])["kind"], "prompt": row["id"], "sound": sound}
    same = {"source": source, "task": source, "meta": json.dumps(meta)}
    return {"id": digest(messages), "messages": messages, **same}
