"""`tamis select`: a selection recipe on the user's own pool, or several of them side by side."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.catalog import find_recipes, load_recipe, parameters_of
from pipeline.choices import facts, feature_folder, load_pool
from pipeline.errors import UserError
from pipeline.reporting.comparison import measure_picks, tell, write_page
from pipeline.runs import execute
from pipeline.shards import Shards
from pipeline.steps import Run, running

_LOOKED_AT = 50_000  # rows of the pool that are embedded and scored for a comparison


def select(method: str, given: Mapping[str, Any], run: Run) -> Path:
    """Run a selection recipe; UserError for a name that is none."""
    execute(_selector(method), given, run)
    return run.folder


def _selector(name: str) -> Any:
    known = [entry.name for entry in find_recipes() if entry.module.startswith("flows.selection.")]
    if name.replace("-", "_") not in known:
        raise UserError(f"'{name}' selects nothing; methods: {', '.join(known)}")
    return load_recipe(name)


def compare(
    methods: Sequence[str], given: Mapping[str, Any], out: Path, *, encoder: str, scorer: str
) -> str:
    """Run each method into OUT/<method> and say side by side what they took; write the page.

    A setting goes to the methods that have it; `METHOD.name` to that one alone. `encoder` makes the
    map, `scorer` the difficulty. Raises UserError for a setting that none has.
    """
    if len(set(methods)) != len(methods) or len(methods) < 2:
        raise UserError(
            f"{len(methods)} methods to compare ({' '.join(methods)}); name 2 different"
        )
    settings = {name: _own(name, methods, given) for name in methods}
    unknown = [key for key in given if not any(key in _keys(n, settings[n]) for n in methods)]
    if unknown:
        raise UserError(f"none of {', '.join(methods)} has a parameter '{unknown[0]}'")
    picks: dict[str, list[str]] = {}
    for name in methods:
        execute(_selector(name), settings[name], Run(out / name))
        picks[name] = _picked(out / name)
    with running(Run(out)):
        pool = _pool(given)
        rows, losses, vectors = _look_at(pool, encoder, scorer)
    held = set(rows["id"].to_pylist())
    found = measure_picks(
        rows, losses, vectors, {name: [i for i in own if i in held] for name, own in picks.items()}
    )
    about = {"pool": str(given.get("pool", "nano_world")), "rows": f"{len(rows):,}"}
    write_page(out / "report.html", found, about | {"difficulty by": scorer, "map by": encoder})
    return tell(found)


def _own(name: str, methods: Sequence[str], given: Mapping[str, Any]) -> dict[str, Any]:
    known = parameters_of(_selector(name))
    shared = {key: v for key, v in given.items() if key.partition(".")[0] in known}
    prefix = f"{name}."
    return shared | {key[len(prefix) :]: v for key, v in given.items() if key.startswith(prefix)}


def _keys(name: str, own: Mapping[str, Any]) -> set[str]:
    return {*own, *(f"{name}.{key}" for key in own)}


def _picked(folder: Path) -> list[str]:
    rows = Shards.open(folder / "to_rows")
    have = rows.shard(0).column_names
    table = rows.table(["id", "rank"] if "rank" in have else ["id"])
    if "rank" in have:
        table = table.sort_by("rank")
    ids: list[str] = table["id"].to_pylist()
    return ids


def _pool(given: Mapping[str, Any]) -> Shards:
    columns = {k.partition(".")[2]: v for k, v in given.items() if k.startswith("columns.")}
    names = ("subset", "split", "limit", "seed")
    plain = {name: given[name] for name in names if name in given}
    return load_pool(given.get("pool", "nano_world"), given.get("columns") or columns, **plain)


def _look_at(pool: Shards, encoder: str, scorer: str) -> tuple[pa.Table, np.ndarray, np.ndarray]:
    """Embed and score the pool's rows for the map and the difficulty."""
    if pool.rows > _LOOKED_AT:
        raise UserError(
            f"a comparison looks at every row with a model and the pool has {pool.rows}, more than "
            f"{_LOOKED_AT}; take a part of it with --set limit={_LOOKED_AT}"
        )
    # Loaded by name: the command line stands above all floors, this file does not.
    features = import_module("scorers.features").features
    losses = import_module("scorers.token_losses")
    likelihood = import_module("scorers.likelihood")
    reader = import_module("scorers.embeddings").text_encoder(encoder)
    judge = losses.loss_encoder(scorer, part="replies")
    vectors = features(pool, reader, feature_folder("pool", reader.identity))
    scored = features(pool, judge, feature_folder("losses", judge.identity))
    rows = facts(pool).table()
    ids = rows["id"].to_pylist()
    return rows, likelihood.mean_loss(losses.losses_of(scored.take(ids))), vectors.take(ids)
