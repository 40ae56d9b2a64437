"""Features of the nano world's code tasks: naming them, extending a tree of them, using them.

A task has two features: what its function does to which input ("operation" / "list" / "keep
above"), and the number in it ("constant" / "7"). What a draw returns are the columns that a
recipe's template reads and the reply of the oracle.
"""

import json
import random
from collections.abc import Sequence
from typing import Any

from pipeline.nano_repair import Asked
from pipeline.nano_tasks import KINDS
from pipeline.nano_world import HELD_PARAMETERS, PARAMETERS, code_tasks, word_task

Tree = dict[str, Any]

_INPUTS = {
    "x": "number",
    "x, y": "two numbers",
    "n": "count",
    "xs": "list",
    "xs, ys": "two lists",
    "s": "text",
    "s, t": "two texts",
    "words": "words",
}
_KINDS = {kind.name: kind for kind in KINDS if not kind.held_out}
_NUMBERS = [str(k) for k in PARAMETERS if k not in HELD_PARAMETERS]
_SCENES = {
    "number": "a till adds up prices",
    "two numbers": "two meters are read",
    "count": "a timetable is printed",
    "list": "a list of readings is checked",
    "two lists": "two columns are brought together",
    "text": "labels are printed",
    "two texts": "names are put together",
    "words": "a word list is cleaned",
}


def features_of(row: dict[str, Any]) -> Tree:
    """Return the tree of one task's features."""
    meta = json.loads(row["meta"])
    return _as_tree([meta["kind"]], [str(meta["k"])])


def named_features(rng: random.Random) -> Asked:
    """Draw a program (column code); the reply is the tree of its features as JSON."""
    row = _task(rng)
    return Asked(row | {"code": row["solution"]}, json.dumps(features_of(row)))


def extended_tree(rng: random.Random) -> Asked:
    """Draw a small tree (column features: JSON); the reply has two more leaves in every list."""
    names = rng.sample(sorted(_KINDS), rng.randint(1, 3))
    numbers = rng.sample(_NUMBERS, rng.randint(1, 2))
    tree = _as_tree(names, numbers)
    leaves = {kind: [*found, *_more(kind, found, rng)] for kind, found in tree["operation"].items()}
    others = [number for number in _NUMBERS if number not in numbers]
    grown = {"operation": leaves, "constant": [*numbers, *rng.sample(others, 2)]}
    return Asked({"features": json.dumps(tree)}, json.dumps(grown))


def task_of_features(rng: random.Random) -> Asked:
    """Draw a tree and two of its leaves that must appear (features, mandatory: JSON).

    The reply uses the first operation that must appear, or the tree's first; so for the number.
    """
    tree = _as_tree(rng.sample(sorted(_KINDS), rng.randint(1, 4)), rng.sample(_NUMBERS, 2))
    operations = [name for names in tree["operation"].values() for name in names]
    mandatory = rng.sample([*operations, *tree["constant"]], 2)
    operation = next((one for one in mandatory if one in operations), operations[0])
    number = next((one for one in mandatory if one in tree["constant"]), tree["constant"][0])
    kind = _KINDS[operation.replace(" ", "_")]
    _, text = word_task(kind, int(number), rng)
    scene = _SCENES[_INPUTS[kind.args]]
    reply = f"Features: {operation}, {number}\nScenario: {scene}\nTask: {text}"
    columns = {"features": json.dumps(tree), "mandatory": json.dumps(mandatory)}
    return Asked(columns, reply)


def _as_tree(names: Sequence[str], numbers: Sequence[str]) -> Tree:
    operations: dict[str, list[str]] = {}
    for name in names:
        operations.setdefault(_INPUTS[_KINDS[name].args], []).append(_spoken(name))
    return {"operation": operations, "constant": list(numbers)}


def _more(kind: str, found: Sequence[str], rng: random.Random) -> list[str]:
    same = [_spoken(name) for name, one in _KINDS.items() if _INPUTS[one.args] == kind]
    others = sorted(set(same) - set(found))
    return rng.sample(others, min(2, len(others)))


def _spoken(name: str) -> str:
    return name.replace("_", " ")


def _task(rng: random.Random) -> dict[str, Any]:
    [row] = code_tasks(1, seed=rng.getrandbits(48)).to_pylist()
    return dict(row)
