"""How values cross the wall: tagged JSON, exact builtin types, data only.

Int, float, str, bool, None and list are themselves; the other types are objects with one key.
Nothing read from the other side is ever executed, and what it can cost to read is bounded. Runs on
both sides, also under Python 3.9.
"""

from __future__ import annotations

import collections
import itertools
import types
from collections.abc import Iterable
from typing import Any

_MAX_DEPTH = 100
_MAX_ITEMS = 10_000  # taken from an iterator that a program returned
_MAX_COLLISIONS = 100
_PLAIN = (int, str, bool, type(None))
_TAGS: dict[Any, str] = {list: "", tuple: "t", set: "s", frozenset: "z"}
_DICTS = (dict, collections.Counter, collections.defaultdict, collections.OrderedDict)
_LAZY: tuple[Any, ...] = (iter([]), iter(()), iter({}), map(abs, []), zip(), filter(None, []))
_LAZY += (range(0), reversed([]), enumerate([]), {}.keys(), {}.values(), {}.items())
_ITERATORS = {type(thing) for thing in _LAZY} | {types.GeneratorType}
_DECODED: set[Any] = {type(iter([]))}  # an iterator on arrival; it can always be handed back


class NotPlainData(ValueError):
    """The value is not made of builtin data, or is too deep, too large or malformed."""


class TooDeep(NotPlainData):
    """The value is builtin data, but nested more than 100 times."""


def encode(value: Any, depth: int = 0, *, iterators: bool = False) -> Any:
    """Turn builtin data into JSON; a subclass, a cycle or anything with behaviour is refused.

    Counter, defaultdict and OrderedDict cross as dict, a named tuple as tuple, and, on request, an
    iterator as an iterator over its items, at most 10,000.
    """
    kind: Any = type(value)
    if kind in _PLAIN:
        return value
    if kind is float:
        return value if abs(value) < float("inf") else {"f": repr(value)}
    if kind in (bytes, bytearray):
        return {"b" if kind is bytes else "a": value.hex()}
    if kind is complex:
        return {"c": [repr(value.real), repr(value.imag)]}
    if depth >= _MAX_DEPTH:
        raise TooDeep("nested too deeply")

    def encode_all(items: Iterable[Any]) -> list[Any]:
        return [encode(item, depth + 1, iterators=iterators) for item in items]

    if kind in _DICTS:
        return {"d": [encode_all(pair) for pair in value.items()]}
    if kind in _TAGS:
        tag, items = _TAGS[kind], value
    else:
        tag, items = _unpack_rare(value, kind, iterators)
    return {tag: encode_all(items)} if tag else encode_all(items)


def _unpack_rare(value: Any, kind: Any, iterators: bool) -> tuple[str, Iterable[Any]]:
    """The tag and the items of named tuples and iterators."""
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return "t", tuple.__iter__(value)
    if kind not in (_ITERATORS if iterators else _DECODED):
        raise NotPlainData(f"not plain data: {kind.__name__}")
    items = list(itertools.islice(value, _MAX_ITEMS + 1))
    if len(items) > _MAX_ITEMS:
        raise NotPlainData(f"an iterator of more than {_MAX_ITEMS} items")
    return "i", items


def decode(value: Any, depth: int = 0) -> Any:
    """The inverse of `encode` for untrusted JSON; raises NotPlainData."""
    if depth > _MAX_DEPTH:
        raise NotPlainData("nested too deeply")
    if type(value) is list:
        return [decode(item, depth + 1) for item in value]
    if type(value) is not dict:
        return value
    if len(value) != 1:
        raise NotPlainData("malformed value")
    ((tag, content),) = value.items()
    try:
        return _decode_tagged(tag, content, depth + 1)
    except NotPlainData:
        raise
    except (TypeError, ValueError) as error:
        raise NotPlainData(f"malformed value: {error}") from None


def _decode_tagged(tag: str, content: Any, depth: int) -> Any:
    if tag == "f":
        return float(content)
    if tag == "c":
        return complex(float(content[0]), float(content[1]))
    if tag in "ba":
        return (bytes if tag == "b" else bytearray).fromhex(content)
    items = [decode(item, depth) for item in content]
    if tag == "t":
        return tuple(items)
    if tag == "i":
        return iter(items)
    if tag == "d":
        return dict(_spread(items, key=0))
    if tag in "sz":
        return (set if tag == "s" else frozenset)(_spread(items))
    raise NotPlainData("malformed value")


def _spread(items: list[Any], key: int | None = None) -> list[Any]:
    """Refuse keys that were chosen to collide: building their table would take hours."""
    hashes = collections.Counter(hash(item if key is None else item[key]) for item in items)
    if hashes and max(hashes.values()) > _MAX_COLLISIONS:
        raise NotPlainData("keys that collide")
    return items
