"""Running arbitrary test code inside a jail: against proxies (split) or in place (inline).

In split the program is another process. Each call carries a random number that its answer must
repeat, so an answer sent before the question is an error, and exceptions come back by name.
A test passes if it runs to its end, its check and test functions included, having made at least one
assertion or call; a test that checks nothing proves nothing.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import os
import sys
import types
from collections.abc import Callable
from typing import Any

from sandbox.frames import pack, read_message, write_all
from sandbox.wire import NotPlainData, TooDeep, decode, encode

_COUNT = "__count_check__"


class _ProgramLost(BaseException):
    """The program's process died or broke the protocol; no test may catch this by accident."""


class _NoAnswer(BaseException):
    """The program returned something that is not plain data."""


class _CannotSplit(BaseException):
    """A test hands the program something that is not plain data."""


class Link:
    """The question-and-answer line to the program's process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.lost: str | None = None
        self.calls = 0

    def greet(self) -> list[str]:
        """What the program says when it is loaded: "ready", or "broken" and why, or "gone"."""
        try:
            greeting = read_message(self._descriptor)
        except (EOFError, OSError, NotPlainData):
            return ["gone"]
        if greeting == ["ready"]:
            return ["ready"]
        if type(greeting) is list and len(greeting) == 3 and greeting[0] == "broken":
            return [str(word)[:300] for word in greeting]
        return ["gone"]

    def ask(self, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Call a function of the program; raises what it raised, by name."""
        if self.lost is not None:
            raise _ProgramLost(self.lost)
        number = int.from_bytes(os.urandom(6), "big")
        try:
            question = [number, name, [encode(a) for a in arguments]]
            question.append({k: encode(v) for k, v in keywords.items()})
        except TooDeep as error:  # perhaps what the program answered: no reason to move in with it
            raise RecursionError(str(error)) from None
        except NotPlainData as error:
            raise _CannotSplit(str(error)) from None
        self.calls += 1
        answer = self._exchange(question)
        if type(answer) is not list or len(answer) < 3 or answer[0] != number:
            self._lose("protocol")
        if answer[1] == "value":
            return _decoded(answer[2])
        if answer[1] == "opaque":
            raise _NoAnswer(str(answer[2])[:300])
        raise _exception(str(answer[2]), str(answer[3]) if len(answer) > 3 else "")

    def _exchange(self, question: list[Any]) -> Any:
        try:
            write_all(self._descriptor, pack(question))
            return read_message(self._descriptor)
        except (EOFError, OSError):
            self._lose("died")
        except NotPlainData:
            self._lose("protocol")

    def _lose(self, why: str) -> None:
        self.lost = why
        raise _ProgramLost(why)


def _decoded(value: Any) -> Any:
    try:
        return decode(value)
    except NotPlainData as error:
        raise _NoAnswer(str(error)) from None


def _exception(name: str, message: str) -> Exception:
    """An exception of the same name; one that no ``except Exception`` caught becomes catchable.

    StopIteration would end the test's loop over answers as if all had been compared: as in a
    generator (PEP 479), it is a RuntimeError here.
    """
    if name in ("StopIteration", "StopAsyncIteration"):
        return RuntimeError(f"the program raised {name}")
    kind = getattr(builtins, name, None)
    if not (isinstance(kind, type) and issubclass(kind, Exception)):
        kind = type(name, (Exception,), {})
    try:
        error: Exception = kind(message)
    except TypeError:  # UnicodeDecodeError and the like want more
        error = type(name, (kind,), {"__init__": lambda self, *_: None})(message)
    return error


class _Counted(ast.NodeTransformer):
    """Counts the assertions that are really reached."""

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        """Put a count before the assertion."""
        count = ast.Expr(ast.Call(ast.Name(_COUNT, ast.Load()), [], []))
        return [ast.copy_location(count, node), node]  # type: ignore[return-value]


