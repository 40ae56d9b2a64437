"""LeTI: train on programs together with what the interpreter said of them.

Wang et al., "LeTI: Learning to Generate from Textual Interactions", Findings of NAACL 2024, arXiv
2305.10314. Programs are sampled and tested; each becomes a text that begins with a token for good
or bad and, if it failed, the interpreter's message, then task and program. One call is one
iteration: train on its rows (loss on all of `text`), then sample with the next `iteration`.

Departures: verdicts come from tests that the program cannot see, the message from a second run, in
which program and tests are one script; an endless loop is a timeout and an exit an error at once;
of equal texts of a prompt `at_most` stay; the control tokens are written out as text, to be made
special tokens of the tokenizer. The paper: 128 samples at temperature 1, 10 to 50 iterations.

In:  tasks with `tests`.
Out: SFT conversations and, as column `text`, the paper's training strings.

Ran on: nano model on vLLM's CPU build
"""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from pipeline.budgets import Budget
from pipeline.engines import Sampling
from pipeline.operators import load_prompts, sample_until, sift
from pipeline.prompts import render
from pipeline.schema import SFT, Sifted, digest
from pipeline.shards import Shards
from pipeline.steps import recipe, step
from scorers.feedback import interpreter_feedback
from scorers.programs import programs

TASK = '"""\n{{ prompt }}\n{{ tests[0] }}\n"""'
NEXT_LINE = "{{ '\\n' }}"  # a template's own last newline would be dropped
GOOD = "<|good|>"
BAD = "<|bad|>"
BEGIN, END = "<|feedback|>", "<|/feedback|>"

_EXTRA = [("id", pa.string()), ("source", pa.string()), ("model", pa.string()),
          ("text", pa.string()), ("success", pa.bool_()), ("reason", pa.string()),
          ("feedback", pa.string()), ("iteration", pa.int32())]  # fmt: skip

Row = Mapping[str, Any]


@step(free=("sandbox",))
def add_feedback(rollouts: pa.Table, tasks: pa.Table, *, sandbox: Mapping[str, Any]) -> Sifted:
    """Add `feedback`: what the interpreter said of each program that failed, else null.

    A program that fails without a traceback has the verdict's reason. Reasons to leave: truncated,
    not_judged.
    """
    kept, dropped, *_ = sift(rollouts, [_unfit(row) for row in rollouts.to_pylist()])
    asked, rows = _by_id(tasks), kept.to_pylist()
    failed = [row for row in rows if row["verdict"] != "correct" and row["extracted"]]
    scripts = [_script(row["extracted"], asked[row["id"]]) for row in failed]
    said = interpreter_feedback(scripts, sandbox=sandbox)
    texts = {row["rollout_id"]: text for row, text in zip(failed, said, strict=True)}
    feedback = [
        None if row["verdict"] == "correct" else texts.get(row["rollout_id"]) or row["reason"]
        for row in rows
    ]
    return Sifted(kept.append_column("feedback", pa.array(feedback, pa.string())), dropped)


@step()
def rewarded(
    rollouts: pa.Table, tasks: pa.Table, *, coarse: bool, at_most: int, iteration: int
) -> Sifted:
    """Write each rollout after its reward token and, unless `coarse`, its feedback.

    Of equal texts of one prompt `at_most` stay (reason: duplicate).
    """
    asked, copies = _by_id(tasks), dict[tuple[str, str], int]()
    made, reasons = list[dict[str, Any]](), list[str | None]()
    for row in rollouts.to_pylist():
        made.append(_conversation(row, asked[row["id"]], coarse, iteration))
        key = row["id"], made[-1]["text"]
        copies[key] = copies.get(key, 0) + 1
        reasons.append("duplicate" if copies[key] > at_most else None)
    return sift(pa.Table.from_pylist(made, pa.schema([*SFT, *_EXTRA])), reasons)


def _conversation(row: Row, task: Row, coarse: bool, iteration: int) -> dict[str, Any]:
    success = row["verdict"] == "correct"
    control = GOOD if success else BAD
    if not (success or coarse):
        control += BEGIN + row["feedback"] + END
    text = control + _prompt(task)
    turns = [*task["messages"][:-1], {"role": "user", "content": text.rstrip("\n")}]
    return {
        "row_id": digest("leti", row["rollout_id"]),
        "messages": [*turns, {"role": "assistant", "content": row["completion"]}],
        "weight": 1.0,
        "parents": [row["rollout_id"], row["id"]],
        "recipe": "leti",
        **{name: row[name] for name in ("id", "model", "reason", "feedback")},
        "source": task["source"],
        "text": text + row["completion"],
        "success": success,
        "iteration": iteration,
    }


def _script(code: str, task: Row) -> str:
    return f"{_prompt(task)}{code.strip()}\n\n" + "\n".join(task["tests"])


def _prompt(task: Row) -> str:
    """The docstring that the program follows, to the end of its line."""
    return render(TASK + NEXT_LINE, task, plain=True).text


def _unfit(row: Row) -> str | None:
    if row["verdict"] in ("infra", "unverified"):
        return "not_judged"
    return "truncated" if row["finish_reason"] == "length" else None


def _by_id(tasks: pa.Table) -> dict[str, Row]:
    return {row["id"]: row for row in tasks.to_pylist()}


@recipe(paper="arXiv:2305.10314", output="sft")
def leti(
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
    iteration: int = 0,
    coarse: bool = False,
    at_most: int = 1,
    plain: bool = False,
    temperature: float = 1.0,
    max_tokens: int = 128,
    seed: int = 0,
) -> Shards:
    """Sample n programs a task, test them, and write rewards and messages into the training text.

    iteration: from 1 on the prompt begins with the token for good, which the model then knows.
    coarse: the token alone, no message. plain: for base models, without a chat template.
    """
    tasks = load_prompts(prompts, columns, subset, split, limit, skip_bad, seed, needs=("tests",))
    drawn = sample_until(
        tasks,
        (GOOD if iteration else "") + TASK + (NEXT_LINE if plain else ""),
        model=model,
        engine=engine,
        budget=Budget("fixed", n, n),
        verifier=programs,
        sampling=Sampling(temperature, max_tokens=max_tokens),
        plain=plain,
        seed=seed + iteration,
    )
    told = add_feedback(drawn, tasks, sandbox=sandbox or {})
    rows: Shards = rewarded(told, tasks, coarse=coarse, at_most=at_most, iteration=iteration)
    return rows
