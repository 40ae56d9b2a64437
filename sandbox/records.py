"""Programs and outcomes as JSON objects: in files, over the network, in the cache."""

from __future__ import annotations

import math
from dataclasses import asdict, fields, replace
from typing import Any

from sandbox.outcomes import Outcome, TestResult
from sandbox.programs import Limits, Probe, Program, StdioTest

_TEXTS = ("entry_point", "stdin", "language", "mode")
_KNOWN = {"id", "code", "tests", "timeout_s", "memory_mb", "limits", *_TEXTS}
_MODES = (None, "calls", "split", "stdio", "inline")


def read_program(record: Any, limits: Limits) -> Program:
    """A program from JSON; raises ValueError that names the field.

    ``timeout_s`` is CPU seconds per test (all tests together may take twice that, or `limits.cpu_s`
    if that is more), ``memory_mb`` address space; ``limits`` may hold any field of Limits. What is
    not there is as in `limits`.
    """
    if not isinstance(record, dict):
        raise ValueError("a program is a JSON object")
    if unknown := sorted(set(record) - _KNOWN):
        raise ValueError(f"unknown field {unknown[0]!r}; fields are {', '.join(sorted(_KNOWN))}")
    name, code = record.get("id"), record.get("code")
    if not isinstance(name, str | int) or isinstance(name, bool):
        raise ValueError("'id' has to be text or an integer")
    if not isinstance(code, str):
        raise ValueError("'code' has to be text")
    given: dict[str, Any] = {key: record[key] for key in _TEXTS if record.get(key) is not None}
    for key, value in given.items():
        if not isinstance(value, str):
            raise ValueError(f"{key!r} has to be text")
    if given.get("mode") not in _MODES:
        raise ValueError(f"'mode' is one of calls, split, stdio, inline, not {given['mode']!r}")
    tests = record.get("tests") or []
    if not isinstance(tests, list):
        raise ValueError("'tests' has to be a list")
    made = tuple(_read_test(test) for test in tests)
    return Program(str(name), code, tests=made, limits=_read_limits(record, limits), **given)


def _read_test(test: Any) -> str | StdioTest | Probe:
    if isinstance(test, str):
        return test
    if not isinstance(test, dict):
        raise ValueError("a test is text, or an object with 'input' and 'output'")
    try:
        if set(test) == {"calls"}:
            return Probe(tuple(_read_call(*call) for call in test["calls"]))
        if set(test) == {"input"}:
            return Probe(input=_text(test["input"]))
        made = StdioTest(**test)
    except TypeError:
        raise ValueError("a test with 'input' needs 'output'; 'compare', 'checker' may") from None
    for text in (made.input, made.output, made.checker or ""):
        _text(text)
    if made.compare not in ("tokens", "exact", "float"):
        raise ValueError(f"'compare' is one of tokens, exact, float, not {made.compare!r}")
    return made


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("'input', 'output' and 'checker' of a test have to be text")
    return value


def _read_call(name: Any, arguments: Any, keywords: Any) -> tuple[str, list[Any], dict[str, Any]]:
    owner, _, method = str(name).partition("().")
    if not (owner.isidentifier() and (not method or method.isidentifier())):
        raise ValueError(f"{name!r} is not the name of a function")
    if not (isinstance(arguments, list) and isinstance(keywords, dict)):
        raise ValueError("the arguments of a call are a list and an object")
    return name, arguments, keywords


def _read_limits(record: dict[str, Any], limits: Limits) -> Limits:
    changes = dict(record.get("limits") or {})
    known = {field.name: field.type for field in fields(Limits)}
    if record.get("timeout_s") is not None:
        seconds = _number("timeout_s", record["timeout_s"])
        changes |= {"test_cpu_s": seconds, "cpu_s": max(limits.cpu_s, 2 * seconds)}
    if record.get("memory_mb") is not None:
        changes["memory_mb"] = record["memory_mb"]
    for name, value in changes.items():
        if name not in known:
            raise ValueError(f"unknown limit {name!r}; limits are {', '.join(known)}")
        number = _number(name, value)
        changes[name] = number if known[name] == "float" else math.ceil(number)
    return replace(limits, **changes)


def _number(name: str, value: Any) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 < value < 1e12:
        raise ValueError(f"{name!r} has to be a positive number, not {value!r}")
    return float(value)


def write_program(program: Program) -> dict[str, Any]:
    """The inverse of `read_program`."""
    record = {key: getattr(program, key) for key in ("id", "code", *_TEXTS)}
    record["tests"] = [_write_test(test) for test in program.tests]
    record["limits"] = None if program.limits is None else asdict(program.limits)
    return {key: value for key, value in record.items() if value is not None}


def _write_test(test: str | StdioTest | Probe) -> Any:
    if isinstance(test, str):
        return test
    if isinstance(test, StdioTest):
        return {key: value for key, value in asdict(test).items() if value is not None}
    return {"calls": list(test.calls)} if test.input is None else {"input": test.input}


def read_outcome(record: dict[str, Any]) -> Outcome:
    """An outcome from what `dataclasses.asdict` made of it."""
    tests = tuple(TestResult(**test) for test in record["tests"])
    return Outcome(**{**record, "tests": tests, "flags": tuple(record["flags"])})
