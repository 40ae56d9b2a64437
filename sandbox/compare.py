"""Comparing answers outside the program's process: conditions of assertions, and printed output.

A condition is evaluated by walking its syntax tree, with the program's answers, already decoded
into exact builtin types, in the places of its calls. Equality is Python's own, because the test's
author wrote Python: ``256.0`` satisfies ``== 256`` (strict types would reject 24 reference
solutions of MBPP). What costs more than linear time in an answer is not offered.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

from sandbox.wire import NotPlainData

_MAX_COLLISIONS = 100  # unequal members of a set with the same hash


class Unsupported(Exception):
    """The expression needs a real interpreter."""


def _set(items: Iterable[Any] = ()) -> set[Any]:
    """A set, unless its members were chosen to collide: building it would take hours."""
    buckets: dict[int, list[Any]] = {}
    for item in items:
        bucket = buckets.setdefault(hash(item), [])
        if item not in bucket:
            bucket.append(item)
        if len(bucket) > _MAX_COLLISIONS:
            raise NotPlainData("members that collide")
    return {item for bucket in buckets.values() for item in bucket}


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    f.__name__: f for f in (abs, len, sorted, list, tuple, sum, min, max, round, any, all)
} | {"float": float, "int": int, "str": str, "bool": bool, "isclose": math.isclose}
_FUNCTIONS |= {"set": _set, "frozenset": lambda items=(): frozenset(_set(items))}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}
_OPERATIONS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Div: operator.truediv,
    ast.Mult: operator.mul,
    ast.Pow: operator.pow,
    ast.Mod: operator.mod,
}
_MAX_BITS = 4_096  # of an integer made by * and **
_MAX_LENGTH = 1_000_000  # of a sequence made by *
_NUMBERS = (int, float, bool)


def function_name(node: ast.expr) -> str | None:
    """The name under which a pure function is known here, also for ``math.isclose``."""
    if isinstance(node, ast.Name) and node.id in _FUNCTIONS:
        return node.id
    is_math = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    if is_math and ast.unparse(node) == "math.isclose":
        return "isclose"
    return None


def evaluate(node: ast.expr, answers: Sequence[Any] = ()) -> Any:
    """The value of a condition; ``ast.Name("0")`` stands for the first answer.

    Raises Unsupported for what is not covered (whatever the answers are), and what Python would
    raise for the rest.
    """
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name) and node.id.isdigit():
        return answers[int(node.id)]
    method = _EVALUATE.get(type(node))
    if method is None:
        raise Unsupported(ast.dump(node)[:100])
    return method(node, answers)


def _many(nodes: Sequence[ast.expr | None], answers: Sequence[Any]) -> list[Any]:
    if any(node is None for node in nodes):
        raise Unsupported("**")
    return [evaluate(node, answers) for node in nodes if node is not None]


def _dict(node: ast.Dict, answers: Sequence[Any]) -> Any:
    return dict(zip(_many(node.keys, answers), _many(node.values, answers), strict=True))


def _unary(node: ast.UnaryOp, answers: Sequence[Any]) -> Any:
    value = evaluate(node.operand, answers)
    if isinstance(node.op, ast.Not):
        return not value
    if isinstance(node.op, ast.USub):
        return -value
    raise Unsupported("unary operator")


def _binary(node: ast.BinOp, answers: Sequence[Any]) -> Any:
    left, right = evaluate(node.left, answers), evaluate(node.right, answers)
    operation = _OPERATIONS.get(type(node.op))
    if operation is None:
        raise Unsupported("operator")
    if isinstance(node.op, ast.Mult):
        return _multiply(left, right)
    if isinstance(node.op, ast.Pow | ast.Mod):
        if not (isinstance(left, _NUMBERS) and isinstance(right, _NUMBERS)):
            raise Unsupported("operator on other than numbers")
        if isinstance(node.op, ast.Pow) and isinstance(left, int) and isinstance(right, int):
            _check_bits(left.bit_length() * right)
    return operation(left, right)


def _multiply(left: Any, right: Any) -> Any:
    if isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() + right.bit_length())
    elif isinstance(left, int) and isinstance(right, str | list | tuple | bytes):
        return _multiply(right, left)
    elif isinstance(left, str | list | tuple | bytes) and isinstance(right, int):
        if len(left) * right > _MAX_LENGTH:
            raise Unsupported("a sequence that long")
    return left * right


def _check_bits(bits: int) -> None:
    if bits > _MAX_BITS:
        raise Unsupported("an integer that large")


def _compare(node: ast.Compare, answers: Sequence[Any]) -> Any:
    left, result = evaluate(node.left, answers), True
    for op, right_node in zip(node.ops, node.comparators, strict=True):
        right = evaluate(right_node, answers)
        if isinstance(op, ast.Is | ast.IsNot) and not _singleton(left, right):
            raise Unsupported("identity of values")
        result = _COMPARISONS[type(op)](left, right)
        if not result:
            break
        left = right
    return result


def _singleton(left: Any, right: Any) -> bool:
    return isinstance(left, bool | None) or isinstance(right, bool | None)


def _boolean(node: ast.BoolOp, answers: Sequence[Any]) -> Any:
    value: Any = None
    for part in node.values:
        value = evaluate(part, answers)
        if bool(value) is isinstance(node.op, ast.Or):
            break
    return value


def _call(node: ast.Call, answers: Sequence[Any]) -> Any:
    name = function_name(node.func)
    keywords = {k.arg: evaluate(k.value, answers) for k in node.keywords if k.arg}
    if name is None or len(keywords) != len(node.keywords) or "key" in keywords:
        raise Unsupported("a call")
    arguments = _many(node.args, answers)
    if name == "sum" and (len(arguments) > 1 or keywords):  # sum(lists, []) is quadratic
        raise Unsupported("sum with a start")
    return _FUNCTIONS[name](*arguments, **keywords)


def _subscript(node: ast.Subscript, answers: Sequence[Any]) -> Any:
    return evaluate(node.value, answers)[evaluate(node.slice, answers)]


_EVALUATE: dict[type, Callable[[Any, Sequence[Any]], Any]] = {
    ast.List: lambda node, answers: _many(node.elts, answers),
    ast.Tuple: lambda node, answers: tuple(_many(node.elts, answers)),
    ast.Set: lambda node, answers: set(_many(node.elts, answers)),
    ast.Dict: _dict,
    ast.UnaryOp: _unary,
    ast.BinOp: _binary,
    ast.Compare: _compare,
    ast.BoolOp: _boolean,
    ast.Call: _call,
    ast.Subscript: _subscript,
}


def same_output(got: bytes, expected: str, compare: Literal["tokens", "exact", "float"]) -> bool:
    """Whether printed output is the expected one; see StdioTest."""
    wanted = expected.encode("utf-8", "surrogateescape")
    if compare == "exact":
        return got == wanted
    rows, wanted_rows = _rows(got), _rows(wanted)
    if compare == "tokens" or len(rows) != len(wanted_rows):
        return rows == wanted_rows
    return all(
        len(row) == len(other) and all(map(_close, row, other))
        for row, other in zip(rows, wanted_rows, strict=True)
    )


def _rows(text: bytes) -> list[list[bytes]]:
    return [tokens for line in text.splitlines() if (tokens := line.split())]


_NUMBER = re.compile(rb"[+-]?(\d{1,400}\.?\d{0,400}|\.\d{1,400})([eE][+-]?\d{1,4})?")


def _close(token: bytes, other: bytes) -> bool:
    """Equal, or both numbers within 1e-6 (nan and inf only as the same word)."""
    if token == other:
        return True
    if not (_NUMBER.fullmatch(token) and _NUMBER.fullmatch(other)):
        return False
    number, wanted = float(token), float(other)
    return math.isfinite(wanted) and math.isclose(number, wanted, rel_tol=1e-6, abs_tol=1e-6)
