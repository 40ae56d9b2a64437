"""The feature tree between generations: replies into features, features into questions (EpiCoder).

A tree is a table with a row a feature: `id` (the path's names joined by " / "), `path`
(list<string>), `frequency` (float64). A question is a row with `features` as JSON.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.feature_tree import (
    as_json,
    count_features,
    grow,
    leaves,
    prune,
    sample_subtree,
)
from pipeline.relations import reader
from pipeline.schema import MESSAGES, Sifted, digest, trial_seed
from pipeline.selectors import draw
from pipeline.steps import step

Row = Mapping[str, Any]
_TREE = pa.schema(
    [("id", pa.string()), ("path", pa.list_(pa.string())), ("frequency", pa.float64())]
)
_QUESTION = pa.schema(
    [("id", pa.string()), ("features", pa.string()), ("mandatory", pa.string()),
     ("source", pa.string()), ("parents", pa.list_(pa.string()))]
)  # fmt: skip
_FIELD = re.compile(r"^\W*(\w+)\W*:\s*(.*)$")


@step()
def as_seeds(files: pa.Table) -> pa.Table:
    """Take the source code of each row as a seed."""
    return pa.table({"id": files["id"], "code": files["solution"]})


@reader({"features": pa.string()})
def feature_json(row: Row) -> dict[str, Any] | str:
    """Read a tree of features: the outermost JSON object of a reply."""
    text = row["completion"]
    try:
        found = json.loads(text[text.index("{") : text.rindex("}") + 1])
    except (ValueError, RecursionError):
        return "no_json"
    return {"features": json.dumps(found)} if leaves(found) else "no_features"


@reader({"messages": MESSAGES, "scenario": pa.string()})
def task(row: Row) -> dict[str, Any] | str:
    """Read a composed task: the field Task, to the end of the reply, is the next user message."""
    fields, name = dict[str, str](), ""
    for line in row["completion"].strip().split("\n"):
        field = None if name == "task" else _FIELD.match(line)
        if field:
            name = field[1].lower()
        fields[name] = f"{fields[name]}\n{line}" if not field and name in fields else (
            field[2] if field else line
        )  # fmt: skip
    text = fields.get("task", "").strip()
    if not text:
        return "no_task"
    message = {"role": "user", "content": text}
    return {"messages": [message], "scenario": fields.get("scenario", "")}


@step(scope="dataset", expands=True)
def build_tree(named: pa.Table, *, smallest: int = 1, widest: int = 50) -> pa.Table:
    """Count the features of all replies into one tree.

    smallest: branches of fewer children collapse to one feature (officially 3); by default none do.
    """
    counts = count_features(json.loads(text) for text in named["features"].to_pylist())
    return _as_table(prune(counts, smallest=smallest, widest=widest))


@step(scope="dataset", expands=True)
def grow_tree(tree: pa.Table, extended: pa.Table) -> pa.Table:
    """Merge what the model made of each subtree into the tree, in the order of their ids."""
    counts = _as_counts(tree)
    rows = sorted(extended.select(["id", "features", "mandatory"]).to_pylist(), key=_id)
    for row in rows:
        sampled = [tuple(path) for path in json.loads(row["mandatory"])]
        counts = grow(counts, sampled, leaves(json.loads(row["features"])))
    return _as_table(counts)


@step(scope="dataset", expands=True)
def draw_subtrees(tree: pa.Table, *, n: int, shape: Sequence[int], seed: int) -> Sifted:
    """Draw subtrees to be extended; branches with more below them are drawn more often.

    `mandatory` holds the leaves that were drawn. Equal draws are one row (repeated).
    """
    counts = _as_counts(tree)
    made: dict[str, Row] = {}
    for place in range(n if counts else 0):
        own = trial_seed(seed, str(place), "evolve", 0)
        paths = sample_subtree(counts, shape, by="descendants", seed=own)
        row = _question(paths, paths, seed, "evolve")
        made.setdefault(row["id"], row)
    return Sifted(pa.Table.from_pylist(list(made.values()), _QUESTION), _repeated(n, made))


@step(scope="dataset", expands=True)
def draw_tasks(
    tree: pa.Table, *, n: int, shape: Sequence[int], flatness: float, seed: int
) -> Sifted:
    """Draw subtrees for tasks by tempered frequency, and two leaves of each that must appear."""
    counts = _as_counts(tree)
    made: dict[str, Row] = {}
    for place in range(n if counts else 0):
        own = trial_seed(seed, str(place), "task", 0)
        paths = sample_subtree(counts, shape, temperature=flatness, seed=own)
        names = list(dict.fromkeys(path[-1] for path in paths))
        two = [names[i] for i in draw(np.ones(len(names)), 2, seed=own)]
        row = _question(paths, two, seed, place)
        made.setdefault(row["id"], row)
    return Sifted(pa.Table.from_pylist(list(made.values()), _QUESTION), _repeated(n, made))


def _repeated(n: int, made: Mapping[str, Row]) -> dict[str, int]:
    return {"repeated": n - len(made)} if len(made) < n else {}


def _question(paths: Any, mandatory: Any, seed: int, salt: Any) -> Row:
    features, must = json.dumps(as_json(paths)), json.dumps(mandatory)
    return {
        "id": digest("epicoder", features, must, seed, salt),
        "features": features,
        "mandatory": must,
        "source": "epicoder",
        "parents": sorted({_name(path) for path in paths}),
    }


def _as_counts(tree: pa.Table) -> dict[tuple[str, ...], float]:
    return {tuple(row["path"]): row["frequency"] for row in tree.to_pylist()}


def _as_table(counts: Mapping[tuple[str, ...], float]) -> pa.Table:
    rows = [{"id": _name(path), "path": path, "frequency": count} for path, count in counts.items()]
    return pa.Table.from_pylist(rows, _TREE)


def _name(path: Sequence[str]) -> str:
    return " / ".join(path)


def _id(row: Row) -> str:
    return str(row["id"])
