"""MORepair: learn to mend a program and to say why the repair works.

Yang et al., "MORepair: Teaching LLMs to Repair Code via Multi-Objective Fine-Tuning", ACM TOSEM
2025 (doi 10.1145/3735129). A wrong program has two answers: the repaired program, and the repaired
program with a model's explanation. The loss is (L1 + beta L2) / (1 + beta).

Departures: the bugs are a model's own and its own right program of the same task is the fix, where
the paper has students' programs; both were run, so that what is explained is a repair; the loss's
parts are the rows' weights (normalise by them), the prompt is masked as in any conversation, each
answer ends once, and rows over a length leave counted, where the official code cuts them.

In:  tasks with `tests`.
Out: SFT conversations, two for each repair.

Ran on: nano model on vLLM's CPU build
"""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from flows.code.condor import bare_programs
from pipeline.budgets import Budget
from pipeline.engines import Sampling
from pipeline.errors import UserError
from pipeline.operators import generate, load_prompts, sample_until, sift
from pipeline.pair_matching import minimal_edit
from pipeline.pairs import make_pairs
from pipeline.prompts import WRITE_PROGRAM
from pipeline.relations import parse, reader
from pipeline.schema import SFT, Sifted, digest
from pipeline.shards import Shards
from pipeline.steps import recipe, step
from scorers.programs import programs

EXPLAIN = """\
{{ prompt }}

A wrong program:

```python
{{ buggy }}
```

The repaired program:

```python
{{ fixed }}
```

Explain in prose what was wrong and how the change mends it."""

REPAIR = """\
{prompt}

This program does not do it:

```python
{buggy}
```

Repair it."""

_EXTRA = [("id", pa.string()), ("model", pa.string()), ("objective", pa.string())]

Row = Mapping[str, Any]


@step()
def as_repairs(pairs: pa.Table) -> pa.Table:
    """Make each pair a row to be explained: `buggy` and `fixed` under the pair's own id."""
    names = {"row_id": "id", "prompt": "messages", "rejected": "buggy", "chosen": "fixed"}
    table = pairs.select([*names, "parents"]).rename_columns([*names.values(), "parents"])
    return table.append_column("led_by", pairs["parents"])


@reader({"rationale": pa.string()})
def rationale(row: Row) -> Row | str:
    """Read an explanation: prose, not a program."""
    text = row["completion"].strip()
    if not text:
        return "empty"
    return "has_code_block" if "```" in text else {"rationale": text}


@step(expands=True)
def two_targets(rows: pa.Table, *, beta: float, longest: int) -> Sifted:
    """Write each repair twice: the program, and the program with its explanation.

    Weights are 1 / (1 + beta) and beta / (1 + beta); with beta 0 there is no second row. A repair
    whose question and longer answer exceed `longest` characters leaves with both (too_long).
    """
    table, dropped, *_ = sift(rows, [_too_long(row, longest) for row in rows.to_pylist()])
    made = []
    for row in table.to_pylist():
        for objective, weight in (("fix", 1 / (1 + beta)), ("explain", beta / (1 + beta))):
            if weight:
                made.append(_target(row, objective, weight))
    return Sifted(pa.Table.from_pylist(made, pa.schema([*SFT, *_EXTRA])), dropped)


def _too_long(row: Row, longest: int) -> str | None:
    turns = _target(row, "explain", 1.0)["messages"]
    return "too_long" if sum(len(turn["content"]) for turn in turns) > longest else None


def _target(row: Row, objective: str, weight: float) -> dict[str, Any]:
    *before, last = row["messages"]
    question = REPAIR.format(prompt=last["content"], buggy=row["buggy"])
    answer = f"```python\n{row['fixed']}\n```"
    answer += f"\n\n{row['rationale']}" if objective == "explain" else ""
    turns = [("user", question), ("assistant", answer)]
    return {
        "row_id": digest("morepair", row["id"], objective),
        "messages": [*before, *({"role": role, "content": text} for role, text in turns)],
        "weight": weight,
        "parents": [row["rollout_id"], *row["led_by"]],
        "recipe": "morepair",
        "id": row["led_by"][-1],
        "model": row["model"],
        "objective": objective,
    }


@recipe(paper="doi:10.1145/3735129", output="sft")
def morepair(
    prompts: str = "nano_code",
    columns: dict[str, str] | None = None,
    subset: str = "",
    split: str = "train",
    limit: int = 0,
    skip_bad: bool = False,
    model: str = "vllm:data/nano",
    explainer: str = "",
    engine: dict[str, str | int | float | bool] | None = None,
    n: int = 16,
    edits: int = 50,
    pairs_a_task: int = 4,
    beta: float = 1.0,
    longest: int = 8000,
    temperature: float = 1.0,
    max_tokens: int = 160,
    seed: int = 0,
) -> Shards:
    """Sample programs, match wrong with right ones, have the repair explained, write both answers.

    explainer: the model that explains (default: the same). beta: weight of the explained answer;
    the demonstration's value (the paper's was not found). edits: tokens that a repair may change.
    """
    if beta < 0:
        raise UserError(f"beta is {beta}; give 0 (no explanations) or more")
    tasks = load_prompts(prompts, columns, subset, split, limit, skip_bad, seed, needs=("tests",))
    sampling = Sampling(temperature, max_tokens=max_tokens)
    drawn = sample_until(
        tasks,
        WRITE_PROGRAM,
        model=model,
        engine=engine,
        budget=Budget("fixed", n, n),
        verifier=programs,
        sampling=sampling,
        seed=seed,
    )
    options = {"edits": edits, "at_most": pairs_a_task}
    pairs = make_pairs(
        bare_programs(drawn), tasks, rule=minimal_edit, options=options, recipe="morepair"
    )
    repairs = as_repairs(pairs)
    why = generate(
        repairs,
        EXPLAIN,
        model=explainer or model,
        engine=engine,
        sampling=Sampling(0.0, max_tokens=max_tokens),
        seed=seed,
        into="explanations",
    )
    explained = parse(why, repairs, reader=rationale, into="rationales")
    rows: Shards = two_targets(explained, beta=beta, longest=longest)
    return rows
