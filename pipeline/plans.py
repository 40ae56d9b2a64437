"""One call of a step on shards: what each shard is made from, and making it.

Knows nothing of Prefect: `steps` decides where and when `make_shard` runs.
"""

import inspect
import logging
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import UserError
from pipeline.journal import Journal, remove
from pipeline.previous import clear, recall
from pipeline.progress import opened
from pipeline.run_log import in_shard
from pipeline.schema import Sifted, canonical, digest
from pipeline.shards import Shards, committed, write_manifest, write_shard

_log = logging.getLogger(__name__)
Scope = Literal["shard", "dataset"]


@dataclass(frozen=True)
class Plan:
    """A step's function, its bound arguments and the folder that its output goes to."""

    function: Callable[..., Any]
    bound: inspect.BoundArguments
    folder: Path
    version: int
    scope: Scope
    expands: bool
    journal: bool
    free: tuple[str, ...]
    whole: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The step's name: its function's, wherever that was imported from."""
        return str(self.function.__name__)

    @property
    def inputs(self) -> dict[str, tuple[Shards, ...]]:
        """The arguments that are datasets, in the order of the signature."""
        found = {name: as_datasets(value) for name, value in self.bound.arguments.items()}
        return {name: shards for name, shards in found.items() if shards}

    def __reduce__(self) -> Any:
        """Travel with the step's name in place of its function, which a process may not find."""
        values = [getattr(self, one.name) for one in fields(self)]
        if has_name(None, self.function):
            return _with_step, (self.function.__module__, self.name, *values[1:])
        return Plan, tuple(values)

    def __len__(self) -> int:
        """Shards to make; UserError if the inputs are not aligned."""
        if self.scope == "dataset":
            return 1
        aligned = {n: shards for n, shards in self.inputs.items() if n not in self.whole}
        named = [(name, one) for name, shards in aligned.items() for one in shards]
        (first_name, first), *others = named
        for name, other in others:
            if (other.layout, len(other)) != (first.layout, len(first)):
                raise UserError(
                    f"step '{self.name}': '{first_name}' has {len(first)} shards ({first.layout}) "
                    f"but '{name}' has {len(other)} ({other.layout}); give it aligned datasets or "
                    "declare the step with scope='dataset'"
                )
        return len(first)

    def parameters(self) -> dict[str, Any]:
        """What enters the digest: the other arguments as JSON; UserError for what is not."""
        inputs = self.inputs
        return {
            name: _as_json(value, f"step '{self.name}', parameter '{name}'")
            for name, value in self.bound.arguments.items()
            if name not in inputs and name not in self.free
        }

    def made_by(self, i: int) -> dict[str, Any]:
        """Everything that shard i is made from, as JSON; its digest is the shard's key."""
        chosen = {
            name: [[one.checksum(j) for j in self._numbers(name, one, i)] for one in shards]
            for name, shards in self.inputs.items()
        }
        return {
            "step": self.name,
            "version": self.version,
            "parameters": self.parameters(),
            "inputs": chosen,
        }

    def _is_whole(self, name: str) -> bool:
        return self.scope == "dataset" or name in self.whole

    def _numbers(self, name: str, shards: Shards, i: int) -> range:
        return range(len(shards)) if self._is_whole(name) else range(i, i + 1)

    def read(self, i: int) -> inspect.BoundArguments:
        """The function's arguments for shard i, tables in place of datasets."""
        bound = inspect.BoundArguments(self.bound.signature, self.bound.arguments.copy())
        for name, shards in self.inputs.items():
            whole = self._is_whole(name)
            tables = tuple(one.table() if whole else one.shard(i) for one in shards)
            single = isinstance(bound.arguments[name], Shards)
            bound.arguments[name] = tables[0] if single else tables
        return bound


def named(module: str, name: str) -> Any:
    """Import what a recipe's or step's name stands for; how they travel to other processes."""
    return getattr(import_module(module), name)


def has_name(lifted: Any, function: Callable[..., Any]) -> bool:
    """Whether another process finds `lifted` (None: anything) under `function`'s name."""
    found = getattr(sys.modules.get(function.__module__), function.__name__, None)
    same = found is lifted if lifted is not None else inspect.unwrap(found or print) is function
    return same and function.__module__ != "__main__"


def _with_step(module: str, name: str, *rest: Any) -> Plan:
    return Plan(inspect.unwrap(named(module, name)), *rest)


def finished(plan: Plan, i: int) -> dict[str, Any] | None:
    """Return shard i's commit record if it is done and whole."""
    record = committed(plan.folder, i, digest(plan.made_by(i)))
    if record is not None:
        remove(_journal_file(plan, i))  # a kill may have left it
    return record


def make_shard(plan: Plan, i: int) -> dict[str, Any]:
    """Call the function for shard i, count its rows, commit them, return the record."""
    try:
        with in_shard(plan.folder.name, i):
            return _make_shard(plan, i)
    finally:
        if (progress := opened(plan.folder.parent)) is not None:
            progress.share()


