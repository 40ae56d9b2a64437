"""The recipes that there are: found by folder, described without importing them, called with flags.

Finding reads the source only, so that `tamis list` and a misspelt name cost no import of prefect.
"""

import ast
import difflib
import inspect
import re
import sys
import types
import typing
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Literal, NamedTuple

import yaml

from pipeline.checkout import ROOT
from pipeline.errors import UserError

_RAN_ON = re.compile(r"^Ran on: (.+)$", re.MULTILINE)


class Entry(NamedTuple):
    """A recipe as its file says it."""

    name: str
    module: str
    paper: str
    output: str
    ran_on: str
    title: str


def find_recipes() -> list[Entry]:
    """Read every flows/<family>/<file>.py for its `@recipe` functions, sorted by name."""
    entries = []
    for file in sorted((ROOT / "flows").glob("*/*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        text = ast.get_docstring(tree) or ""
        title, ran_on = text.partition("\n")[0], _RAN_ON.search(text)
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and (facts := _recipe_facts(node)) is not None:
                where = ran_on[1] if ran_on else ""
                facts |= {"ran_on": where, "title": title}
                entries.append(Entry(name=node.name, module=module, **facts))
    return sorted(entries)


def _recipe_facts(node: ast.FunctionDef) -> dict[str, str] | None:
    for mark in node.decorator_list:
        if isinstance(mark, ast.Call) and getattr(mark.func, "id", "") == "recipe":
            return {k.arg: ast.literal_eval(k.value) for k in mark.keywords if k.arg is not None}
    return None


def load_recipe(name: str) -> Any:
    """Import the recipe called `name`; UserError with the nearest names if there is none."""
    entries = {entry.name: entry for entry in find_recipes()}
    wanted = name.replace("-", "_")
    if wanted not in entries:
        near = difflib.get_close_matches(wanted, entries, n=3, cutoff=0.6)
        hint = f"did you mean {' or '.join(near)}?" if near else "see tamis list"
        raise UserError(f"there is no recipe '{name}' among {len(entries)}; {hint}")
    sys.path[:0] = [] if str(ROOT) in sys.path else [str(ROOT)]
    return getattr(import_module(entries[wanted].module), wanted)


def parameters_of(function: Any) -> dict[str, inspect.Parameter]:
    """Return a recipe's parameters with resolved types."""
    plain = inspect.unwrap(getattr(function, "fn", function))
    hints = typing.get_type_hints(plain)
    return {
        name: parameter.replace(annotation=hints[name])
        for name, parameter in inspect.signature(plain).parameters.items()
    }


def resolve(function: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return every parameter of a recipe (or function): given ones checked, others by default.

    Text from the command line is read as YAML (4, 0.7, true, null, [a, b]); `columns.prompt=x` sets
    one key of a mapping. Raises UserError for an unknown name (with the nearest) or a wrong type.
    """
    known = parameters_of(function)
    values = {name: parameter.default for name, parameter in known.items()}
    for key, value in given.items():
        name, _, inner = key.partition(".")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"it takes: {', '.join(known)}"
            raise UserError(f"there is no parameter '{name}'; {hint}")
        if inner:
            value = {**(values[name] or {}), inner: value}
        values[name] = _fit(name, value, known[name].annotation)
    missing = [name for name, value in values.items() if value is inspect.Parameter.empty]
    if missing:
        raise UserError(f"{', '.join(missing)}: no value; give one with --set NAME=VALUE")
    return values


def read_settings(pairs: list[str]) -> dict[str, Any]:
    """Read ["k=8", "model=torch:x"] from the command line into values."""
    settings: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise UserError(f"--set {pair}: write it as name=value")
        try:
            settings[name.strip()] = yaml.safe_load(text) if text else ""
        except yaml.YAMLError:
            settings[name.strip()] = text
    return settings


def _fit(name: str, value: Any, kind: Any) -> Any:
    """Return `value` as `kind`; whole numbers serve as floats, anything else must match."""
    if _matches(value, kind):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and _matches(float(value), kind):
        return float(value)
    if _matches(str(value), kind) and isinstance(value, int | float | bool):
        return str(value)
    raise UserError(f"parameter {name} = {value!r} is not {describe(kind)}")


def _matches(value: Any, kind: Any) -> bool:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return True
    if origin is Literal:
        return value in inner
    if origin in (typing.Union, types.UnionType):
        return any(_matches(value, one) for one in inner)
    if origin is dict:
        return isinstance(value, dict) and all(
            _matches(k, inner[0]) and _matches(v, inner[1]) for k, v in value.items()
        )
    if origin in (list, tuple):
        return isinstance(value, list | tuple) and all(_matches(one, inner[0]) for one in value)
    return isinstance(value, kind) and not (kind in (int, float) and isinstance(value, bool))


def describe(kind: Any) -> str:
    """Say a type as a person would: "one of prop2diff, uniform", "a number", "text or nothing"."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(describe(one) for one in inner)
    if origin is dict:
        return "a mapping (name.key=value)"
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    return "null" if kind is type(None) else names.get(kind, getattr(kind, "__name__", str(kind)))