def _run(source: str, namespace: dict[str, Any], entry: Any, calls: Callable[[], int]) -> list[Any]:
    """Run test code and its test functions; returns [status, exception or None]."""
    checks = 0

    def count() -> None:
        nonlocal checks
        checks += 1

    namespace[_COUNT] = count
    try:
        tree = ast.fix_missing_locations(_Counted().visit(ast.parse(source)))
        exec(compile(tree, "tests.py", "exec"), namespace)
        checks += _run_functions(tree, namespace, entry)
    except AssertionError as error:
        return ["fail", f"AssertionError: {_text(error)}".removesuffix(": ")]
    except _ProgramLost as error:
        return [str(error), None]
    except _NoAnswer as error:
        return ["fail", str(error)]
    except _CannotSplit as error:
        return ["unsplit", str(error)]
    except MemoryError:
        return ["oom", "MemoryError"]
    except BaseException as error:
        return ["error", f"{type(error).__name__}: {_text(error)}"[:300]]
    if not checks and not calls():
        return ["error", "the test checked nothing"]
    return ["pass", None]


def _text(error: BaseException) -> str:
    try:
        return str(error)[:250]
    except BaseException:
        return ""


def _run_functions(tree: ast.Module, namespace: dict[str, Any], entry: Any) -> int:
    """Call check(candidate) and test_*() unless the code did so itself; run unittest classes."""
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    called = {function.id for function in calls if isinstance(function, ast.Name)}
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef) or node.name in called:
            continue
        wants = len(inspect.signature(namespace[node.name]).parameters)
        if node.name == "check" and wants == 1:
            namespace["check"](entry)
        elif node.name.startswith("test") and not wants:
            namespace[node.name]()
    classes = [namespace[node.name] for node in tree.body if isinstance(node, ast.ClassDef)]
    return sum(_run_class(cls) for cls in classes)


def _run_class(cls: type) -> int:
    """Run a unittest.TestCase or a plain Test class; returns how many test methods ran."""
    unittest: Any = importlib.import_module("unittest")
    if issubclass(cls, unittest.TestCase):
        result = unittest.TestResult()
        unittest.defaultTestLoader.loadTestsFromTestCase(cls).run(result)
        if result.errors:
            raise RuntimeError(result.errors[0][1].strip().splitlines()[-1])
        if result.failures or result.unexpectedSuccesses:
            raise AssertionError(next((f[1] for f in result.failures), "unexpected success")[-250:])
        return int(result.testsRun)
    methods = [name for name in vars(cls) if name.startswith("test")] if _is_test(cls) else []
    for name in methods:
        getattr(cls(), name)()
    return len(methods)


def _is_test(cls: type) -> bool:
    return cls.__name__.startswith("Test")


def _proxy(link: Link, name: str) -> Callable[..., Any]:
    def call(*arguments: Any, **keywords: Any) -> Any:
        return link.ask(name, arguments, keywords)

    call.__name__ = name
    return call


def run_split(test: dict[str, Any], entry: str | None, link: Link) -> list[Any]:
    """Run one test whose unknown names are functions of the program behind the link."""
    namespace: dict[str, Any] = {"__name__": "tests", "__builtins__": builtins}
    solution = types.ModuleType("solution")
    sys.modules["solution"] = solution
    for name in test["names"]:
        namespace[name] = _proxy(link, name)
        setattr(solution, name, namespace[name])
    candidate = None
    if entry:
        candidate = namespace["candidate"] = namespace[entry] = _proxy(link, entry)
    for name in test["modules"]:
        namespace[name] = importlib.import_module(name)
    before = link.calls
    return _run(test["source"], namespace, candidate, lambda: link.calls - before)


def run_inline(test: dict[str, Any], entry: str | None, module: types.ModuleType) -> list[Any]:
    """Run one test in the program's own namespace."""
    namespace = module.__dict__
    candidate = None
    if entry:
        owner, made, method = entry.partition("().")
        found = namespace.get(owner)
        candidate = getattr(found(), method, None) if made and callable(found) else found
        namespace["candidate"] = candidate
    return _run(test["source"], namespace, candidate, lambda: 0)
