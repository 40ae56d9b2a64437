"""The tripwire of mode inline: a test that must fail, to see whether the program lets it.

A program that shares the process with its tests can forge a pass. So each passing test is run again
with its expected values replaced by random ones: an honest program fails it. Catches 8 of the 9
in-process forgeries of the attack corpus; input changed in place (F18) is not among them.
"""

from __future__ import annotations

import ast
import os
import re
from typing import Any

from sandbox.asserts import parse

_EQUALITY = (ast.Eq, ast.Is, ast.In)
_METHODS = {"assertEqual", "assertEquals", "assertIs", "assertIn", "assertAlmostEqual"}
_METHODS |= {"assertListEqual", "assertDictEqual", "assertTupleEqual", "assertSetEqual"}
_SUSPICIOUS = re.compile(
    r"sys\._getframe|\bgc\.|settrace|setprofile|\b_exit\b|\batexit\b|\bctypes\b|excepthook"
    r"|__eq__|__reduce|AssertionError|\bbuiltins\b|sys\.modules|\bunittest\b|\bpytest\b"
)


def _other(node: ast.expr) -> ast.expr:
    """A random value of the same kind, so that a program that looks for it takes it as well."""
    if isinstance(node, ast.List | ast.Tuple) and node.elts:
        return type(node)([_other(node.elts[0]), *node.elts[1:]], ast.Load())
    value = node.value if isinstance(node, ast.Constant) else None
    if isinstance(value, bool):
        return ast.Constant(not value)
    if isinstance(value, int | float):
        return ast.Constant(value + 1 + int.from_bytes(os.urandom(2), "big"))
    return ast.Constant(f"tripwire {os.urandom(8).hex()}")


class _Falsified(ast.NodeTransformer):
    """Replaces expected values by random ones, in assertions only."""

    def __init__(self) -> None:
        self.changes = 0

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        """Falsify a plain assertion."""
        node.test = self._falsify(node.test)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Falsify a unittest assertion."""
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if name in _METHODS and len(node.args) > 1:
            other = _other(node.args[1])
            node.args[1] = ast.List([other], ast.Load()) if name == "assertIn" else other
            self.changes += 1
        elif name in ("assertTrue", "assertFalse") and node.args:
            node.args[0] = ast.UnaryOp(ast.Not(), node.args[0])
            self.changes += 1
        return self.generic_visit(node)

    def _falsify(self, test: Any) -> ast.expr:
        if isinstance(test, ast.Compare) and isinstance(test.ops[-1], _EQUALITY):
            other = _other(test.comparators[-1])
            is_in = isinstance(test.ops[-1], ast.In)
            test.comparators[-1] = ast.List([other], ast.Load()) if is_in else other
            self.changes += 1
            return ast.copy_location(test, test)
        numbers = _Shifted()
        shifted: ast.expr = numbers.visit(test)
        if numbers.changes:
            self.changes += numbers.changes
            return shifted
        self.changes += 1
        return ast.UnaryOp(ast.Not(), test)


class _Shifted(ast.NodeTransformer):
    """Moves the expected number of ``abs(x - number)`` and ``isclose(x, number)``."""

    def __init__(self) -> None:
        self.changes = 0

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        """Replace what is subtracted."""
        if isinstance(node.op, ast.Sub):
            node.right = self._number(node.right)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Replace the second argument of isclose; look into abs and the like."""
        if ast.unparse(node.func).endswith("isclose") and len(node.args) > 1:
            node.args[1] = self._number(node.args[1])
            return node
        return self.generic_visit(node) if ast.unparse(node.func) == "abs" else node

    def _number(self, node: ast.expr) -> ast.expr:
        self.changes += 1
        value = node.value if isinstance(node, ast.Constant) else None
        return _other(node if isinstance(value, int | float) else ast.Constant(1e9))


def falsify(source: str) -> str | None:
    """The test with every expectation made false, or None if it has none that can be."""
    change = _Falsified()
    try:
        tree = change.visit(parse(source))
        return ast.unparse(ast.fix_missing_locations(tree)) if change.changes else None
    except RecursionError:
        return None


def suspicious_words(code: str) -> list[str]:
    """What in a program's text an honest solution seldom needs, as flags ``uses:...``."""
    return sorted({f"uses:{word.strip('.')}" for word in _SUSPICIOUS.findall(code)})
