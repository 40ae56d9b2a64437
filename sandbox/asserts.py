"""Finding, in test code, assertions that need no interpreter: calls with literal arguments.

Covered: module-level asserts, ``check(candidate)`` and ``test_*()`` functions that hold nothing but
asserts, each a condition over ``f(literals)`` that `compare.evaluate` can decide. Anything else
makes the whole test run elsewhere ("split" or "inline"); a test is never judged by half.
"""

from __future__ import annotations

import ast
import builtins
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sandbox.compare import Unsupported, evaluate, function_name
from sandbox.wire import NotPlainData, encode

MAX_SOURCE = 1 << 20  # characters; longer tests are not taken apart here
_PARSING = threading.Lock()


@dataclass(frozen=True)
class Call:
    """One question to the program: a function and its encoded arguments."""

    name: str
    arguments: list[Any]
    keywords: dict[str, Any]


@dataclass(frozen=True)
class Check:
    """One assertion: the calls it makes and the condition over their answers."""

    calls: tuple[Call, ...]
    condition: ast.expr


def parse(source: str) -> ast.Module:
    """`ast.parse`, one thread at a time.

    Python 3.11 counts the depth of all parsers in one place, and two of them at once end in
    "SystemError: AST constructor recursion depth mismatch" (cpython issue 106905).
    """
    with _PARSING:
        return ast.parse(source)


def find_checks(tree: ast.Module, entry_point: str | None) -> list[Check] | None:
    """The checks that a test consists of, in order, or None if it has to be executed."""
    try:
        checks = list(_from_module(tree, entry_point))
    except (Unsupported, NotPlainData, RecursionError):
        return None
    return checks if any(check.calls for check in checks) else None


def _from_module(tree: ast.Module, entry_point: str | None) -> Iterator[Check]:
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    given: dict[str, str | None] = {}  # function -> what it is explicitly called with
    for node in tree.body:
        if isinstance(node, ast.Assert):
            yield _check(node, _aliases(entry_point))
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            name, argument = _explicit_call(node.value)
            given[name] = argument
        elif not isinstance(node, ast.FunctionDef) and not _is_inert(node):
            raise Unsupported(ast.dump(node)[:100])
    if set(given) - {function.name for function in functions}:
        raise Unsupported("a call of something else")
    for function in functions:
        yield from _from_function(function, given.get(function.name) or entry_point, entry_point)


def _explicit_call(node: ast.Call) -> tuple[str, str | None]:
    """``check(f)`` or ``test_it()``."""
    if not isinstance(node.func, ast.Name) or node.keywords or len(node.args) > 1:
        raise Unsupported("a statement")
    if not node.args:
        return node.func.id, None
    argument = _program_name(node.args[0], {})
    return node.func.id, None if argument == "candidate" else argument


def _is_inert(node: ast.stmt) -> bool:
    """Docstrings, imports and constants: without effect, as a check cannot use their names."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    if isinstance(node, ast.Assign):
        evaluate(node.value)
        return all(isinstance(t, ast.Name) and t.id.isupper() for t in node.targets)
    return isinstance(node, ast.Import | ast.ImportFrom | ast.Pass)


def _from_function(
    function: ast.FunctionDef, candidate: str | None, entry_point: str | None
) -> Iterator[Check]:
    arguments = ast.unparse(function.args)
    is_check = function.name == "check" and arguments.isidentifier() and candidate is not None
    is_test = function.name.startswith("test") and not arguments
    if function.decorator_list or not (is_check or is_test):
        raise Unsupported("a function")
    aliases = _aliases(entry_point)
    if is_check and candidate is not None:
        aliases[arguments] = candidate
    for node in function.body:
        if isinstance(node, ast.Assert):
            yield _check(node, aliases)
        elif not _is_inert(node):
            raise Unsupported(ast.dump(node)[:100])


def _aliases(entry_point: str | None) -> dict[str, str]:
    return {"candidate": entry_point, entry_point: entry_point} if entry_point else {}


def _program_name(node: ast.expr, aliases: dict[str, str]) -> str | None:
    """The program's function that an expression names: ``f`` or ``Class().method``."""
    if isinstance(node, ast.Name):
        if node.id in aliases:
            return aliases[node.id]
        return None if hasattr(builtins, node.id) or function_name(node) else node.id
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Call):
        made = node.value
        if isinstance(made.func, ast.Name) and not made.args and not made.keywords:
            owner = _program_name(made.func, {})
            return f"{owner}().{node.attr}" if owner else None
    return None


