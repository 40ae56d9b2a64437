"""Finding one thing in a run by its id: prompts, rollouts, rows, and what was made from what."""

from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl

from pipeline.errors import UserError
from pipeline.funnel import Record, Stage

_NEAREST = 3


def find_id(record: Record, wanted: str, kinds: tuple[str, ...]) -> tuple[str, str]:
    """Return the (kind, id) that `wanted` means: an id, or the beginning of exactly one.

    Kinds are "row", "rollout" and "prompt". Raises UserError naming the nearest ids if none fits,
    or those that fit if several do.
    """
    near: set[str] = set()
    fits: set[tuple[str, str]] = set()
    total = 0
    for kind, ids in _ids(record, kinds):
        if wanted in set(ids):
            return kind, wanted
        total += len(ids)
        if wanted:
            fits |= {(kind, one) for one in ids.filter(ids.str.starts_with(wanted))}
        near.update(_longest_common(ids, wanted))
    if len(fits) == 1:
        return fits.pop()
    what = " or ".join(kinds)
    if fits:
        some = ", ".join(sorted(one for _, one in fits)[:_NEAREST])
        raise UserError(f"'{wanted}' begins {len(fits)} ids ({some} ...); give more of it")
    nearest = ", ".join(sorted(near, key=lambda one: (-_common(one, wanted), one))[:_NEAREST])
    known = f"the nearest: {nearest}" if nearest else "the run has none yet; see tamis show"
    raise UserError(f"{record.folder}: none of {total} ids of a {what} is '{wanted}'; {known}")


def fetch(record: Record, stage: str, column: str, value: str) -> list[dict[str, Any]]:
    """Return the rows of a finished stage whose `column` is `value`; surplus rollouts too."""
    opened = record.open(stage)
    if opened is None or column not in record.columns(stage):
        return []
    aside = opened.aside() if stage == "rollouts" else None
    frames = [opened.scan(), *([] if aside is None else [aside])]
    found = pl.concat(frames, how="diagonal_relaxed").filter(pl.col(column) == value)
    return list(found.collect().iter_rows(named=True))


def follow(record: Record, rollout_ids: Sequence[str]) -> list[tuple[Stage, set[str] | None]]:
    """Say for each stage after the rollouts which of these it still has; None: cannot be told.

    A stage has a rollout as a row of its own, or as a parent of a row.
    """
    names = [stage.name for stage in record.stages]
    start = names.index("rollouts") + 1 if "rollouts" in names else len(names)
    return [(stage, _held(record, stage, rollout_ids)) for stage in record.stages[start:]]


def _held(record: Record, stage: Stage, rollout_ids: Sequence[str]) -> set[str] | None:
    columns, opened = record.columns(stage.name), record.open(stage.name)
    if opened is None or not {"rollout_id", "parents"} & set(columns):
        return None
    name = "rollout_id" if "rollout_id" in columns else "parents"
    ids = pl.col(name) if name == "rollout_id" else pl.col(name).list.explode()
    found = opened.scan().select(ids.alias("held")).filter(pl.col("held").is_in(rollout_ids))
    return set(found.unique().collect()["held"])


def read_prompt(record: Record, prompt_id: str) -> dict[str, Any]:
    """Return a prompt's row; only its id where the run has no prompts folder."""
    return next(iter(fetch(record, "prompts", "id", prompt_id)), {"id": prompt_id})


def _ids(record: Record, kinds: tuple[str, ...]) -> Iterator[tuple[str, pl.Series]]:
    places = {
        "row": (record.final.name if record.final else "", "row_id"),
        "rollout": ("rollouts", "rollout_id"),
        "prompt": ("prompts" if record.open("prompts") else "rollouts", "id"),
    }
    for kind in kinds:
        stage, column = places[kind]
        opened = record.open(stage) if stage else None
        if opened is None or column not in record.columns(stage):
            continue
        aside = opened.aside() if stage == "rollouts" else None
        frames = [opened.scan(), *([] if aside is None else [aside])]
        ids = pl.concat([frame.select(pl.col(column).cast(pl.String)) for frame in frames])
        yield kind, ids.unique().sort(column).collect()[column].drop_nulls()


def _longest_common(ids: pl.Series, wanted: str) -> list[str]:
    """Return a few of the ids that share the longest beginning with `wanted`."""
    for length in range(len(wanted), -1, -1):
        some = ids.filter(ids.str.starts_with(wanted[:length])).head(_NEAREST)
        if len(some):
            return list(some)
    return []


def _common(one: str, other: str) -> int:
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
