"""What crosses the wall between a program and its judge."""

import collections
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.frames import pack, unpack
from sandbox.wire import _MAX_DEPTH, NotPlainData, decode, encode

HASHABLE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
    | st.binary() | st.complex_numbers(allow_nan=False),
    lambda inner: st.tuples(inner) | st.frozensets(inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
VALUES = st.recursive(
    HASHABLE | st.sets(HASHABLE, max_size=3),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(HASHABLE, inner),
    max_leaves=10,
)


def kinds(value):
    """The types of a value, all the way down; sets and dicts by their elements' types."""
    if isinstance(value, dict):
        return (dict, sorted(repr(kinds(item)) for item in value.items()))
    if isinstance(value, (list, tuple)):
        return (type(value), [kinds(item) for item in value])
    if isinstance(value, (set, frozenset)):
        return (type(value), sorted(repr(kinds(item)) for item in value))
    return type(value)


@given(VALUES)
def test_values_arrive_as_they_were(value):
    """Builtin data crosses with its exact types."""
    arrived = decode(unpack(pack(encode(value))[4:]))
    assert (arrived, kinds(arrived)) == (value, kinds(value))


def test_special_floats_arrive():
    """Infinities, nan and the sign of zero survive."""
    values = [float("inf"), float("-inf"), float("nan"), -0.0, 5e-324]
    assert repr(decode(unpack(pack(encode(values))[4:]))) == repr(values)


def test_relatives_of_builtin_types_cross_as_these():
    """Counter, defaultdict and named tuples become dict and tuple; iterators only if asked."""
    point = collections.namedtuple("point", "x y")(1, 2)
    values = [collections.Counter("aab"), collections.defaultdict(list, a=[1]), point]
    assert decode(encode(values)) == [{"a": 2, "b": 1}, {"a": [1]}, (1, 2)]
    assert list(decode(encode(map(abs, [-1, 2]), iterators=True))) == [1, 2]
    with pytest.raises(NotPlainData):
        encode(range(3))
    with pytest.raises(NotPlainData):
        encode((i for i in range(10**9)), iterators=True)


class Equal(int):
    """A number that agrees with everything."""

    def __eq__(self, other):
        return True

    __hash__ = int.__hash__


@pytest.mark.parametrize("value", [Equal(3), object(), lambda: 3, type, {"a": [Equal(1)]}])
def test_behaviour_does_not_cross(value):
    """Subclasses, functions and objects are refused, wherever they hide."""
    with pytest.raises(NotPlainData):
        encode(value)


def test_endless_nesting_is_refused_on_both_sides():
    """A list that contains itself, and JSON nested deeper than any honest answer."""
    cycle = []
    cycle.append(cycle)
    with pytest.raises(NotPlainData):
        encode(cycle)
    nested = 1
    for _ in range(_MAX_DEPTH + 2):
        nested = [nested]
    with pytest.raises(NotPlainData):
        decode(nested)


@given(st.binary() | st.recursive(
    st.none() | st.integers() | st.text("tdszbacfi", max_size=2),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("tdszbacfi", max_size=2), inner),
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_nonsense_is_refused_in_one_way(body):
    """Whatever bytes arrive, reading them gives a value or NotPlainData."""
    try:
        decode(unpack(body))
    except NotPlainData as error:
        assert str(error)


def test_colliding_keys_are_refused():
    """A set chosen so that all its hashes are equal would take the judge hours to build."""
    with pytest.raises(NotPlainData, match="collide"):
        decode({"s": [i * (2**61 - 1) for i in range(10_000)]})
