"""The figures of a run, aggregated lazily: completions are never loaded, prompts are.

Two kinds of numbers live apart. What comes from the tables is a function of the data; seconds and
prompt tokens come from progress.jsonl and differ from run to run.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import polars as pl

from pipeline.budgets import wilson
from pipeline.reporting.funnel import Record
from pipeline.reporting.trials import REJECTED, collect, collect_all, scan_trials

_MAX_LEVELS = 12  # more distinct values than this are no levels
_FIFTHS = ["0–20 %", "20–40 %", "40–60 %", "60–80 %", "80–100 %"]
_BINS = 24
_Z95 = 1.96
_FATES = ("kept", "not picked", "rejected", "not judged", "surplus")


class Level(NamedTuple):
    """Prompts of one difficulty; `rate` is the mean of their pass rates, None if none was judged.

    `spent` counts rollouts with the surplus, `trials` without.
    """

    name: str
    prompts: int
    rate: float | None
    low: float
    high: float
    spent: int
    correct: int
    kept: int


class Outcome(NamedTuple):
    """How many rollouts came to one end, and the tokens that they cost.

    `name` is a verdict (with its reason), or what became of the rollout: kept, not picked ...
    """

    name: str
    reason: str
    rollouts: int
    tokens: int


class Lengths(NamedTuple):
    """Histograms of generated tokens; bin i holds the lengths [i width, (i + 1) width)."""

    width: int
    kept: list[int]
    rejected: list[int]


_NO_LENGTHS = Lengths(1, [], [])


@dataclass(frozen=True)
class Figures:
    """All figures of a run; those of a step that is not finished are 0 or empty."""

    prompts: int = 0
    covered: int = 0  # prompts with a correct rollout
    wanting: int = 0  # prompts with a target
    reached: int = 0  # those that reached it
    with_rows: int = 0  # prompts with a kept rollout
    rollouts: int = 0  # with the surplus
    surplus: int = 0
    correct: int = 0
    kept: int = 0  # rollouts that the final rows were made from
    tokens: int = 0  # generated, with the surplus
    by: str = "level"  # or "pass rate", where prompts have no level
    levels: list[Level] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)  # verdicts of counted rollouts
    fates: list[Outcome] = field(default_factory=list)  # of all rollouts: kept ... surplus
    lengths: Lengths = _NO_LENGTHS
    coverage: list[tuple[int, float, float]] = field(default_factory=list)  # trials, >= 1, target
    sources: list[tuple[str, int, int]] = field(default_factory=list)  # name, prompts, kept


def measure(record: Record) -> Figures:
    """Aggregate a run's tables. Memory: a row a prompt and an id a kept rollout."""
    prompts = _read_prompts(record)
    trials = scan_trials(record)
    if trials is None:
        return Figures(prompts=len(prompts) if prompts is not None else 0)
    each, totals, outcomes, fates, *lengths = collect_all(
        _per_prompt(trials),
        trials.select(*_totals()),
        _outcomes(trials),
        _fates(trials),
        *_lengths(trials),
    )
    if prompts is None or prompts.join(each, on="id", how="semi").is_empty():
        # What was sampled are rows that the run itself made (tasks out of snippets, say).
        none = pl.lit(None, pl.String)
        prompts = each.select("id", level=none, source=none)
    each = prompts.join(each, on="id", how="left", maintain_order="left").with_columns(
        pl.col("trials", "spent", "judged", "correct", "kept").fill_null(0)
    )
    by, each = _grouped(each)
    return Figures(
        prompts=len(each),
        covered=each.filter(pl.col("correct") > 0).height,
        wanting=each.filter(pl.col("target").is_not_null()).height,
        reached=each.filter(pl.col("correct") >= pl.col("target")).height,
        with_rows=each.filter(pl.col("kept") > 0).height,
        by=by,
        levels=_levels(each),
        outcomes=sorted(map(Outcome._make, outcomes.iter_rows()), key=_outcome_order),
        fates=_all_fates(fates),
        lengths=_histograms(*lengths),
        coverage=_coverage(each),
        sources=_sources(each),
        **totals.row(0, named=True),
    )


def _read_prompts(record: Record) -> pl.DataFrame | None:
    opened = record.open("prompts")
    if opened is None:
        return None
    level = pl.col("meta").cast(pl.String).str.json_path_match("$.level")
    return collect(opened.scan().select("id", level=level, source=pl.col("source")))


def _per_prompt(trials: pl.LazyFrame) -> pl.LazyFrame:
    counted, correct = pl.col("counted"), pl.col("verdict") == "correct"
    hits = pl.col("trial").filter(counted & correct).sort()
    target = pl.col("target").max()
    wanted = pl.when(target > 0).then(target - 1)
    return trials.group_by("id").agg(
        trials=counted.sum(),
        spent=pl.len(),
        judged=(counted & (correct | REJECTED)).sum(),
        correct=(counted & correct).sum(),
        kept=pl.col("kept").sum(),
        target=target,
        first=hits.first(),
        at_target=hits.get(wanted, null_on_oob=True),
    )