def _make_shard(plan: Plan, i: int) -> dict[str, Any]:
    bound = plan.read(i)
    source = next(bound.arguments[name] for name in plan.inputs)
    sources = [source] if isinstance(source, pa.Table) else list(source)
    sifted = _call_with_journal(plan, i, bound, sources) if plan.journal else _call(plan, bound)
    rows_in = sum(map(len, sources))
    _check_count(plan, rows_in, sifted)
    made_by = plan.made_by(i) | ({} if sifted.whole else {"stopped": True})
    facts = {**made_by, "of": len(plan), "expands": plan.expands, "rows_in": rows_in}
    facts["moved"] = _moved(sources, sifted.kept)
    record = write_shard(plan.folder, i, sifted, key=digest(made_by), made_by=facts)
    remove(_journal_file(plan, i))
    kept, dropped = len(sifted.kept), sum(sifted.dropped.values())
    counts = (i, len(plan), rows_in, kept, dropped)
    _log.info("shard %d of %d: %d rows in, %d kept, %d dropped", *counts)
    return record


def finish(plan: Plan, records: list[dict[str, Any]]) -> Shards:
    """Write the manifest of these shards and clear what only unfinished work needs."""
    inputs = plan.inputs
    first = next(iter(inputs.values()))[0]
    layout = "id/1" if len(records) == 1 else first.layout
    if len(records) > 1 and any(record["made_by"]["moved"] for record in records):
        layout = f"{plan.name} of {layout}"  # new ids live where their parents did
    made_by = {
        "step": plan.name,
        "version": plan.version,
        "parameters": plan.parameters(),
        "inputs": [one.fingerprint for shards in inputs.values() for one in shards],
        "rows_in": sum(record["made_by"]["rows_in"] for record in records),
        "expands": plan.expands,
    }
    if any("stopped" in record["made_by"] for record in records):
        made_by["stopped"] = True
    write_manifest(plan.folder, records, layout=layout, made_by=made_by)
    clear(plan.folder)
    return Shards.open(plan.folder)


def _call(plan: Plan, bound: inspect.BoundArguments, **given: Any) -> Sifted:
    result = plan.function(*bound.args, **bound.kwargs, **given)
    sifted = result if isinstance(result, Sifted) else Sifted(result)
    if not isinstance(sifted.kept, pa.Table):
        kind = type(sifted.kept).__name__
        raise UserError(f"step '{plan.name}' gave a {kind}; return a pyarrow.Table or a Sifted")
    return sifted


def _call_with_journal(
    plan: Plan, i: int, bound: inspect.BoundArguments, sources: list[pa.Table]
) -> Sifted:
    ids = pa.chunked_array([chunk for table in sources for chunk in table["id"].chunks])
    previous = recall(plan.folder, i, len(plan), ids)
    with closing(Journal.open(_journal_file(plan, i))) as journal:
        return _call(plan, bound, journal=journal, previous=previous)


def _check_count(plan: Plan, rows_in: int, sifted: Sifted) -> None:
    dropped = sum(sifted.dropped.values())
    if not plan.expands and rows_in != len(sifted.kept) + dropped:
        raise UserError(
            f"step '{plan.name}': {rows_in} rows in, but {len(sifted.kept)} kept + {dropped} "
            f"dropped = {len(sifted.kept) + dropped} out; count every dropped row under a reason, "
            "or declare the step with expands=True"
        )


def _moved(sources: list[pa.Table], kept: pa.Table) -> bool:
    """Whether some row has an id that its shard's inputs did not have."""
    if "id" not in kept.column_names or not all("id" in one.column_names for one in sources):
        return False
    known = pa.chunked_array([chunk for one in sources for chunk in one["id"].chunks], pa.string())
    return not pc.all(pc.is_in(kept["id"].cast(pa.string()), value_set=known), min_count=0).as_py()


def _journal_file(plan: Plan, i: int) -> Path:
    return plan.folder / "journal" / f"{i:05d}.jsonl"


def as_datasets(value: Any) -> tuple[Shards, ...]:
    """Take a value apart: a dataset, or a tuple or list of nothing but datasets; else nothing."""
    values = tuple(value) if isinstance(value, tuple | list) else (value,)
    return values if all(isinstance(one, Shards) for one in values) else ()


def _as_json(value: Any, where: str) -> Any:
    if hasattr(value, "fingerprint"):  # features, say: too large for a table, known by content
        return f"{type(value).__name__} {value.fingerprint}"
    if callable(value) and hasattr(value, "version"):
        return f"{value.__name__}@{value.version}"
    if isinstance(value, Mapping):
        return {name: _as_json(item, where) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(item, where) for item in value]
    if value is None or isinstance(value, str | int | float | bool):
        canonical(value)
        return value
    raise UserError(
        f"{where}: a {type(value).__name__} has no stable digest; give JSON, a path as text, or a "
        "function marked with @verifier"
    )
