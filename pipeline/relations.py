"""Between two generations: replies into columns, tables joined and stacked."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import pyarrow as pa

from pipeline.errors import UserError
from pipeline.operators import sift
from pipeline.schema import Sifted
from pipeline.steps import step

Columns = Mapping[str, pa.DataType]


class Reader(Protocol):
    """Reads one completion: new columns, or a word that says why there are none."""

    __name__: str
    version: int
    columns: Columns

    def __call__(self, row: Mapping[str, Any], /) -> Mapping[str, Any] | str:
        """Return a value for each of `columns`; must not raise for what a completion contains."""
        ...


def reader(columns: Columns, *, version: int = 1) -> Callable[[Any], Any]:
    """Mark a function as a `Reader`: the columns it fills, and its version in digests."""

    def mark(function: Any) -> Any:
        function.columns, function.version = dict(columns), version
        return function

    return mark


@step()
def parse(rollouts: pa.Table, asked: pa.Table | None = None, *, reader: Reader) -> Sifted:
    """Turn each completion into the columns of `reader`, in place of any of the same name.

    `asked` are the rows that were sampled: rollouts get the columns of theirs, so that the reader
    and the next template see all that came before. `parents` are the rollout, what `asked` came
    from, and its id. Reasons to leave: unanswered, truncated, and what the reader says.
    """
    whole = rollouts if asked is None else join(rollouts, asked).kept
    rows = whole.to_pylist()
    found = [_unusable(row) or reader(row) for row in rows]
    reasons = [one if isinstance(one, str) else None for one in found]
    kept, dropped, *_ = sift(whole, reasons)
    read = [one for one in found if not isinstance(one, str)]
    lines = _ancestors(asked)
    led = [
        list(dict.fromkeys([row["rollout_id"], *lines.get(row["id"], ()), *row["parents"]]))
        for row, one in zip(rows, found, strict=True)
        if not isinstance(one, str)
    ]
    made = {"parents": pa.array(led, pa.list_(pa.string()))}
    made |= {
        name: pa.array([one[name] for one in read], kind) for name, kind in reader.columns.items()
    }
    return Sifted(_with(kept, made), dropped)


@step()
def join(rows: pa.Table, others: pa.Table, *, on: str = "id") -> Sifted:
    """Give rows the columns that they lack and `others` has, where column `on` is equal.

    Rows without a partner leave (no_match). Raises UserError if `others` repeats a key.
    """
    places = {key: place for place, key in enumerate(others[on].to_pylist())}
    if len(places) < len(others):
        raise UserError(
            f"join: {len(others)} rows to join with have {len(places)} different values of "
            f"'{on}'; each may stand there once"
        )
    found = [places.get(key) for key in rows[on].to_pylist()]
    kept, dropped, *_ = sift(rows, [None if place is not None else "no_match" for place in found])
    partners = others.take(pa.array([place for place in found if place is not None], pa.int64()))
    new = [name for name in others.column_names if name not in rows.column_names]
    return Sifted(_with(kept, {name: partners[name] for name in new}), dropped)


@step()
def concat(tables: Sequence[pa.Table]) -> pa.Table:
    """Stack tables; a column that one of them lacks is null there."""
    return pa.concat_tables(tables, promote_options="permissive")


def _ancestors(asked: pa.Table | None) -> dict[str, list[str]]:
    """Return what each row that was sampled came from, by its id."""
    if asked is None or "parents" not in asked.column_names:
        return {}
    return dict(zip(asked["id"].to_pylist(), asked["parents"].to_pylist(), strict=True))


def _unusable(row: Mapping[str, Any]) -> str | None:
    return {"error": "unanswered", "length": "truncated"}.get(row["finish_reason"])


def _with(table: pa.Table, columns: Mapping[str, pa.Array]) -> pa.Table:
    for name, values in columns.items():
        place = table.schema.get_field_index(name)
        if place < 0:
            table = table.append_column(name, values)
        else:
            table = table.set_column(place, name, values)
    return table
