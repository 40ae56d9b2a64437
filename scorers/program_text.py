"""Python sources as texts: reading them without running them, what makes two the same program.

Two sources are the same if they are equal after parsing, without comments, docstrings, layout and
quoting style. Names are kept as they are: a program that calls its variables otherwise is another.
"""

import ast
import builtins
import threading
import warnings
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.schema import digest

_LONGEST = 1 << 18  # characters of a source that is parsed
_BUILTINS = frozenset(dir(builtins))
_warnings_lock = threading.Lock()
Function = ast.FunctionDef | ast.AsyncFunctionDef


class Distinct(NamedTuple):
    """Texts without repetitions, in order of first appearance.

    `copies` (int64) counts the given texts that each stands for; `places` leads from each given
    text to the one that stands for it.
    """

    texts: list[str]
    ids: list[str]
    copies: NDArray[np.int64]
    places: list[int]


def parse(source: str) -> ast.Module | None:
    """Parse Python; None for whatever the parser cannot or will not read."""
    return parse_or_fault(source)[0]


def parse_or_fault(source: str) -> tuple[ast.Module | None, int]:
    """Parse Python; the number (from 1) of the line at which it fails, 0 if no line is at fault."""
    if len(source) > _LONGEST:
        return None, 0
    with _warnings_lock, warnings.catch_warnings():  # which is one for all threads
        warnings.simplefilter("ignore")
        try:
            return ast.parse(source), 0
        except SyntaxError as error:
            return None, error.lineno or 0
        except (ValueError, RecursionError, MemoryError):
            return None, 0


def normalise_source(source: str) -> str:
    """Return what two sources have in common that are the same program; unparsable ones as is."""
    tree = parse(source)
    if tree is None:
        return source.encode("utf-8", "replace").decode().strip()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | Function) and _starts_with_text(node.body):
            node.body = node.body[1:] or ([] if isinstance(node, ast.Module) else [ast.Pass()])
        elif isinstance(node, ast.Assert):
            node.msg = None
    try:
        return ast.unparse(tree)
    except (ValueError, RecursionError):  # a huge number, deep nesting
        return source.strip()


def _starts_with_text(body: Sequence[ast.stmt]) -> bool:
    first = body[0] if body else None
    return (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    )


def distinct(sources: Iterable[str]) -> Distinct:
    """Take each program (or test) once; the first text of its kind stands for the others."""
    texts: list[str] = []
    ids: dict[str, int] = {}
    places: list[int] = []
    for source in sources:
        place = ids.setdefault(digest("python", normalise_source(source)), len(texts))
        if place == len(texts):
            texts.append(source)
        places.append(place)
    copies = np.bincount(np.array(places, np.int64), minlength=len(texts)).astype(np.int64)
    return Distinct(texts, list(ids), copies, places)


def bound_names(node: ast.AST) -> set[str]:
    """Return the names that a statement, or a module's top level, binds outside of functions."""
    found: set[str] = set()
    pending = [node]
    while pending:
        one = pending.pop()
        if isinstance(one, ast.ClassDef | Function):
            found.add(one.name)
        elif isinstance(one, ast.Import | ast.ImportFrom):
            found |= {(alias.asname or alias.name).partition(".")[0] for alias in one.names}
        else:
            if isinstance(one, ast.Name) and not isinstance(one.ctx, ast.Load):
                found.add(one.id)
            if not isinstance(one, ast.Lambda):
                pending += ast.iter_child_nodes(one)
    return found


def free_names(node: ast.AST) -> set[str]:
    """Return the names that a piece of code reads and binds nowhere, builtins apart.

    Scopes are not told apart: a name that any part binds counts as bound.
    """
    read: set[str] = set()
    bound: set[str] = set()
    for one in ast.walk(node):
        if isinstance(one, ast.Name):
            (read if isinstance(one.ctx, ast.Load) else bound).add(one.id)
        elif isinstance(one, ast.arg):
            bound.add(one.arg)
        elif isinstance(one, ast.ExceptHandler) and one.name:
            bound.add(one.name)
        elif isinstance(one, ast.ClassDef | Function | ast.Import | ast.ImportFrom):
            bound |= bound_names(one)
    return read - bound - _BUILTINS
