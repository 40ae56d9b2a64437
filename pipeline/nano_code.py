"""The nano world seen as source code: snippets with docstrings, and the concepts in a program.

Built on `nano_world.code_tasks`. What an oracle draws are the columns that a recipe's template
reads and its reply, or what the reply is made of; the recipe owns the wording.
"""

import ast
import json
import random
from typing import Any

import pyarrow as pa

from pipeline.nano_tasks import KINDS
from pipeline.nano_world import code_tasks
from pipeline.schema import PROMPTS, digest

Row = dict[str, Any]

_TEXTS = {kind.name: kind.text for kind in KINDS}
_VAGUE = (
    "Helper for the report.",
    "Does what is needed here.",
    "Old version, see the other file.",
    "Second part of the job.",
)
_VAGUE_SHARE = 0.15
_LONGEST = 220  # characters of a task's tests, so that a question and its answer fit the context
_INPUTS = {"n": "counting", "s": "strings", "t": "strings", "words": "strings", "xs": "lists",
           "ys": "lists"}  # fmt: skip
_NODES = {
    ast.Add: "addition",
    ast.Sub: "subtraction",
    ast.Mult: "multiplication",
    ast.FloorDiv: "division",
    ast.Mod: "remainders",
    ast.Pow: "powers",
    ast.Gt: "comparison",
    ast.Lt: "comparison",
    ast.GtE: "comparison",
    ast.LtE: "comparison",
    ast.Eq: "equality",
    ast.NotEq: "equality",
    ast.In: "membership",
    ast.ListComp: "comprehensions",
    ast.GeneratorExp: "generators",
    ast.For: "loops",
    ast.Slice: "slicing",
}
_CALLS = {
    "min": "minimum",
    "max": "maximum",
    "sum": "summation",
    "len": "length",
    "sorted": "sorting",
    "range": "ranges",
    "abs": "absolute value",
    "all": "logic",
    "any": "logic",
    "str": "text conversion",
    "zip": "pairing",
    "upper": "letter case",
    "count": "counting",
}


def snippets(n: int, *, seed: int, split: str = "train") -> pa.Table:
    """Draw n functions with docstrings as they would stand in a repository; some say nothing.

    Returns PROMPTS whose message is the source; meta is JSON {"kind", "k", "described": bool}.
    """
    rng = random.Random(f"snippets/{seed}/{split}")
    tasks = code_tasks(n, seed=seed, split=split).to_pylist()
    return pa.Table.from_pylist([_snippet(row, rng) for row in tasks], PROMPTS)


def concepts_of(source: str) -> list[str]:
    """Name what a program of the world uses, inputs first, each once."""
    function = ast.parse(source).body[0]
    found: dict[str, None] = {}
    arguments = function.args.args if isinstance(function, ast.FunctionDef) else []
    for argument in arguments:
        found[_INPUTS.get(argument.arg, "numbers")] = None
    for node in ast.walk(function):
        name = _CALLS.get(_called(node)) or _NODES.get(type(node))
        filters = isinstance(node, ast.comprehension) and node.ifs
        found |= dict.fromkeys([word for word in (name, filters and "filtering") if word])
    return list(found)


def draw_task(rng: random.Random) -> Row:
    """Draw a task of the train split whose five tests are short enough to be written in a reply."""
    while True:
        [row] = code_tasks(1, seed=rng.getrandbits(48)).to_pylist()
        if len("".join(row["tests"])) <= _LONGEST:
            return dict(row)


def named_concepts(rng: random.Random) -> tuple[Row, str]:
    """Draw a snippet; the reply names its concepts."""
    row = _draw_snippet(rng)
    return row, ", ".join(concepts_of(row["messages"][0]["content"]))


def judged_snippet(rng: random.Random) -> tuple[Row, str]:
    """Draw a snippet; the reply says whether its docstring describes it."""
    row = _draw_snippet(rng, vague=0.5)
    return row, "Yes" if json.loads(row["meta"])["described"] else "No"


def task_of_concepts(rng: random.Random) -> tuple[Row, str]:
    """Draw concepts (column concepts: list); the reply is a task that uses them."""
    row = draw_task(rng)
    reply = row["messages"][0]["content"]
    return {"id": row["id"], "concepts": concepts_of(row["solution"])}, reply


def _draw_snippet(rng: random.Random, vague: float = _VAGUE_SHARE) -> Row:
    return _snippet(draw_task(rng), rng, vague)


def _snippet(task: Row, rng: random.Random, vague: float = _VAGUE_SHARE) -> Row:
    meta = json.loads(task["meta"])
    described = rng.random() >= vague
    text = _TEXTS[meta["kind"]].format(k=meta["k"])
    doc = f"{text[0].upper()}{text[1:]}." if described else rng.choice(_VAGUE)
    head, *body = task["solution"].split("\n")
    source = "\n".join([head, f'    """{doc}"""', *body])
    return {
        "id": digest("nano_code", source),
        "messages": [{"role": "user", "content": source}],
        "source": "nano_snippets",
        "meta": json.dumps(meta | {"described": described}),
    }


def _called(node: ast.AST) -> str:
    if not isinstance(node, ast.Call):
        return ""
    called = node.func
    return called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
