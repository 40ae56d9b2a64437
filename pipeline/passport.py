"""The passport of a row, a rollout or a prompt: where it comes from and which steps kept it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.funnel import Stage, read_record
from pipeline.lookup import fetch, find_id, follow, read_prompt
from pipeline.wording import align, shorten

_FACTS = (
    "verdict",
    "reason",
    "extracted",
    "finish_reason",
    "n_tokens",
    "sum_logprob",
    "counted",
    "trial",
    "seed",
    "model",
    "sampling",
    "prompt_digest",
    "prefix",
)


def passport(run: str | Path, wanted: str) -> dict[str, Any]:
    """Return everything that is known of a row, a rollout or a prompt, as JSON.

    `wanted` is a row_id, rollout_id or prompt id, or the beginning of exactly one. Keys: kind, id,
    row (None unless a row), prompt, rollouts (each with the stages it passed), steps. Raises
    UserError naming the nearest ids if there is none.
    """
    record = read_record(run)
    kind, found = find_id(record, wanted, ("row", "rollout", "prompt"))
    final = record.final.name if record.final else ""
    row = next(iter(fetch(record, final, "row_id", found)), None) if kind == "row" else None
    if kind == "prompt":
        rollouts = fetch(record, "rollouts", "id", found)
    else:
        names = row["parents"] if row else [found]
        rollouts = [one for name in names for one in fetch(record, "rollouts", "rollout_id", name)]
    passed = follow(record, [one["rollout_id"] for one in rollouts])
    prompt_id = found if kind == "prompt" else _prompt_of(row, rollouts)
    return {
        "kind": kind,
        "id": found,
        "row": row,
        "prompt": read_prompt(record, prompt_id),
        "rollouts": [one | {"path": _path(passed, one["rollout_id"])} for one in rollouts],
        "steps": [_step(stage) for stage in record.stages],
    }


def trace(run: str | Path, wanted: str) -> str:
    """Write the passport of a row, a rollout or a prompt as text; see `passport`."""
    facts = passport(run, wanted)
    lines = [f"{facts['kind']} {facts['id']}", *_prompt_lines(facts["prompt"])]
    if facts["kind"] == "prompt":
        lines += _trial_lines(facts["rollouts"])
    else:
        lines += [line for one in facts["rollouts"] for line in _rollout_lines(one)]
    if facts["row"]:
        lines += _row_lines(facts["row"])
    table = [["  step", "version", "fingerprint"]]
    for one in facts["steps"]:
        table.append([f"  {one['name']}", str(one["version"]), one["fingerprint"]])
    return "\n".join([*lines, "", "Steps", *align("<><", table)])


def _prompt_of(row: Mapping[str, Any] | None, rollouts: list[dict[str, Any]]) -> str:
    if rollouts:
        return str(rollouts[0]["id"])
    return str((row or {}).get("id") or "unknown")


def _path(passed: list[tuple[Stage, set[str] | None]], rollout_id: str) -> dict[str, bool | None]:
    return {stage.name: None if held is None else rollout_id in held for stage, held in passed}


def _step(stage: Stage) -> dict[str, Any]:
    return {
        "name": stage.name,
        "step": stage.step,
        "version": stage.version,
        "parameters": dict(stage.parameters),
        "fingerprint": stage.fingerprint or "unfinished",
    }


def _prompt_lines(prompt: Mapping[str, Any]) -> list[str]:
    lines = ["", f"Prompt {prompt['id']}"]
    for name in ("source", "meta", "answer"):
        if prompt.get(name) is not None:
            lines.append(f"  {'reference' if name == 'answer' else name}: {prompt[name]}")
    for turn in prompt.get("messages") or []:
        lines += [f"  {turn['role']}:", *_indent(turn["content"])]
    return lines


def _rollout_lines(rollout: Mapping[str, Any]) -> list[str]:
    facts = [f"  {name}: {rollout[name]}" for name in _FACTS if rollout.get(name) not in (None, "")]
    said = {True: "kept", False: "gone", None: "holds no rollouts"}
    path = [f"{name} ({said[held]})" for name, held in rollout["path"].items()]
    return [
        "",
        f"Rollout {rollout['rollout_id']}",
        *facts,
        f"  then: {', '.join(path) or 'no step has followed yet'}",
        "  completion:",
        *_indent(rollout["completion"]),
    ]


def _trial_lines(rollouts: list[dict[str, Any]]) -> list[str]:
    if not rollouts:
        return ["", "No rollout of this prompt is in the run."]
    head = ["  trial", "rollout", "verdict", "extracted", "tokens", "last kept by"]
    rows = []
    for one in sorted(rollouts, key=lambda one: one["trial"]):
        kept_by = [name for name, held in one["path"].items() if held]
        verdict = one["verdict"] if one["counted"] else f"{one['verdict']} (surplus)"
        extracted = shorten(one["extracted"] or "", 24)
        last = kept_by[-1] if kept_by else "rollouts"
        tokens = str(one["n_tokens"])
        rows.append([f"  {one['trial']}", one["rollout_id"], verdict, extracted, tokens, last])
    return ["", f"{len(rows)} rollouts", *align("<<<<><", [head, *rows])]


def _row_lines(row: Mapping[str, Any]) -> list[str]:
    rest = {name: value for name, value in row.items() if name not in ("messages", "parents")}
    return ["", f"Row {row['row_id']}", *(f"  {name}: {value}" for name, value in rest.items())]


def _indent(text: str) -> list[str]:
    return [f"    {line}" for line in (text or "").splitlines()]
