"""Chosen and rejected from scored rollouts: one step for every rule, and what the pairs favour.

A pair joins two rollouts of one prompt and one prefix. Never paired, whatever the rule says:
rollouts that were not judged (infra, or no finite score), cut off ones (the score is that of a
beginning), equal texts and equal scores. Every rollout is in a pair or counted under one reason:
rollouts = rollouts in pairs + sum of reasons, exactly.
"""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.errors import UserError
from pipeline.operators import sift
from pipeline.pair_rules import Group, Pairs, Rule
from pipeline.schema import PAIRS, UNPAIRED, Sifted, check, digest, trial_seed
from pipeline.steps import step

_VERDICTS = {"correct": 1.0, "wrong": 0.0, "unparsable": 0.0, "timeout": 0.0, "error": 0.0}
_EXTRA = [("id", pa.string()), ("model", pa.string())]
_UNPAIRED_EXTRA = [
    ("row_id", pa.string()),
    ("parents", pa.list_(pa.string())),
    ("id", pa.string()),
    ("recipe", pa.string()),
]
_TIMES = [("time_chosen", pa.float64()), ("time_rejected", pa.float64())]

Row = Mapping[str, Any]


@step(expands=True)
def make_pairs(
    rollouts: pa.Table,
    prompts: pa.Table,
    *,
    rule: Rule,
    options: Mapping[str, Any] | None = None,
    score: str = "verdict",
    same: str = "",
    length_penalty: float = 0.0,
    kind: str = "",
    recipe: str,
    seed: int = 0,
) -> Sifted:
    """Pair the rollouts of each prompt by `rule` (`pair_rules`, `pair_matching`) with `options`.

    score: a float column, or "verdict" (correct is 1, any other judgement 0); `length_penalty` a
    character is taken off before anything is compared. same: a column of ids; rollouts of equal id
    count as equal texts (a program's `code_id`, say). Kept are PAIRS with `id`, `model` and, where
    rollouts have `times_ms`, `time_chosen` and `time_rejected` (medians); the kind is the rule's
    name unless given. Reasons: not_judged, truncated, duplicate, alone, tie, not_paired.
    """
    _check_columns(rollouts, [*rule.needs, *([same] if same else []), score])
    rows = sorted(rollouts.to_pylist(), key=lambda row: str(row["rollout_id"]))
    asked = {row["id"]: row["messages"] for row in prompts.select(["id", "messages"]).to_pylist()}
    reasons: dict[str, int] = {}
    made: list[dict[str, Any]] = []
    for members in _by_prompt(rows):
        judged, left = _admit(members, score, same, length_penalty)
        group = _group(judged, seed, rule)
        pairs, rest = _propose(group, rule, options or {})
        for reason in (*left, *rest):
            reasons[reason] = reasons.get(reason, 0) + 1
        for one, other in pairs:
            made.append(_pair(group, one, other, kind or rule.__name__, recipe))
            made[-1]["prompt"] = _messages(asked, made[-1]["id"])
    extra = _EXTRA + (_TIMES if "times_ms" in rollouts.column_names else [])
    table = pa.Table.from_pylist(made, schema=pa.schema([*PAIRS, *extra]))
    return Sifted(check(table, PAIRS, where="make_pairs"), dict(sorted(reasons.items())))


@step()
def to_pairs(rows: pa.Table, prompts: pa.Table, *, recipe: str) -> Sifted:
    """Write pairs that a recipe made itself: `id`, `chosen`, `rejected`, `kind`, `parents` and,
    where they have them, `prefix`, `score_chosen`, `score_rejected`; other columns stay.

    `parents` are rollouts, the prompt's id is added. A pair of equal texts leaves (equal).
    """
    same = [one.strip() == other.strip() for one, other in _sides(rows)]
    kept, dropped, *_ = sift(rows, ["equal" if equal else None for equal in same])
    asked = {row["id"]: row["messages"] for row in prompts.select(["id", "messages"]).to_pylist()}
    made = [_own_pair(row, asked, recipe) for row in kept.to_pylist()]
    table = pa.Table.from_pylist(made, PAIRS)
    for name in [name for name in kept.column_names if name not in PAIRS.names]:
        table = table.append_column(kept.schema.field(name), kept[name])
    return Sifted(check(table, PAIRS, where="to_pairs"), dropped)


