"""Where each test of a program runs: the strongest mode that can express it.

calls > split > inline. Inline, in the program's own process, is for tests that need its objects:
classes, module variables, arguments changed in place, unittest and pytest files. The place is told
from the test alone: a program that could choose would have its tests move in with it.
"""

from __future__ import annotations

import ast
import builtins
import functools
import sys
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from sandbox.asserts import MAX_SOURCE, Call, Check, find_checks, parse
from sandbox.literals import translate
from sandbox.programs import Probe, Program, StdioTest

Place = Literal["calls", "split", "inline", "stdio", "impossible"]
_REMEMBERED = 1 << 14  # characters; longer tests are planned each time
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
        return _plan_probe(index, test)
    if isinstance(test, StdioTest):
        if program.mode not in (None, "stdio"):
            return Planned(index, "impossible", problem=f"mode {program.mode} has no stdin")
        return Planned(index, "stdio", stdio=test)
    if program.language != "python":
        return replace(_plan_foreign(test, program), index=index)
    plan = _plan_code if len(test) <= _REMEMBERED else _plan_code.__wrapped__
    planned = plan(test, program.entry_point, program.mode)
    return replace(planned, index=index) if index else planned


def _plan_probe(index: int, probe: Probe) -> Planned:
    if probe.input is not None:
        return Planned(index, "stdio", stdio=StdioTest(probe.input, ""), probe=True)
    checks = [Check(tuple(Call(*call) for call in probe.calls), ast.Constant(True))]
    return Planned(index, "calls", checks=checks, probe=True)


def _plan_foreign(test: str, program: Program) -> Planned:
    """Assertions are for every language; there is no process here to run other code in."""
    checks = None
    if program.mode in (None, "calls") and len(test) <= MAX_SOURCE:
        try:
            checks = find_checks(parse(test), program.entry_point)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return Planned(0, "impossible", problem="the test does not parse as Python assertions")
    checks = translate(checks, program.language) if checks is not None else None
    if checks is None:
        why = f"a test of {program.language} has to be assertions over calls with literal arguments"
        return Planned(0, "impossible", problem=why)
    return Planned(0, "calls", test, checks)


@functools.lru_cache(maxsize=1024)  # the programs of one problem come with the same tests
def _plan_code(test: str, entry_point: str | None, mode: str | None) -> Planned:
    try:
        return _place(test, entry_point, mode)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        problem = f"the test does not parse: {type(error).__name__}"
        return Planned(0, "impossible", problem=problem)


def _place(test: str, entry_point: str | None, mode: str | None) -> Planned:
    tree = parse(test)
    if mode == "inline":
        return Planned(0, "inline", test)
    if mode in (None, "calls") and len(test) <= MAX_SOURCE:
        checks = find_checks(tree, entry_point or _shadowed(tree))
        if checks is not None:
            return Planned(0, "calls", test, checks)
        tree = parse(test)  # find_checks took the other one apart
    if mode in ("calls", "stdio"):
        return Planned(0, "impossible", problem=f"the test cannot run in mode {mode}")
    split = _plan_split(test, tree)
    names = set(split.names)
    if mode == "split" or not (
        _needs_objects(tree, names) or _uses_objects(tree, names, entry_point)
    ):
        return split
    return Planned(0, "inline", test)


def _plan_split(test: str, tree: ast.Module) -> Planned:
    shadowed = _shadowed(tree)
    names = {shadowed} if shadowed else _free_names(tree) | _from_solution(tree)
    modules = {name for name in names if name in sys.stdlib_module_names}
    return Planned(0, "split", test, names=sorted(names - modules), modules=sorted(modules))


def demote(test: Planned, mode: str | None) -> Planned:
    """The next weaker place for a test that its own could not run, unless its author insists.

    An answer can move a test out of "calls", and no answer may bring it into the program's process.
    """
    if mode is not None:
        problem = f"the test cannot run in mode {mode}"
        return Planned(test.index, "impossible", problem=problem)
    if test.place == "calls":
        return replace(_plan_split(test.source, parse(test.source)), index=test.index)
    return Planned(test.index, "inline", test.source)


def _free_names(tree: ast.Module) -> set[str]:
    """Names that the test reads and never binds, builtins apart."""
    read: set[str] = set()
    bound = set(dir(builtins)) | {"candidate"}
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


def _shadowed(tree: ast.Module) -> str | None:
    """The builtin that a test must mean the program's function by, as it names nothing else of it.

    ``assert sum(10, 15) == 6`` is a test of MBPP.
    """
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    called = {function.id for function in calls if isinstance(function, ast.Name)}
    named = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} & {"candidate"}
    if len(called) != 1 or not called <= set(dir(builtins)):
        return None
    return None if named | _free_names(tree) | _from_solution(tree) else called.pop()


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
