"""What changed between two runs: their rows and why, parameters, lengths, difficulty, sources."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.figures import Figures, measure
from pipeline.funnel import Record, flatten, read_record
from pipeline.trials import kept_ids, scan_trials
from pipeline.wording import align, count, percent, shorten

_WIDE = 48  # characters of a parameter


def find_changes(run_a: str | Path, run_b: str | Path) -> dict[str, Any]:
    """Return what changed from run A to run B, as JSON.

    Keys: a, b (folders) · parameters (name -> [a, b]) · kept (in_both, only_a, only_b: rollouts
    that rows were made from) · gone, new (reason -> count; they add up to only_a and only_b) ·
    totals, lengths (quantiles of kept rollouts in tokens), levels, sources (name -> [a, b]).
    Raises UserError if either is not a run folder.
    """
    records = read_record(run_a), read_record(run_b)
    one, other = records
    figures = measure(one), measure(other)
    kept = kept_ids(one), kept_ids(other)
    only_a = kept[0].join(kept[1], on="rollout_id", how="anti")
    only_b = kept[1].join(kept[0], on="rollout_id", how="anti")
    return {
        "a": str(one.folder),
        "b": str(other.folder),
        "parameters": _changed(_parameters(one), _parameters(other)),
        "kept": {
            "in_both": len(kept[0]) - len(only_a),
            "only_a": len(only_a),
            "only_b": len(only_b),
        },
        "gone": _explain(only_a, one, other),
        "new": _explain(only_b, other, one),
        "totals": _pair([_totals(*pair) for pair in zip(records, figures, strict=True)]),
        "lengths": _pair([_quantiles(record) for record in records]),
        "levels": _pair([_rates(one) for one in figures]),
        "level_mix": _pair([_mix([(x.name, x.kept) for x in one.levels]) for one in figures]),
        "sources": _pair([_mix([(s, kept) for s, _, kept in one.sources]) for one in figures]),
    }


def compare(run_a: str | Path, run_b: str | Path) -> str:
    """Say in text what changed from run A to run B; see `find_changes`."""
    facts = find_changes(run_a, run_b)
    kept = facts["kept"]
    blocks = [
        [f"A  {facts['a']}", f"B  {facts['b']}"],
        _table(
            "Parameters", facts["parameters"], lambda value: shorten(value or "–", _WIDE), "<<<"
        ),
        [
            f"Rollouts kept: {count(kept['in_both'])} in both, {count(kept['only_a'])} only in A, "
            f"{count(kept['only_b'])} only in B",
            *_reasons("  left, because in B", facts["gone"]),
            *_reasons("  came, because in A", facts["new"]),
        ],
        _table("Totals", facts["totals"], count),
        _table("Tokens a kept rollout", facts["lengths"], count),
        _table("Pass rate", facts["levels"], percent),
        _table("Share of kept rollouts by difficulty", facts["level_mix"], percent),
        _table("Share of kept rollouts by source", facts["sources"], percent),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _parameters(record: Record) -> dict[str, str]:
    steps = {
        stage.name: {"version": stage.version, **stage.parameters}
        for stage in record.stages
        if stage.step
    }
    facts = {"recipe": record.recipe, "model": record.model, **dict(record.parameters)}
    return flatten(facts | {"step": steps})


def _changed(one: dict[str, str], other: dict[str, str]) -> dict[str, list[str | None]]:
    names = sorted(one.keys() | other.keys())
    pairs = {name: [one.get(name), other.get(name)] for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _explain(ids: pl.DataFrame, here: Record, there: Record) -> dict[str, int]:
    """Count rollouts kept here by what became of them there."""
    mine, theirs = scan_trials(here), scan_trials(there)
    if mine is None or not len(ids):
        return {}
    if theirs is None:
        return {"there are no rollouts": len(ids)}
    light = theirs.select("rollout_id", "verdict", "counted", there=pl.lit(value=True))
    asked = theirs.select(prompt=pl.col("id")).unique().with_columns(asked=pl.lit(value=True))
    reason = (
        pl.when(pl.col("asked").is_null())
        .then(pl.lit("its prompt was not sampled"))
        .when(pl.col("there").is_null())
        .then(pl.lit("it was not asked, or of another identity (model, sampling, seed, template)"))
        .when(~pl.col("counted"))
        .then(pl.lit("it is surplus"))
        .when(pl.col("verdict") != "correct")
        .then(pl.format("its verdict is {}", pl.col("verdict")))
        .otherwise(pl.lit("it is correct, but a later step dropped it"))
    )
    found = (
        ids.lazy()
        .join(mine.select("rollout_id", prompt=pl.col("id")), on="rollout_id", how="left")
        .join(light, on="rollout_id", how="left")
        .join(asked, on="prompt", how="left")
        .group_by(reason.alias("reason"))
        .len()
        .sort("len", "reason", descending=[True, False])
        .collect()
    )
    return dict(found.iter_rows())


def _totals(record: Record, figures: Figures) -> dict[str, int]:
    return {
        "prompts": figures.prompts,
        "prompts covered": figures.covered,
        "prompts with rows": figures.with_rows,
        "rollouts": figures.rollouts,
        "correct": figures.correct,
        "tokens": figures.tokens,
        "rows": record.final.rows if record.final else 0,
    }


def _quantiles(record: Record) -> dict[str, float | None]:
    trials = scan_trials(record)
    names = {"10 %": 0.1, "median": 0.5, "90 %": 0.9}
    if trials is None:
        return dict.fromkeys([*names, "mean"])
    tokens = pl.col("n_tokens")
    asked = [tokens.quantile(share, "nearest").alias(name) for name, share in names.items()]
    kept = trials.filter("kept").select(*asked, tokens.mean().alias("mean"))
    return kept.collect().row(0, named=True)


def _rates(figures: Figures) -> dict[str, float | None]:
    return {f"{figures.by} {level.name}": level.rate for level in figures.levels}


def _mix(parts: Sequence[tuple[str, int]]) -> dict[str, float]:
    whole = sum(kept for _, kept in parts)
    return {name: kept / whole for name, kept in parts if whole}


def _pair(sides: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    names = dict.fromkeys(name for side in sides for name in side)
    return {name: [side.get(name) for side in sides] for name in names}


def _table(title: str, pairs: dict[str, list[Any]], say: Any, sides: str = "<>>") -> list[str]:
    if not pairs:
        return []
    lines = [[f"  {name}", *map(say, pair)] for name, pair in pairs.items()]
    return align(sides, [[title, "A", "B"], *lines])


def _reasons(title: str, reasons: dict[str, int]) -> list[str]:
    return (
        [title, *(f"    {count(n)}: {reason}" for reason, n in reasons.items())] if reasons else []
    )
