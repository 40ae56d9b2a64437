"""Every trial of a run without its text, and what became of it: the ground of all figures."""

import polars as pl

from pipeline.reporting.funnel import Record

# Judged, and not correct: what failed on our side or had no verifier is no rejection.
REJECTED = ~pl.col("verdict").is_in(["correct", "infra", "unverified"])


def scan_trials(record: Record) -> pl.LazyFrame | None:
    """Query every trial of a run, surplus too, without its text; None while there are none.

    Columns: rollout_id, id, trial, verdict, reason, n_tokens, target, counted, kept (whether a
    final row was made from it).
    """
    opened = record.open("rollouts")
    if opened is None:
        return None
    parts = [opened.scan(), *([] if (aside := opened.aside()) is None else [aside])]
    every = pl.concat(parts, how="diagonal_relaxed")
    if "target" not in record.columns("rollouts"):
        every = every.with_columns(target=pl.lit(None, pl.Int32))
    light = _with_verdicts(
        record,
        every.select(
            "rollout_id", "id", "trial", "verdict", "reason", "n_tokens", "target", "counted"
        ),
    )
    if (named := _named(record)) is None:
        return light.with_columns(kept=pl.lit(value=False))
    kept = named.with_columns(kept=True)
    return light.join(kept, on="rollout_id", how="left").with_columns(
        pl.col("kept").fill_null(value=False)
    )


def _with_verdicts(record: Record, trials: pl.LazyFrame) -> pl.LazyFrame:
    """Take verdicts from the first later step that gave some: code is judged after sampling."""
    asked = record.stage("rollouts")
    if asked is not None and asked.parameters.get("verifier"):
        return trials  # judged while sampling; later steps only hand the verdicts on
    for stage in record.stages:
        opened = record.open(stage.name) if stage.name != "rollouts" else None
        if opened is None or not {"rollout_id", "verdict"} <= set(record.columns(stage.name)):
            continue
        judged = pl.col("verdict") != "unverified"
        said = opened.scan().filter(judged).select("rollout_id", said="verdict", why="reason")
        said = said.join(trials, on="rollout_id", how="semi")
        if not collect(said.head(1)).is_empty():
            joined = trials.join(said, on="rollout_id", how="left")
            verdict = pl.coalesce("said", "verdict")
            reason = pl.when(pl.col("said").is_null()).then("reason").otherwise("why")
            return joined.with_columns(verdict=verdict, reason=reason).drop("said", "why")
    return trials


def kept_ids(record: Record) -> pl.DataFrame:
    """Return the distinct ids of the rollouts behind the final rows, in column rollout_id."""
    named, sampled = _named(record), record.open("rollouts")
    if named is None or sampled is None:
        return pl.DataFrame(schema={"rollout_id": pl.String})
    # Parents name prompts too.
    return collect(sampled.scan().select("rollout_id").join(named, on="rollout_id", how="semi"))


def _named(record: Record) -> pl.LazyFrame | None:
    """Query the distinct ids that the final rows name as their rollouts or other parents."""
    final = record.final
    opened = record.open(final.name) if final else None
    if final is None or opened is None:
        return None
    ids = pl.col("rollout_id")
    if "row_id" in record.columns(final.name):
        ids = pl.col("parents").list.explode()
    return opened.scan().select(rollout_id=ids.cast(pl.String)).unique()


def collect(frame: pl.LazyFrame) -> pl.DataFrame:
    """Run a query in batches, so that its memory is that of its answer and joins."""
    return frame.collect(engine="streaming")


def collect_all(*frames: pl.LazyFrame) -> list[pl.DataFrame]:
    """Run several queries in one pass over what they have in common."""
    return pl.collect_all(frames, engine="streaming")
