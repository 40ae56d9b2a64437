"""Small run folders, written the way a run writes them, for the tests of what people see."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import xxhash
import yaml

from pipeline.schema import MESSAGES, ROLLOUTS, SFT, Sifted, canonical, digest
from pipeline.shards import Shards, write_manifest, write_shard

RATES = {1: 0.95, 2: 0.8, 3: 0.55, 4: 0.3, 5: 0.08}
PARAMETERS = {"model": "scripted:toy", "k": 4, "seed": 7, "sampling": {"temperature": 0.7}}
_WHY = [("wrong", "not_equal"), ("wrong", "not_equal"), ("unparsable", "no_answer"), ("infra", "")]
_ROLLOUTS = ROLLOUTS.append(pa.field("target", pa.int32()))
_MARKUP = "<script>alert('completion')</script> & <b>bold</b>"


def build(
    folder: Path,
    *,
    prompts: int = 40,
    rates: Mapping[Any, float] = RATES,
    k: int = 4,
    cap: int = 16,
    until: str = "sft",
    seed: int = 7,
    temperature: float = 0.7,
) -> Path:
    """Write a run of uniform rejection sampling to `folder`, its steps up to `until`."""
    folder.mkdir(parents=True, exist_ok=True)
    parameters = {**PARAMETERS, "k": k, "seed": seed, "sampling": {"temperature": temperature}}
    config = {"recipe": "rejection.toy", "parameters": parameters}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    asked = _prompts(prompts, list(rates))
    upstream = commit(
        folder / "prompts", Sifted(asked, {"duplicate_prompt": 2}), "read_prompts", {}
    )
    if until == "prompts":
        return folder
    trials = _trials(asked, rates, k, cap, seed, temperature)
    sampled = commit(folder / "rollouts", trials, "rollouts", _sampling(k, cap), [upstream])
    _progress(folder, len(asked), trials)
    if until == "rollouts":
        return folder
    picked = _pick(trials.kept, at_most=k)
    settings = {"at_most": k, "near": None, "seed": seed}
    chosen = commit(folder / "picked", picked, "pick", settings, [sampled])
    if until == "picked":
        return folder
    rows = _to_sft(picked.kept, asked)
    commit(folder / "sft", Sifted(rows), "to_sft", {"recipe": "toy"}, [chosen, upstream])
    return folder


def commit(
    place: Path,
    sifted: Sifted,
    step: str,
    parameters: Mapping[str, Any],
    inputs: Sequence[Shards] = (),
) -> Shards:
    """Write one step's folder with one shard."""
    made_by = {"step": step, "version": 1, "parameters": dict(parameters)}
    lineage = {**made_by, "inputs": [one.fingerprint for one in inputs]}
    if inputs:
        lineage["rows_in"] = inputs[0].rows
    record = write_shard(place, 0, sifted, key=digest(lineage), made_by={**lineage, "of": 1})
    write_manifest(place, [record], layout="id/1", made_by=lineage)
    return Shards.open(place)


def _prompts(n: int, levels: Sequence[Any]) -> pa.Table:
    rows = []
    for i in range(n):
        level = levels[i % len(levels)]
        text = f"Problem {i}: a shop sells {i + 3} boxes of {level} pens each. How many pens?"
        rows.append(
            {
                "id": f"prompt-{i:03d}",
                "messages": [{"role": "user", "content": text}],
                "source": "shop" if i % 3 else "market",
                "meta": canonical(
                    {} if level is None else {"level": level, "kind": "word"}
                ).decode(),
                "answer": str((i + 3) * (level if isinstance(level, int) else 1)),
            }
        )
    names = [("id", pa.string()), ("messages", MESSAGES), ("source", pa.string())]
    schema = pa.schema([*names, ("meta", pa.string()), ("answer", pa.string())])
    return pa.Table.from_pylist(rows, schema=schema)