@step()
def to_unpaired(
    rollouts: pa.Table, prompts: pa.Table, *, recipe: str, label: str = "verdict"
) -> Sifted:
    """Write each judged rollout as good or bad: UNPAIRED, with `row_id`, `parents`, `id`, `recipe`.

    label: a column of booleans (null: not judged), or "verdict" (correct is good, other judgements
    are bad). Reasons to leave: not_judged, truncated, duplicate, several_turns (the form holds one
    user message only).
    """
    asked = {row["id"]: row["messages"] for row in prompts.select(["id", "messages"]).to_pylist()}
    rows, seen, made, reasons = rollouts.to_pylist(), set[tuple[str, str]](), [], []
    for row in rows:
        turns, answer = _messages(asked, row["id"]), (row["prefix"] or "") + row["completion"]
        good = _score(row, label)
        reasons.append(_unfit(row, good, turns, (row["id"], answer.strip()) in seen))
        if reasons[-1] is None:
            seen.add((row["id"], answer.strip()))
            made.append(
                {
                    "prompt": turns[0]["content"],
                    "completion": answer,
                    "label": bool(good),
                    "row_id": digest(recipe, row["rollout_id"]),
                    "parents": [row["rollout_id"], row["id"]],
                    "id": row["id"],
                    "recipe": recipe,
                }
            )
    _, dropped, *_ = sift(rollouts, reasons)
    return Sifted(pa.Table.from_pylist(made, pa.schema([*UNPAIRED, *_UNPAIRED_EXTRA])), dropped)


def length_bias(pairs: pa.Table) -> dict[str, float | int | None]:
    """Measure how far the chosen texts differ from the rejected ones in length alone (characters).

    `log_ratio` is the median of ln(chosen / rejected): 0 without bias. `longer` and `shorter` are
    shares of the pairs; all but `pairs` are None where there are no pairs.
    """
    return bias_of([(len(chosen), len(rejected)) for chosen, rejected in _sides(pairs)])


def bias_of(lengths: Sequence[tuple[int, int]]) -> dict[str, float | int | None]:
    """Measure the same from (chosen, rejected) lengths alone."""
    if not lengths:
        names = ("mean_chosen", "mean_rejected", "longer", "shorter", "log_ratio")
        return {"pairs": 0, **dict.fromkeys(names)}
    return {
        "pairs": len(lengths),
        "mean_chosen": statistics.fmean(one for one, _ in lengths),
        "mean_rejected": statistics.fmean(other for _, other in lengths),
        "longer": sum(one > other for one, other in lengths) / len(lengths),
        "shorter": sum(one < other for one, other in lengths) / len(lengths),
        "log_ratio": statistics.median(math.log((a + 1) / (b + 1)) for a, b in lengths),
    }


def _sides(pairs: pa.Table) -> Iterator[tuple[str, str]]:
    return zip(pairs["chosen"].to_pylist(), pairs["rejected"].to_pylist(), strict=True)


def _own_pair(row: Row, asked: Mapping[str, Any], recipe: str) -> dict[str, Any]:
    both = digest(row["chosen"], row["rejected"])
    return dict(row) | {
        "row_id": digest(recipe, row["kind"], row["id"], both),
        "prompt": _messages(asked, row["id"]),
        "prefix": row.get("prefix") or "",
        "parents": [*row["parents"], row["id"]],
        "recipe": recipe,
    }


def _unfit(row: Row, good: float | None, turns: Sequence[Any], again: bool) -> str | None:
    """Say why a rollout is no unpaired row; None if it is one."""
    if good is None:
        return "not_judged"
    if row.get("finish_reason") == "length":
        return "truncated"
    return "several_turns" if len(turns) > 1 else "duplicate" if again else None


