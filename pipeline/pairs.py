"""Chosen and rejected from scored rollouts: one step for every rule, and what the pairs favour.

A pair joins two rollouts of one prompt and one prefix. Never paired, whatever the rule says:
rollouts that were not judged (infra, or no finite score), cut off ones (the score is that of a
beginning), equal texts and equal scores. Every rollout is in a pair or counted under one reason:
rollouts = rollouts in pairs + sum of reasons, exactly.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.errors import UserError
from pipeline.pair_rules import Group, Pairs, Rule
from pipeline.schema import PAIRS, Sifted, check, digest, trial_seed
from pipeline.steps import step

_VERDICTS = {"correct": 1.0, "wrong": 0.0, "unparsable": 0.0, "timeout": 0.0, "error": 0.0}
_EXTRA = [("id", pa.string()), ("model", pa.string())]
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


def length_bias(pairs: pa.Table) -> dict[str, float | int | None]:
    """Measure how far the chosen texts differ from the rejected ones in length alone (characters).

    `log_ratio` is the median of ln(chosen / rejected): 0 without bias. `longer` and `shorter` are
    shares of the pairs; all but `pairs` are None where there are no pairs.
    """
    columns = (pairs["chosen"].to_pylist(), pairs["rejected"].to_pylist())
    lengths = [(len(chosen), len(rejected)) for chosen, rejected in zip(*columns, strict=True)]
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
            f"make_pairs: prompt {prompt_id} of the rollouts is not among the {len(asked)} "
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