def _grouped(each: pl.DataFrame) -> tuple[str, pl.DataFrame]:
    """Add column `group`: the level from the prompts' meta, else fifths of the pass rate."""
    distinct = each["level"].drop_nulls().n_unique()
    if 0 < distinct <= _MAX_LEVELS:
        return "level", each.with_columns(group=pl.col("level").fill_null("no level"))
    rate = pl.col("correct") / pl.col("judged")
    fifth = (rate * 5).floor().clip(0, 4).fill_nan(None).cast(pl.Int32)
    names = pl.Series(_FIFTHS)
    group = fifth.replace_strict(range(5), names, default="not judged", return_dtype=pl.String)
    return "pass rate", each.with_columns(group=group)


def _levels(each: pl.DataFrame) -> list[Level]:
    grouped = each.group_by("group").agg(
        pl.len().alias("prompts"),
        (pl.col("judged") > 0).sum().alias("with_rate"),
        (pl.col("correct") / pl.col("judged")).filter(pl.col("judged") > 0).mean().alias("rate"),
        pl.col("spent", "correct", "kept").sum(),
    )
    levels = []
    for row in grouped.iter_rows(named=True):
        # The prompt is the unit that varies: its rollouts are alike, so they are not counted.
        hits = (row["rate"] or 0.0) * row["with_rate"]
        low, high = wilson(hits, row["with_rate"], z=_Z95)
        names = ("spent", "correct", "kept")
        counts = {name: row[name] for name in names}
        levels.append(Level(row["group"], row["prompts"], row["rate"], low, high, **counts))
    return sorted(levels, key=lambda level: _level_order(level.name))


def _level_order(name: str) -> tuple[int, float, str]:
    if name in ("no level", "not judged"):
        return 2, 0.0, name
    if name in _FIFTHS:
        return 0, float(_FIFTHS.index(name)), name
    try:
        return 0, float(name), name
    except ValueError:
        return 1, 0.0, name


def _totals() -> list[pl.Expr]:
    surplus, kept, tokens = ~pl.col("counted"), pl.col("kept"), pl.col("n_tokens")
    return [
        pl.len().alias("rollouts"),
        surplus.sum().alias("surplus"),
        (pl.col("counted") & (pl.col("verdict") == "correct")).sum().alias("correct"),
        kept.sum().alias("kept"),
        tokens.sum().alias("tokens"),
    ]


def _outcomes(trials: pl.LazyFrame) -> pl.LazyFrame:
    found = trials.filter("counted").group_by("verdict", pl.col("reason").fill_null(""))
    return found.agg(pl.len(), pl.col("n_tokens").sum())


def _outcome_order(row: Outcome) -> tuple[int, str, str]:
    return -row.rollouts, row.name, row.reason


def _fates(trials: pl.LazyFrame) -> pl.LazyFrame:
    fate = (
        pl.when(~pl.col("counted"))
        .then(pl.lit("surplus"))
        .when("kept")
        .then(pl.lit("kept"))
        .when(pl.col("verdict") == "correct")
        .then(pl.lit("not picked"))
        .when(REJECTED)
        .then(pl.lit("rejected"))
        .otherwise(pl.lit("not judged"))
    )
    return trials.group_by(fate).agg(pl.len(), pl.col("n_tokens").sum())


def _all_fates(table: pl.DataFrame) -> list[Outcome]:
    found = {name: counts for name, *counts in table.iter_rows()}
    return [Outcome(name, "", *found.get(name, (0, 0))) for name in _FATES]


def _lengths(trials: pl.LazyFrame) -> list[pl.LazyFrame]:
    """Count rollouts by length: of all, of those kept, of those rejected."""
    sides = [pl.lit(value=True), pl.col("kept"), pl.col("counted") & REJECTED]
    return [trials.filter(side).group_by("n_tokens").agg(pl.len()) for side in sides]


def _histograms(every: pl.DataFrame, *sides: pl.DataFrame) -> Lengths:
    longest = int(every["n_tokens"].max() or 0)  # type: ignore[arg-type]
    width = max(1, -(-(longest + 1) // _BINS))
    bars = [[0] * (longest // width + 1) for _ in sides]
    for side, bar in zip(sides, bars, strict=True):
        for length, rollouts in side.drop_nulls().iter_rows():
            bar[length // width] += rollouts
    return Lengths(width, *bars)


def _coverage(each: pl.DataFrame) -> list[tuple[int, float, float]]:
    """Return the share of prompts covered, and at their target, after 1, 2, ... trials a prompt."""
    longest = int(each["trials"].max() or 0)  # type: ignore[arg-type]
    free = each.filter(pl.col("target") == 0).height  # at their target before any trial
    steps = _ladder(longest)
    curve = []
    for n in steps:
        covered = each.filter(pl.col("first") < n).height
        reached = each.filter(pl.col("at_target") < n).height + free
        curve.append((n, covered / len(each), reached / len(each)))
    return curve


def _ladder(longest: int, points: int = 48) -> Sequence[int]:
    """Return at most about `points` numbers from 1 to `longest`, even on a logarithmic scale."""
    if longest <= points:
        return range(1, longest + 1)
    return sorted({round(longest ** (i / points)) for i in range(points + 1)})


def _sources(each: pl.DataFrame) -> list[tuple[str, int, int]]:
    named = each.with_columns(pl.col("source").fill_null("unknown"))
    grouped = named.group_by("source").agg(pl.len(), pl.col("kept").sum())
    return sorted(grouped.iter_rows(), key=lambda row: (-row[1], row[0]))
