"""Where each test of a program runs: the strongest mode that can express it.

calls > split > inline. Inline, in the program's own process, is for tests that need its objects:
classes, module variables, arguments changed in place, unittest and pytest files.
"""

from __future__ import annotations

import ast
import builtins
import sys
from dataclasses import dataclass, field
from typing import Any, Literal

from sandbox.asserts import MAX_SOURCE, Check, find_checks, parse
from sandbox.programs import Program, StdioTest

Place = Literal["calls", "split", "inline", "stdio", "impossible"]
_DATA = (int, float, complex, str, bytes, bytearray, list, tuple, dict, set, frozenset)
_DATA_ATTRIBUTES = {name for kind in _DATA for name in dir(kind)} | {"__next__"}


@dataclass(frozen=True)
class Planned:
    """One test and its place; `problem` says why it is impossible."""

    index: int
    place: Place
    source: str = ""
    checks: list[Check] = field(default_factory=list)
    names: list[str] = field(default_factory=list)  # that the program has to supply (split)
    modules: list[str] = field(default_factory=list)  # that the program may have imported
    stdio: StdioTest | None = None
    problem: str | None = None

    def wire(self) -> dict[str, Any]:
        """What the process that runs the test has to know."""
        return {
            "index": self.index,
            "source": self.source,
            "names": self.names,
            "modules": self.modules,
        }


def plan_test(program: Program, index: int) -> Planned:
    """Decide where a test runs; never raises for what the test contains."""
    test = program.tests[index]
    if isinstance(test, StdioTest):
        if program.mode not in (None, "stdio"):
            return Planned(index, "impossible", problem=f"mode {program.mode} has no stdin")
        return Planned(index, "stdio", stdio=test)
    try:
        return _plan_code(program, index, test)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        problem = f"the test does not parse: {type(error).__name__}"
        return Planned(index, "impossible", problem=problem)


def _plan_code(program: Program, index: int, test: str) -> Planned:
    tree = parse(test)
    place = program.mode
    if place == "inline":
        return Planned(index, "inline", test)
    if place in (None, "calls") and len(test) <= MAX_SOURCE:
        checks = find_checks(tree, program.entry_point)
        if checks is not None:
            return Planned(index, "calls", test, checks)
        tree = parse(test)  # find_checks took the other one apart
    if place in ("calls", "stdio"):
        return Planned(index, "impossible", problem=f"the test cannot run in mode {place}")
    return plan_execution(program, index, test, tree, forced=place == "split")


def plan_execution(
    program: Program, index: int, test: str, tree: ast.Module, *, forced: bool = False
) -> Planned:
    """Split if the test only calls functions of the program, else inline."""
    names = _free_names(tree) | _from_solution(tree)
    modules = {name for name in names if name in sys.stdlib_module_names}
    names -= modules
    split = Planned(index, "split", test, names=sorted(names), modules=sorted(modules))
    needs_objects = _needs_objects(tree, names) or _uses_objects(tree, names, program.entry_point)
    if forced or not needs_objects:
        return split
    return Planned(index, "inline", test)


def _free_names(tree: ast.Module) -> set[str]:
    """Names that the test reads and never binds, builtins apart."""
    read: set[str] = set()
    bound = set(dir(builtins)) | {"candidate", "solution"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {(a.asname or a.name).partition(".")[0] for a in node.names}
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bound.add(node.name)
    return read - bound


def _from_solution(tree: ast.Module) -> set[str]:
    """Names taken from the module ``solution``."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "solution":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "solution":
            found.add(node.attr)
    return found


def _needs_objects(tree: ast.Module, names: set[str]) -> bool:
    """Whether the test is a unittest or pytest file, or looks at arguments changed in place."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            return True
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None) or node.names[0].name
            if module.partition(".")[0] in ("unittest", "pytest"):
                return True
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            call = node.value
            program = ast.unparse(call.func) in names | {"candidate"}
            if program and any(isinstance(a, ast.Name) for a in call.args):
                return True
    return False


def _uses_objects(tree: ast.Module, names: set[str], entry_point: str | None) -> bool:
    """Whether the test uses a name of the program as a class or a variable.

    Told from the test alone: a program that could choose would have its tests move in with it.
    """
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    functions = {id(call.func) for call in calls}
    functions |= {id(argument) for call in calls for argument in call.args}
    functions |= {id(keyword.value) for call in calls for keyword in call.keywords}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in names and isinstance(node.ctx, ast.Load):
            is_class = node.id.lstrip("_")[:1].isupper() and node.id != entry_point
            if is_class or id(node) not in functions:
                return True
    return _asks_more_than_data(tree, names | {"candidate"})


def _asks_more_than_data(tree: ast.Module, names: set[str]) -> bool:
    """Whether an attribute of an answer is read that no builtin data has."""
    holders: set[str] = set()

    def is_answer(node: ast.AST) -> bool:
        if isinstance(node, ast.Name):
            return node.id in holders
        return isinstance(node, ast.Call) and ast.unparse(node.func) in names

    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and is_answer(node.value):
            holders |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    asked = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    return any(node.attr not in _DATA_ATTRIBUTES and is_answer(node.value) for node in asked)
