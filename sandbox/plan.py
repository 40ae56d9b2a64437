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

from sandbox.asserts import MAX_SOURCE, Call, Check, find_checks
from sandbox.literals import translate
from sandbox.programs import Probe, Program, StdioTest

Place = Literal["calls", "split", "inline", "stdio", "impossible"]


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
    probe: bool = False  # the answers are wanted, not a judgement

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
    if isinstance(test, Probe):
        checks = [Check(tuple(Call(*call) for call in test.calls), ast.Constant(True))]
        stdio = None if test.input is None else StdioTest(test.input, "")
        place: Place = "calls" if stdio is None else "stdio"
        return Planned(index, place, "", checks, stdio=stdio, probe=True)
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
    tree = ast.parse(test)
    place = program.mode
    if program.language != "python":
        return _plan_foreign(program, index, test, tree)
    if place == "inline":
        return Planned(index, "inline", test)
    if place in (None, "calls") and len(test) <= MAX_SOURCE:
        checks = find_checks(tree, program.entry_point)
        if checks is not None:
            return Planned(index, "calls", test, checks)
        tree = ast.parse(test)  # find_checks took the other one apart
    if place in ("calls", "stdio"):
        return Planned(index, "impossible", problem=f"the test cannot run in mode {place}")
    return plan_execution(program, index, test, tree, forced=place == "split")


def _plan_foreign(program: Program, index: int, test: str, tree: ast.Module) -> Planned:
    """Assertions are for every language; there is no process here to run other code in."""
    checks = find_checks(tree, program.entry_point) if program.mode in (None, "calls") else None
    checks = translate(checks, program.language) if checks is not None else None
    if checks is None:
        why = f"a test of {program.language} has to be assertions over calls with literal arguments"
        return Planned(index, "impossible", problem=why)
    return Planned(index, "calls", test, checks)


def plan_execution(
    program: Program, index: int, test: str, tree: ast.Module, *, forced: bool = False
) -> Planned:
    """Split if the test only calls functions of the program, else inline."""
    names = _free_names(tree) | _from_solution(tree)
    modules = {name for name in names if name in sys.stdlib_module_names}
    names -= modules
    split = Planned(index, "split", test, names=sorted(names), modules=sorted(modules))
    if forced or not (_needs_objects(tree, names) or names & _objects(program.code)):
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


def _objects(code: str) -> set[str]:
    """The program's module-level names that are not functions."""
    try:
        body = ast.parse(code).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    found = {node.name for node in body if isinstance(node, ast.ClassDef)}
    for node in body:
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
    return found
