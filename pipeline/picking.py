"""Which rollouts `pick` keeps and why the others leave: the rule apart from the step.

So that `tamis why-not` can say of one prompt what the step said of all of them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import xxhash

from pipeline.dedup import first_of_its_kind
from pipeline.schema import canonical


def reasons_to_leave(
    rollouts: pa.Table, *, at_most: int | str | None, near: float | None, seed: int
) -> list[str | None]:
    """Return, for each rollout, why it leaves; None if it stays.

    Reasons: verdict_<word>, duplicate, beyond_k. A prompt's rollouts are looked at in an order that
    depends on `seed` and their ids only; `at_most` is a number or the name of an integer column.
    """
    rows = rollouts.select(["id", "rollout_id", "completion", "verdict"]).to_pylist()
    bounds = _bounds(rollouts, at_most)
    reasons: list[str | None] = [
        None if row["verdict"] == "correct" else f"verdict_{row['verdict']}" for row in rows
    ]
    for places in _correct_places(rows, seed):
        texts = [rows[place]["completion"] for place in places]
        for place, origin in zip(places, first_of_its_kind(texts, near=near), strict=True):
            if origin is not None:
                reasons[place] = "duplicate"
        firsts = [place for place in places if reasons[place] is None]
        bound = bounds[places[0]]
        for place in firsts[len(firsts) if bound is None else bound :]:
            reasons[place] = "beyond_k"
    return reasons


def _correct_places(rows: Sequence[Mapping[str, Any]], seed: int) -> list[list[int]]:
    by_prompt: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        if row["verdict"] == "correct":
            by_prompt.setdefault(row["id"], []).append(place)
    for places in by_prompt.values():
        places.sort(key=lambda place: _draw(seed, rows[place]["rollout_id"]))
    return list(by_prompt.values())


def _bounds(rollouts: pa.Table, at_most: int | str | None) -> list[int | None]:
    if isinstance(at_most, str):
        bounds: list[int | None] = rollouts[at_most].to_pylist()
        return bounds
    return [at_most] * len(rollouts)


def _draw(seed: int, rollout_id: str) -> tuple[int, str]:
    """A random rank that any process gives the same rollout; ties break by id."""
    return xxhash.xxh3_64_intdigest(canonical([seed, rollout_id])), rollout_id