def _check_columns(rollouts: pa.Table, wanted: Sequence[str]) -> None:
    missing = [name for name in wanted if name not in rollouts.column_names]
    if missing:
        have = ", ".join(rollouts.column_names)
        raise UserError(
            f"make_pairs: the rollouts lack {', '.join(missing)}; they have: {have}; score them "
            "first, or name another column"
        )


def _messages(asked: Mapping[str, Any], prompt_id: str) -> Any:
    if prompt_id not in asked:
        raise UserError(
            f"prompt {prompt_id} of the rollouts is not among the {len(asked)} "
            "prompts; give the prompts that were sampled"
        )
    return asked[prompt_id]


def _by_prompt(rows: Sequence[Row]) -> list[list[Row]]:
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["id"], row["prefix"] or ""), []).append(row)
    return [groups[key] for key in sorted(groups)]


def _admit(
    rows: Sequence[Row], score: str, same: str, penalty: float
) -> tuple[list[tuple[Row, float]], list[str]]:
    """Return the rollouts that may be paired with their scores, and why the others may not."""
    admitted: list[tuple[Row, float]] = []
    reasons: list[str] = []
    seen: set[tuple[str, Any]] = set()
    for row in rows:
        value = _score(row, score)
        keys = {("text", row["completion"].strip())}
        keys |= {("same", row[same])} if same and row[same] is not None else set()
        if value is None:
            reasons.append("not_judged")
        elif row.get("finish_reason") == "length":
            reasons.append("truncated")
        elif keys & seen:
            reasons.append("duplicate")
        else:
            seen |= keys
            admitted.append((row, value - penalty * len(row["completion"])))
    return admitted, reasons


def _score(row: Row, score: str) -> float | None:
    if row.get("verdict") == "infra":
        return None
    value = _VERDICTS.get(row["verdict"] or "") if score == "verdict" else row[score]
    return float(value) if value is not None and math.isfinite(value) else None


def _group(judged: Sequence[tuple[Row, float]], seed: int, rule: Rule) -> Group:
    rows = [dict(row) for row, _ in judged]
    scores = np.array([value for _, value in judged], np.float64)
    drawn = trial_seed(seed, rows[0]["id"], rule.__name__, 0) if rows else 0
    return Group(scores, [row["completion"] for row in rows], rows, drawn)


def _propose(group: Group, rule: Rule, options: Mapping[str, Any]) -> tuple[Pairs, list[str]]:
    """Return the rule's pairs that may stand, and a reason for each rollout in none of them."""
    if len(group.rows) < 2:
        return [], ["alone"] * len(group.rows)
    scores = group.scores
    pairs, tied = [], set[int]()
    for one, other in dict.fromkeys(rule(group, **options)):
        if rule.ties or scores[one] > scores[other]:
            pairs.append((one, other))
        else:
            tied |= {one, other}
    if not rule.ties and scores.min() == scores.max():
        tied = set(range(len(scores)))
    used = {place for pair in pairs for place in pair}
    unused = [place for place in range(len(scores)) if place not in used]
    return pairs, ["tie" if place in tied else "not_paired" for place in unused]


def _pair(group: Group, one: int, other: int, kind: str, recipe: str) -> dict[str, Any]:
    chosen, rejected = group.rows[one], group.rows[other]
    ids = [chosen["rollout_id"], rejected["rollout_id"]]
    return {
        "row_id": digest(recipe, kind, *ids),
        "prefix": chosen["prefix"] or "",
        "chosen": chosen["completion"],
        "rejected": rejected["completion"],
        "score_chosen": float(group.scores[one]),
        "score_rejected": float(group.scores[other]),
        "kind": kind,
        "parents": [*ids, chosen["id"]],
        "recipe": recipe,
        "id": chosen["id"],
        "model": chosen.get("model"),
        "time_chosen": _median(chosen.get("times_ms")),
        "time_rejected": _median(rejected.get("times_ms")),
    }


def _median(times: Sequence[float] | None) -> float | None:
    return statistics.median(times) if times else None
