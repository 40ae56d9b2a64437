"""Source files as seeds, and what two programs have in common: read by their syntax, never run.

After the filters of SelfCodeAlign (arXiv 2410.24198), with two differences: words and imports are
looked for as such, not as parts of longer ones; instead of a type checker's verdict a function may
use no name that it does not have.
"""

import ast
import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from pipeline.operators import sift
from pipeline.schema import PROMPTS, Sifted, digest, trial_seed
from pipeline.selection.minhash import Bands, NearIndex
from pipeline.steps import step
from scorers.program_text import Function, bound_names, free_names, normalise_source, parse

_WORDS = re.compile(r"\b(todo|fixme|bug)\b", re.IGNORECASE)
_IMPORTS = {"argparse", "os", "subprocess", "sys", "setuptools", "distutils", "matplotlib",
            "seaborn"}  # fmt: skip
_LONGEST = 150  # lines
_BANDS = Bands(25, 10)
_SEED = pa.schema([*PROMPTS, ("parents", pa.list_(pa.string()))])


@step(expands=True)
def seed_functions(files: pa.Table) -> Sifted:
    """Take the functions that explain themselves out of source files (the last message of a row).

    A row of the answer is one function with the imports that it needs as its message, and the file
    as its parent. Files leave as unparsable or without_functions, functions as no_docstring,
    returns_nothing, no_arguments, banned_word, banned_import, too_long, undefined_name, duplicate.
    """
    rows: dict[str, dict[str, Any]] = {}
    dropped: dict[str, int] = {}
    for file in files.to_pylist():
        for function, reason in _functions(file["messages"][-1]["content"]):
            key = digest("seed", normalise_source(function))
            reason = reason or ("duplicate" if key in rows else "")
            if reason:
                dropped[reason] = dropped.get(reason, 0) + 1
            else:
                message = {"role": "user", "content": function}
                rows[key] = file | {"id": key, "messages": [message], "parents": [file["id"]]}
    return Sifted(pa.Table.from_pylist(list(rows.values()), _SEED), dropped)


def defined_names(source: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the names of functions (methods too) and of classes, lower-case, no underscores."""
    tree = parse(source)
    nodes = list(ast.walk(tree)) if tree else []
    functions = [node.name for node in nodes if isinstance(node, Function)]
    classes = [node.name for node in nodes if isinstance(node, ast.ClassDef)]
    return frozenset(map(_plain, functions)), frozenset(map(_plain, classes))


def representation(source: str) -> str | None:
    """Return functions and classes without comments and docstrings; None if it does not parse."""
    tree = parse(normalise_source(source))
    if tree is None:
        return None
    kept = [node for node in tree.body if isinstance(node, ast.ClassDef | Function)]
    return "\n".join(ast.unparse(node) for node in kept)


@step(scope="dataset")
def one_each(
    rows: pa.Table, *, seed: int, longest: int = 200, names: bool = True, near: float | None = 0.7
) -> Sifted:
    """Keep one response a task, and of those that are alike the first in an order drawn by seed.

    rows: `rollout_id`, `messages` (ending in the task), `completion`, `code`. Reasons to leave:
    long_task (more than `longest` words), seen (task or response equal but for white space),
    unparsable, seen_names (all its functions, or all its classes, are another's; with `names`),
    near_task, near_response, near_code (Jaccard similarity of word 5-grams of at least `near`).
    """
    listed = sorted(rows.to_pylist(), key=lambda row: _draw(seed, row["rollout_id"]))
    reasons: dict[str, str | None] = {}
    seen: set[Any] = set()
    for row in listed:
        keys = _keys(row, names)
        reason = _long_or_broken(row, longest) or next((r for r, k in keys if k in seen), None)
        reasons[row["rollout_id"]] = reason
        if reason is None:
            seen |= {key for _, key in keys}
    if near is not None:
        kept = [row for row in listed if reasons[row["rollout_id"]] is None]
        reasons |= _near(kept, near)
    return sift(rows, [reasons[one] for one in rows["rollout_id"].to_pylist()])


def _draw(seed: int, rollout_id: str) -> tuple[int, str]:
    return trial_seed(seed, rollout_id, "one_each", 0), rollout_id


def _long_or_broken(row: dict[str, Any], longest: int) -> str | None:
    if len(_task(row).split()) > longest:
        return "long_task"
    return "unparsable" if representation(row["code"]) is None else None


def _keys(row: dict[str, Any], names: bool) -> list[tuple[str, Any]]:
    """Return what no later row may share, with the reason it then leaves for."""
    texts = ("task", "".join(_task(row).split())), ("reply", "".join(row["completion"].split()))
    functions, classes = defined_names(row["code"]) if names else (frozenset(), frozenset())
    named = [("functions", functions), ("classes", classes)]
    return [("seen", key) for key in texts] + [("seen_names", key) for key in named if key[1]]


def _near(rows: list[dict[str, Any]], near: float) -> dict[str, str | None]:
    """Return, for each row, in which of three passes it repeats an earlier one; None: in none."""
    reasons: dict[str, str | None] = dict.fromkeys(row["rollout_id"] for row in rows)
    passes = {
        "near_task": _task,
        "near_response": lambda row: row["completion"],
        "near_code": lambda row: representation(row["code"]) or "",
    }
    for reason, text_of in passes.items():
        left = [row for row in rows if reasons[row["rollout_id"]] is None]
        ids = [row["rollout_id"] for row in left]
        order = [-float(place) for place in range(len(left))]
        matches = NearIndex(near, _BANDS).add(ids, list(map(text_of, left)), priority=order)
        reasons |= {one: reason for one, found in zip(ids, matches, strict=True) if found}
    return reasons


def _task(row: dict[str, Any]) -> str:
    return str(row["messages"][-1]["content"])


def _functions(source: str) -> Iterator[tuple[str, str]]:
    """Yield each top-level function, with its imports, and why it is no seed ("" if it is one)."""
    tree = parse(source)
    if tree is None:
        yield source, "unparsable"
        return
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    functions = [node for node in tree.body if isinstance(node, Function)]
    if not functions:
        yield source, "without_functions"
    for function in functions:
        wanted = free_names(function) - {function.name}
        needed = [node for node in imports if bound_names(node) & wanted]
        start = min([function.lineno, *(node.lineno for node in function.decorator_list)])
        text = "\n".join(source.splitlines()[start - 1 : function.end_lineno])
        whole = "\n".join([*map(ast.unparse, needed), *([""] if needed else []), text])
        missing = wanted - {name for node in needed for name in bound_names(node)}
        yield whole, _fault(function, whole) or ("undefined_name" if missing else "")


def _fault(function: ast.FunctionDef | ast.AsyncFunctionDef, text: str) -> str:
    nodes = list(ast.walk(function))
    arguments = function.args
    if not ast.get_docstring(function):
        return "no_docstring"
    if not any(isinstance(node, ast.Return) and node.value is not None for node in nodes):
        return "returns_nothing"
    if not any(
        [arguments.posonlyargs, arguments.args, arguments.kwonlyargs, arguments.vararg,
         arguments.kwarg]
    ):  # fmt: skip
        return "no_arguments"
    if _WORDS.search(text):
        return "banned_word"
    if _imported(text) & _IMPORTS:
        return "banned_import"
    return "too_long" if len(text.splitlines()) > _LONGEST else ""


def _imported(text: str) -> set[str]:
    tree = parse(text)
    found: set[str] = set()
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
    return found


def _plain(name: str) -> str:
    return name.lower().replace("_", "")