def _trials(
    asked: pa.Table, rates: Mapping[Any, float], k: int, cap: int, seed: int, temperature: float
) -> Sifted:
    kept, aside = [], []
    sampling = canonical({"temperature": temperature, "top_p": 1.0}).decode()
    for row in asked.to_pylist():
        rate, hits = rates[orjson.loads(row["meta"]).get("level")], 0
        for trial in range(cap + 1):
            full = hits >= k or trial >= cap
            made = _trial(row, trial, rate, [seed, temperature], sampling, k)
            (aside if full else kept).append({**made, "counted": not full})
            hits += made["verdict"] == "correct"
            if full:
                break
    tables = [pa.Table.from_pylist(rows, schema=_ROLLOUTS) for rows in (kept, aside)]
    return Sifted(tables[0], {}, tables[1])


def _trial(
    row: Mapping[str, Any], trial: int, rate: float, run: Any, sampling: str, target: int
) -> dict[str, Any]:
    number = xxhash.xxh3_64_intdigest(canonical([row["id"], trial, run]))
    good = number % 1000 < 1000 * rate
    verdict, reason = ("correct", "equal") if good else _WHY[number // 1000 % len(_WHY)]
    steps = 2 + number // 7000 % 6 + (0 if good else number // 90 % 9)
    answer = row["answer"] if good else str(number % 97)
    lines = [f"Step {i + 1}: take {number % (i + 13)} boxes and count." for i in range(steps)]
    body = "\n".join([*lines, *([_MARKUP] if number % 5 == 0 else [])])
    if good and trial % 4 == 3:
        body = "The same words again."
    return {
        "rollout_id": digest(row["id"], trial, run),
        "id": row["id"],
        "trial": trial,
        "prefix": "",
        "completion": f"{body}\nThe answer is {answer}.",
        "finish_reason": "stop",
        "model": "scripted:toy",
        "sampling": sampling,
        "prompt_digest": digest("chat", row["id"]),
        "seed": number,
        "n_tokens": 14 * steps + 9,
        "sum_logprob": None,
        "verdict": verdict,
        "reason": reason,
        "extracted": None if verdict == "unparsable" else answer,
        "parents": [row["id"]],
        "target": target,
    }


def _pick(rollouts: pa.Table, at_most: int) -> Sifted:
    from pipeline.picking import reasons_to_leave

    reasons = reasons_to_leave(rollouts, at_most=at_most, near=None, seed=7)
    kept = rollouts.filter(pa.array([reason is None for reason in reasons], pa.bool_()))
    named = sorted(reason for reason in reasons if reason)
    return Sifted(kept, {reason: named.count(reason) for reason in named})


def _to_sft(picked: pa.Table, asked: pa.Table) -> pa.Table:
    prompts = {row["id"]: row for row in asked.to_pylist()}
    rows = [
        {
            "row_id": digest("toy", row["rollout_id"]),
            "messages": [
                *prompts[row["id"]]["messages"],
                {"role": "assistant", "content": row["completion"]},
            ],
            "weight": 1.0,
            "parents": [row["rollout_id"], row["id"]],
            "recipe": "toy",
            "id": row["id"],
            "source": prompts[row["id"]]["source"],
            "model": row["model"],
        }
        for row in picked.to_pylist()
    ]
    extra = [(name, pa.string()) for name in ("id", "source", "model")]
    return pa.Table.from_pylist(rows, schema=pa.schema([*SFT, *extra]))


def _sampling(k: int, cap: int) -> dict[str, Any]:
    budget = {"kind": "uniform", "k": k, "max_trials": cap}
    return {"identity": "scripted:toy@1", "template": "{{ prompt }}", "budget": budget}


def _progress(folder: Path, prompts: int, trials: Sifted) -> None:
    lines, covered, tokens = [], set(), 0
    for i, row in enumerate(trials.kept.to_pylist(), 1):
        covered |= {row["id"]} if row["verdict"] == "correct" else set()
        tokens += row["n_tokens"]
        line = {"seconds": i / 4, "prompts": prompts, "finished": len(covered), "rollouts": i}
        line |= {"covered": len(covered), "tokens": tokens, "prompt_tokens": 30 * i, "correct": 0}
        lines.append(orjson.dumps(line))
    (folder / "progress.jsonl").write_bytes(b"\n".join([*lines, b""]))
