"""Why a prompt has no rows, or fewer than it might: from its trials to the last step."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.funnel import Record, Stage, read_record
from pipeline.lookup import fetch, find_id, follow, read_prompt
from pipeline.picking import reasons_to_leave
from pipeline.schema import WORDS
from pipeline.wording import shorten

_EXAMPLES = 3


def explain(run: str | Path, wanted: str) -> dict[str, Any]:
    """Return why a prompt has the rows it has, as JSON.

    Keys: id, prompt, trials, surplus, verdicts (word -> count), target (None if there was none),
    rows, lost (step, reason, rollout_id of each correct rollout that left), wrong (a few of what
    was extracted instead of the reference). Raises UserError for an unknown id.
    """
    record = read_record(run)
    _, prompt_id = find_id(record, wanted, ("prompt",))
    rollouts = sorted(fetch(record, "rollouts", "id", prompt_id), key=lambda one: one["trial"])
    counted = [one for one in rollouts if one["counted"]]
    verdicts = Counter(one["verdict"] for one in counted)
    correct = [one for one in counted if one["verdict"] == "correct"]
    lost = _losses(record, correct, counted)
    return {
        "id": prompt_id,
        "prompt": read_prompt(record, prompt_id),
        "sampled": record.open("rollouts") is not None,
        "trials": len(counted),
        "surplus": len(rollouts) - len(counted),
        "verdicts": {word: verdicts[word] for word in WORDS if verdicts[word]},
        "target": next((one["target"] for one in counted if one.get("target") is not None), None),
        "rows": len(correct) - len(lost) if record.final else None,
        "lost": lost,
        "wrong": _instead(counted),
    }


def why_not(run: str | Path, wanted: str) -> str:
    """Say in text why a prompt has the rows it has; see `explain`."""
    facts = explain(run, wanted)
    verdicts = facts["verdicts"]
    turns = facts["prompt"].get("messages") or [{"content": ""}]
    lines = [f"prompt {facts['id']}: {shorten(turns[-1]['content'])}", "", _verdict_line(facts)]
    if facts["target"] is not None:
        correct = verdicts.get("correct", 0)
        enough = correct >= facts["target"]
        met = "reached" if enough else "not reached: its trial cap or a limit of the run came first"
        lines.append(f"Target: {facts['target']} correct, {correct} found: {met}.")
    if facts["lost"]:
        lines += ["", f"{len(facts['lost'])} correct rollouts left on the way:"]
        counts = Counter((loss["step"], loss["reason"]) for loss in facts["lost"])
        lines += [f"  {n} at {step}: {reason}" for (step, reason), n in sorted(counts.items())]
        for loss in facts["lost"]:
            lines.append(f"    {loss['rollout_id']}  {loss['step']}: {loss['reason']}")
    if facts["wrong"]:
        reference = facts["prompt"].get("answer")
        lines += ["", f"Answers instead of the reference{f' {reference}' if reference else ''}:"]
        lines += [f"  {one['count']} x {one['verdict']}: {one['said']}" for one in facts["wrong"]]
    return "\n".join(lines)


def _verdict_line(facts: Mapping[str, Any]) -> str:
    if not facts["sampled"]:
        return "Its rollouts are not finished yet; see tamis show."
    if not facts["trials"]:
        return "It was never sampled: an earlier step dropped it, or the run's limit came first."
    words = ", ".join(f"{count} {word}" for word, count in facts["verdicts"].items())
    surplus = f", {facts['surplus']} surplus beside them" if facts["surplus"] else ""
    rows = "" if facts["rows"] is None else f" Rows: {facts['rows']}."
    return f"{facts['trials']} trials counted: {words}{surplus}.{rows}"


def _losses(
    record: Record, correct: Sequence[Mapping[str, Any]], counted: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return, for each correct rollout that is gone, the first step without it and the reason."""
    left = [one["rollout_id"] for one in correct]
    lost = []
    for stage, held in follow(record, left):
        for name in [] if held is None else [name for name in left if name not in held]:
            reason = _reason(stage, name, counted)
            lost.append({"step": stage.name, "reason": reason, "rollout_id": name})
            left.remove(name)
    return lost


def _reason(stage: Stage, rollout_id: str, counted: Sequence[Mapping[str, Any]]) -> str:
    """Say why a stage dropped a rollout.

    The rule of `pick` is applied again to the prompt's rollouts; of other steps the run knows only
    how many rows left for which reason.
    """
    if stage.step == "pick":
        reasons = _pick_again(stage, sorted(counted, key=lambda one: one["trial"]))
        if reasons.get(rollout_id):
            return str(reasons[rollout_id])
    return " or ".join(stage.dropped) or "not said by the step"


def _pick_again(stage: Stage, rows: Sequence[Mapping[str, Any]]) -> dict[str, str | None]:
    """Return each rollout's reason to leave; nothing if an earlier step gave `pick` a column."""
    at_most, near, seed = (stage.parameters.get(name) for name in ("at_most", "near", "seed"))
    columns = ["id", "rollout_id", "completion", "verdict"]
    if isinstance(at_most, str):
        columns.append(at_most)
    if seed is None or not set(columns) <= set(rows[0]):
        return {}
    table = pa.Table.from_pylist([{name: row[name] for name in columns} for row in rows])
    reasons = reasons_to_leave(table, at_most=at_most, near=near, seed=seed)
    return dict(zip(table["rollout_id"].to_pylist(), reasons, strict=True))


def _instead(counted: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the commonest things extracted where the verdict was not correct."""
    said = Counter(
        (one["verdict"], shorten(one["extracted"] or one["reason"] or "nothing extracted"))
        for one in counted
        if one["verdict"] in ("wrong", "unparsable", "timeout", "error")
    )
    ranked = sorted(said.items(), key=lambda item: (-item[1], item[0]))
    return [{"verdict": v, "said": text, "count": n} for (v, text), n in ranked[:_EXAMPLES]]