class _Questions:
    """Takes the calls of the program out of a condition and leaves numbered places.

    Every other shape must be one that `evaluate` decides, whatever the answers turn out to be.
    """

    def __init__(self, aliases: dict[str, str]) -> None:
        self.aliases = aliases
        self.calls: list[Call] = []

    def take(self, node: ast.expr) -> ast.expr:
        """The condition without its calls of the program; raises Unsupported."""
        kind = type(node)
        if kind is ast.Constant:
            return node
        if isinstance(node, ast.Call):
            return self._take_call(node)
        if isinstance(node, ast.Compare) and self._compares_objects(node):
            raise Unsupported("objects compared with each other")
        for name in _PARTS.get(kind, ()):
            part = getattr(node, name)
            setattr(node, name, self._take_all(part) if type(part) is list else self.take(part))
        if kind not in _PARTS:
            raise Unsupported(ast.dump(node)[:100])
        return node

    def _take_all(self, nodes: list[ast.expr | None]) -> list[ast.expr | None]:
        return [None if node is None else self.take(node) for node in nodes]

    def _take_call(self, node: ast.Call) -> ast.expr:
        name = _program_name(node.func, self.aliases)
        if name is not None:
            return self._ask(name, node)
        if function_name(node.func) is None:
            raise Unsupported("a call")
        node.args = [self.take(argument) for argument in node.args]
        for keyword in node.keywords:
            keyword.value = self.take(keyword.value)
        return node

    def _ask(self, name: str, node: ast.Call) -> ast.expr:
        """Note the question; returns the place of its answer."""
        if any(keyword.arg is None for keyword in node.keywords):
            raise Unsupported("**")
        arguments = [_literal(argument) for argument in node.args]
        keywords = {str(keyword.arg): _literal(keyword.value) for keyword in node.keywords}
        self.calls.append(Call(name, arguments, keywords))
        return ast.Name(str(len(self.calls) - 1), ast.Load())

    def _compares_objects(self, node: ast.Compare) -> bool:
        """Whether answers are compared with answers, and one of them may be an instance.

        It would not cross, and only the program's own class knows what its equality means.
        """
        sides = [node.left, *node.comparators]
        names = [
            _program_name(side.func, self.aliases) for side in sides if isinstance(side, ast.Call)
        ]
        known = self.aliases.values()
        may_be_classes = [n for n in names if n and n[0].isupper() and "." not in n]
        return len(names) == len(sides) and any(n not in known for n in may_be_classes)


# Where a shape holds further ones; none but these, calls and constants are decided.
_PARTS: dict[type[ast.AST], tuple[str, ...]] = {
    ast.List: ("elts",),
    ast.Tuple: ("elts",),
    ast.Set: ("elts",),
    ast.Dict: ("keys", "values"),
    ast.UnaryOp: ("operand",),
    ast.BinOp: ("left", "right"),
    ast.Compare: ("left", "comparators"),
    ast.BoolOp: ("values",),
    ast.Subscript: ("value", "slice"),
}


def _literal(node: ast.expr) -> Any:
    """An argument's value, encoded; raises Unsupported if it takes more than arithmetic."""
    try:
        return encode(evaluate(node))
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise Unsupported(str(error)) from None


def _check(node: ast.Assert, aliases: dict[str, str]) -> Check:
    questions = _Questions(aliases)
    condition = questions.take(node.test)
    return Check(tuple(questions.calls), condition)
