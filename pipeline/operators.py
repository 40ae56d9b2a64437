"""What recipes are made of: take prompts, sample, pick, write training rows."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import polars as pl
import pyarrow as pa

from pipeline.budgets import Budget
from pipeline.engines import Sampling, open_engine
from pipeline.errors import UserError
from pipeline.picking import reasons_to_leave
from pipeline.progress import opened
from pipeline.rollouts import rollouts
from pipeline.schema import SFT, Sifted, Verifier, check, digest
from pipeline.shards import Shards
from pipeline.sources import read_prompts
from pipeline.steps import active_run, step

_PROMPTS_A_SHARD = 1024


def load_prompts(
    source: str,
    columns: dict[str, str] | None = None,
    subset: str = "",
    split: str = "train",
    limit: int = 0,
    skip_bad: bool = False,
    seed: int = 0,
    needs: Sequence[str] = ("answer",),
) -> Shards:
    """Read prompts (`sources.read_prompts`) into the run's `prompts`, placed in shards by id.

    The source is read anew each time, since a file's name does not say whether it changed; rows
    that are as they were keep their shards, and what was made from those holds.
    """
    found = read_prompts(
        source,
        columns=columns,
        subset=subset,
        split=split,
        limit=limit,
        skip_bad=skip_bad,
        seed=seed,
        needs=needs,
    )
    parameters = {"source": source, "split": split, "subset": subset, "limit": limit}
    return Shards.write(
        active_run().claim("prompts"),
        found,
        step="prompts",
        parameters=parameters,
        shard_rows=_PROMPTS_A_SHARD,
    )


def generate(
    rows: Shards,
    template: str,
    *,
    model: str,
    sampling: Sampling,
    n: int = 1,
    seed: int,
    plain: bool = False,
    engine: Mapping[str, Any] | None = None,
    into: str = "rollouts",
) -> Shards:
    """Draw n rollouts for every row, unverified: `sample_until` with nothing to wait for.

    `template` sees every column of a row; one without `messages` is asked the rendered text alone.
    """
    return sample_until(
        rows,
        template,
        model=model,
        budget=Budget("fixed", n, n),
        verifier=None,
        sampling=sampling,
        seed=seed,
        plain=plain,
        engine=engine,
        into=into,
    )


def sample_until(
    prompts: Shards,
    template: str,
    earlier: Shards | None = None,
    *,
    model: str,
    budget: Budget,
    verifier: Verifier | None,
    sampling: Sampling,
    seed: int,
    plain: bool = False,
    max_rollouts: int = 0,
    max_tokens: int = 0,
    engine: Mapping[str, Any] | None = None,
    into: str = "rollouts",
) -> Shards:
    """Sample each prompt until `budget` says enough; one row a trial, whatever its verdict.

    Trials that `earlier` rollouts of these prompts hold are used, not asked again.

    `max_rollouts` and `max_tokens` (0: no limit) end the run early with a valid, smaller set; each
    prompt may use its even share in breadth-first order. `engine` holds options of the engine.
    """
    if verifier is not None:
        _check_needs(prompts, verifier)
    if not prompts.rows:
        raise UserError("there are 0 prompts to sample; see what dropped them with tamis show")
    limits = {"rollouts": max_rollouts, "tokens": max_tokens}
    found: Shards = rollouts(
        prompts,
        earlier,
        template=template,
        plain=plain,
        model=model,
        identity=open_engine(model, **(engine or {})).model,
        engine=dict(engine or {}),
        sampling=sampling._asdict(),
        budget=asdict(budget),
        limits={name: limit / prompts.rows for name, limit in limits.items() if limit},
        verifier=verifier,
        seed=seed,
        of=prompts.rows,
        into=into,
    )
    if (progress := opened(active_run().folder)) is not None:
        correct = found.scan().filter(pl.col("verdict") == "correct")
        covered = correct.select(pl.col("id").n_unique()).collect().item()
        progress.settle(prompts=prompts.rows, finished=prompts.rows, covered=covered)
    return found


def _check_needs(prompts: Shards, verifier: Verifier) -> None:
    have = prompts.shard(0).column_names
    missing = [column for column in verifier.needs if column not in have]
    if missing:
        raise UserError(
            f"the verifier '{verifier.__name__}' reads {', '.join(missing)}, which the prompts "
            f"lack; they have: {', '.join(have)}"
        )


def hardest_fail_rate(rollouts: Shards) -> float:
    """Return the largest fail rate of any prompt, judged rollouts only; 1.0 if none was judged."""
    judged = rollouts.scan().filter(~pl.col("verdict").is_in(["infra", "unverified"]))
    rates = judged.group_by("id").agg((pl.col("verdict") != "correct").mean().alias("rate"))
    found = rates.select(pl.col("rate").max()).collect().item()
    return float(found) if found else 1.0


@step()
def pick(rollouts: pa.Table, *, at_most: int | str | None, near: float | None, seed: int) -> Sifted:
    """Keep the correct rollouts, each text once a prompt, at most so many a prompt.

    `at_most` is a number or the name of an integer column (null there: no bound). Which ones stay
    depends on `seed` and the rollouts' ids, never on the order of arrival. `near` (Jaccard
    similarity of 5-grams) also drops near-duplicates.
    """
    reasons = reasons_to_leave(rollouts, at_most=at_most, near=near, seed=seed)
    return sift(rollouts, reasons)


def sift(table: pa.Table, reasons: Sequence[str | None]) -> Sifted:
    """Keep the rows without a reason to leave and count the reasons of the others."""
    keep = pa.array([reason is None for reason in reasons], pa.bool_())
    dropped = Counter(reason for reason in reasons if reason is not None)
    return Sifted(table.filter(keep), dict(sorted(dropped.items())))


@step()
def to_sft(picked: pa.Table, prompts: pa.Table, *, recipe: str) -> pa.Table:
    """Write each picked rollout as a conversation: the prompt's own messages, then the answer.

    Beside the SFT columns: `id` and `source` of the prompt, `model`.
    """
    asked = {row["id"]: row for row in prompts.select(["id", "messages", "source"]).to_pylist()}
    read = ["rollout_id", "id", "prefix", "completion", "model", "parents"]
    rows = picked.select(read).to_pylist()
    of = [asked[row["id"]] for row in rows]
    replies = [{"role": "assistant", "content": row["prefix"] + row["completion"]} for row in rows]
    columns = {
        "row_id": [digest(recipe, row["rollout_id"]) for row in rows],
        "messages": [[*one["messages"], reply] for one, reply in zip(of, replies, strict=True)],
        "weight": [1.0] * len(rows),
        "parents": [list(dict.fromkeys([r["rollout_id"], *r["parents"], r["id"]])) for r in rows],
        "recipe": [recipe] * len(rows),
        "id": [row["id"] for row in rows],
        "source": [prompt["source"] for prompt in of],
        "model": [row["model"] for row in rows],
    }
    extra = [(name, pa.string()) for name in ("id", "source", "model")]
    table = pa.table(columns, schema=pa.schema([*SFT, *extra]))
    return check(table, SFT, where="to_sft")
