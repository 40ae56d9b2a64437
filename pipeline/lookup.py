"""Finding one thing in a run by its id: prompts, rollouts, rows, and what was made from what."""

import os
from collections.abc import Iterator
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
    """Return the rows of a finished stage whose `column` is `value`, or a list that contains it."""
    opened = record.open(stage)
    if opened is None or column not in record.columns(stage):
        return []
    aside = opened.aside() if stage == "rollouts" else None
    every = [opened.scan(), *([] if aside is None else [aside])]
    rows = []
    for frame in every:
        is_list = isinstance(frame.collect_schema()[column], pl.List)
        name = pl.col(column)
        rows += list(_rows(frame.filter(name.list.contains(value) if is_list else name == value)))
    return rows


def follow(record: Record, rollout_id: str) -> list[tuple[Stage, bool | None]]:
    """Say for each stage after the rollouts whether it still has a rollout; None: cannot be told.

    A stage has it as a rollout, or as a parent of a row.
    """
    after = False
    path: list[tuple[Stage, bool | None]] = []
    for stage in record.stages:
        if after:
            path.append((stage, _holds(record, stage, rollout_id)))
        after = after or stage.name == "rollouts"
    return path


def _holds(record: Record, stage: Stage, rollout_id: str) -> bool | None:
    columns = record.columns(stage.name)
    column = next((name for name in ("rollout_id", "parents") if name in columns), None)
    return None if column is None else bool(fetch(record, stage.name, column, rollout_id))


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
    return len(os.path.commonprefix([one, other]))


def _rows(frame: pl.LazyFrame) -> Iterator[dict[str, Any]]:
    return frame.collect().iter_rows(named=True)


def read_prompt(record: Record, prompt_id: str) -> dict[str, Any]:
    """Return a prompt's row; only its id where the run has no prompts folder."""
    return next(iter(fetch(record, "prompts", "id", prompt_id)), {"id": prompt_id})
