"""Assertions written in Python, for programs in other languages: what a value is called there."""

from __future__ import annotations

import ast
from typing import Any

from sandbox.asserts import Check

_EXACT = 1 << 53  # integers beyond it are not exact in JavaScript
_LONG = 1 << 63  # nor do they exist in C++


class _Foreign(ast.NodeTransformer):
    """Tuples become lists; in JavaScript the keys of an object become text."""

    def __init__(self, *, text_keys: bool) -> None:
        self._text_keys = text_keys

    def visit_Tuple(self, node: ast.Tuple) -> ast.AST:
        """A tuple is an array."""
        return self.generic_visit(ast.List(node.elts, ast.Load()))

    def visit_Set(self, node: ast.Set) -> ast.AST:
        """A set holds plain values only: a list in it could not be hashed."""
        if any(not isinstance(item, ast.Constant | ast.UnaryOp) for item in node.elts):
            raise ValueError("a set of tuples")
        return node

    def visit_Dict(self, node: ast.Dict) -> ast.AST:
        """Keys are plain, and text where the language has no others."""
        for key in node.keys:
            if not isinstance(key, ast.Constant | ast.UnaryOp):
                raise ValueError("a key that is not plain")
        if self._text_keys:
            node.keys = [ast.Constant(str(ast.literal_eval(key))) for key in node.keys if key]
        node.values = [self.visit(value) for value in node.values]
        return node


def translate(checks: list[Check], language: str) -> list[Check] | None:
    """The same checks for answers from another language, or None if that cannot be said."""
    javascript = language not in ("cpp", "c++")
    foreign = _Foreign(text_keys=javascript)
    limit = _EXACT if javascript else _LONG
    for check in checks:
        for call in check.calls:
            if call.keywords or not _fits(call.arguments, limit):
                return None
    try:
        return [Check(check.calls, foreign.visit(check.condition)) for check in checks]
    except ValueError:
        return None


def _fits(value: Any, limit: int) -> bool:
    """Whether an encoded argument exists in the other language."""
    if isinstance(value, list):
        return all(_fits(item, limit) for item in value)
    if isinstance(value, dict):
        return not {"b", "a", "c"} & set(value) and _fits(list(value.values()), limit)
    return not isinstance(value, int) or -limit <= value <= limit - 1
