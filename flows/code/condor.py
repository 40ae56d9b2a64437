"""Condor: right and wrong programs that differ by a few tokens, and the programs between them.

Liang et al., "Condor: A Code Discriminator Integrating General Semantics with Code Details", IEEE
TSE 2025, arXiv 2412.17429. Each wrong program meets the nearest right one of its task; the changes
between the two, made one subset at a time, give further programs, which are run and labelled.

Departures: how pairs were matched and intermediate programs made was not found, so both rules are
ours (`pair_matching.minimal_edit`, `code_edits.hunk_versions`); programs are a model's, not
students'; distances count words and signs, not DeepSeek-Coder tokens. Train, validation and test
sets must be split by `id`: programs of one task are alike. Contrastive rows are any two of a task.

In:  tasks with `tests`.
Out: programs labelled right or wrong by execution (unpaired), and the minimal pairs (pairs).

Ran on: nano model on vLLM's CPU build
"""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from pipeline.budgets import Budget
from pipeline.code_edits import hunk_versions
from pipeline.engines import Sampling
from pipeline.operators import load_prompts, sample_until, sift
from pipeline.pair_matching import minimal_edit
from pipeline.pairs import make_pairs
from pipeline.prompts import WRITE_PROGRAM
from pipeline.relations import concat
from pipeline.schema import UNPAIRED, Sifted, digest, trial_seed
from pipeline.shards import Shards
from pipeline.steps import recipe, step
from scorers.execution import as_programs, execute
from scorers.programs import programs
from scorers.task_matrix import judge

_STRINGS = pa.list_(pa.string())
_TEXTS = ("id", "rollout_id", "code", "entry_point", "verdict", "reason")
_VERSION = pa.schema([*((name, pa.string()) for name in _TEXTS), ("tests", _STRINGS),
                      ("parents", _STRINGS)])  # fmt: skip
_OUT = [("row_id", pa.string()), ("parents", _STRINGS), ("id", pa.string()),
        ("recipe", pa.string()), ("kind", pa.string())]  # fmt: skip

Row = Mapping[str, Any]


@step()
def bare_programs(rollouts: pa.Table) -> Sifted:
    """Put the program in place of the reply, so that prose counts for no distance."""
    reasons = [None if code else "no_code" for code in rollouts["extracted"].to_pylist()]
    kept, dropped, *_ = sift(rollouts, reasons)
    place = kept.schema.get_field_index("completion")
    return Sifted(kept.set_column(place, "completion", kept["extracted"]), dropped)


@step(expands=True)
def between(pairs: pa.Table, tasks: pa.Table, *, at_most: int, seed: int) -> Sifted:
    """Make the programs between the sides of each pair, distinct in a task, with its tests.

    Pairs that differ in one hunk have none (one_hunk).
    """
    asked = {row["id"]: row for row in tasks.to_pylist()}
    known = {(row["id"], row[side]) for row in pairs.to_pylist() for side in ("chosen", "rejected")}
    made: list[Row] = []
    without = 0
    for row in pairs.to_pylist():
        drawn = trial_seed(seed, row["row_id"], "between", 0)
        versions = hunk_versions(row["rejected"], row["chosen"], at_most=at_most, seed=drawn)
        without += not versions
        for code in versions:
            if (row["id"], code) not in known:
                known.add((row["id"], code))
                made.append(_version(row, code, asked[row["id"]]))
    table = pa.Table.from_pylist(made, _VERSION)
    return Sifted(table, {"one_hunk": without} if without else {})


def _version(pair: Row, code: str, task: Row) -> Row:
    return {
        "id": pair["id"],
        "rollout_id": digest("condor", pair["id"], code),
        "code": code,
        "entry_point": task.get("entry_point"),
        "tests": task["tests"],
        "parents": [pair["row_id"], *pair["parents"]],
    }


@step(expands=True)
def pair_sides(pairs: pa.Table) -> pa.Table:
    """Take the pairs apart into programs with their verdicts, each once a task."""
    rows: dict[tuple[str, str], Row] = {}
    for pair in pairs.to_pylist():
        for place, (side, verdict) in enumerate((("chosen", "correct"), ("rejected", "wrong"))):
            rows[pair["id"], pair[side]] = {
                "id": pair["id"],
                "rollout_id": pair["parents"][place],
                "code": pair[side],
                "verdict": verdict,
                "reason": "sampled",
                "parents": [pair["parents"][place], pair["id"]],
            }
    return pa.Table.from_pylist(list(rows.values()), _VERSION)


@step()
def labelled(programs: pa.Table, tasks: pa.Table, *, longest: int) -> Sifted:
    """Write each program with its task's text and its label; what was not judged leaves.

    Also those too long for the discriminator with their task (characters), counted as too_long.
    """
    asked = {row["id"]: row["messages"][-1]["content"] for row in tasks.to_pylist()}
    made, reasons = list[Row](), list[str | None]()
    for row in programs.to_pylist():
        size = len(asked[row["id"]]) + len(row["code"])
        unsure = row["verdict"] in ("infra", "unverified")
        reasons.append("not_judged" if unsure else "too_long" if size > longest else None)
        made.append(
            {
                "prompt": asked[row["id"]],
                "completion": row["code"],
                "label": row["verdict"] == "correct",
                "row_id": digest("condor", row["rollout_id"]),
                "parents": row["parents"],
                "id": row["id"],
                "recipe": "condor",
                "kind": "sampled" if row["reason"] == "sampled" else "between",
            }
        )
    return sift(pa.Table.from_pylist(made, pa.schema([*UNPAIRED, *_OUT])), reasons)


@recipe(paper="arXiv:2412.17429", output="unpaired")
def condor(
    prompts: str = "nano_code",
    columns: dict[str, str] | None = None,
    subset: str = "",
    split: str = "train",
    limit: int = 0,
    skip_bad: bool = False,
    model: str = "vllm:data/nano",
    engine: dict[str, str | int | float | bool] | None = None,
    sandbox: dict[str, str | int] | None = None,
    n: int = 16,
    edits: int = 50,
    pairs_a_task: int = 4,
    versions: int = 14,
    longest: int = 2000,
    temperature: float = 1.0,
    max_tokens: int = 160,
    seed: int = 0,
) -> dict[str, Shards]:
    """Sample programs, pair each wrong one with the nearest right one, run what lies between.

    edits: tokens that the sides of a pair may differ by. versions: programs between, a pair.
    """
    tasks = load_prompts(prompts, columns, subset, split, limit, skip_bad, seed, needs=("tests",))
    drawn = sample_until(
        tasks,
        WRITE_PROGRAM,
        model=model,
        engine=engine,
        budget=Budget("fixed", n, n),
        verifier=programs,
        sampling=Sampling(temperature, max_tokens=max_tokens),
        seed=seed,
    )
    options = {"edits": edits, "at_most": pairs_a_task}
    pairs = make_pairs(
        bare_programs(drawn), tasks, rule=minimal_edit, options=options, recipe="condor", seed=seed
    )
    made = between(pairs, tasks, at_most=versions, seed=seed)
    judged = judge(made, execute(as_programs(made), sandbox=sandbox))
    rows = labelled(concat([pair_sides(pairs), judged]), tasks, longest=longest)
    return {"unpaired": rows, "pairs": pairs}
