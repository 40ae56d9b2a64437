"""One shard of prompts into one shard of rollouts: engine, schedule and journal around tables.

Rollouts that an earlier version of the shard or a torn run left behind are used where their
identity is the same, so that new prompts, a higher cap or a bigger target ask only what is new.
"""

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from pipeline.budgets import Budget
from pipeline.engines import Completion, Engine, Sampling
from pipeline.engines.host import on_engine
from pipeline.journal import Journal
from pipeline.known import judged_by, read_journal, read_rollouts
from pipeline.progress import Progress, track
from pipeline.prompts import render
from pipeline.sampling import Note, Problem, Trial, sample
from pipeline.schedule import Limits, Schedule
from pipeline.schema import ROLLOUTS, Sifted, Verdict, Verifier, canonical
from pipeline.steps import step

# Beside the fixed columns: how many correct completions the prompt was to reach (null if none), and
# what the verdict rests on.
_EXTRA = [pa.field("target", pa.int32()), pa.field("judged_by", pa.string())]
_FIELDS = pa.schema([*ROLLOUTS, *_EXTRA])


@step(expands=True, journal=True, retries=2, free=("model", "engine", "of"))
def rollouts(
    prompts: pa.Table,
    earlier: pa.Table | None = None,
    *,
    template: str,
    plain: bool,
    model: str,
    identity: str,
    engine: Mapping[str, Any],
    sampling: Mapping[str, Any],
    budget: Mapping[str, Any],
    limits: Mapping[str, float],
    verifier: Verifier | None,
    seed: int,
    of: int,
    journal: Journal,
    previous: pa.Table | None,
) -> Sifted:
    """Sample every prompt of a shard until its budget says enough.

    Kept are the trials that count, by prompt and trial; aside, with counted = false, the surplus.
    `earlier` holds rollouts of the same prompts to be used and not asked again (probes, say).
    `identity` is the model's, for the digest; `limits` are what one prompt may
    use of the run's, where the run has limits; `of` counts the run's prompts.
    """
    rows = prompts.to_pylist()
    problems = [
        Problem(
            row,
            render(template, row, plain=plain),
            row.get("prefix") or "",
            judged_by(verifier, row),
        )
        for row in rows
    ]
    schedule = Schedule(
        Budget(**{**budget, "band": tuple(budget["band"])}),
        [row.get("fail_rate") for row in rows],
        Limits(**{name: share * len(rows) for name, share in limits.items()}),
    )
    known = {
        **read_rollouts(earlier),
        **read_rollouts(previous),
        **read_journal(journal.records),
    }
    settings = Sampling(**{**sampling, "stop": tuple(sampling["stop"])})
    progress = track(journal.path.parents[2])
    progress.begin(of, journal.path.parents[1])

    def work(opened: Engine) -> Awaitable[list[Trial]]:
        return sample(
            problems,
            schedule,
            opened,
            verifier,
            sampling=settings,
            seed=seed,
            journal=journal,
            known=known,
            note=_noter(progress, schedule),
        )

    trials = on_engine(model, work, **engine)
    return _sift(trials, problems, schedule, identity, canonical(settings._asdict()).decode())


def _noter(progress: Progress, schedule: Schedule) -> Note:
    """Tell the progress of completions and verdicts, and of prompts that are done or covered."""
    covered: set[int] = set()
    finished = 0

    def note(completions: Sequence[Completion], verdicts: Sequence[tuple[int, Verdict]]) -> None:
        nonlocal finished
        correct = [place for place, verdict in verdicts if verdict.verdict == "correct"]
        new = set(correct) - covered
        covered.update(new)
        done = len(schedule.courses) - schedule.open
        progress.add(
            rollouts=len(completions),
            tokens=sum(completion.n_tokens for completion in completions),
            prompt_tokens=sum(completion.n_prompt_tokens for completion in completions),
            correct=len(correct),
            covered=len(new),
            finished=done - finished,
        )
        finished = done

    return note


def _sift(
    trials: Sequence[Trial],
    problems: Sequence[Problem],
    schedule: Schedule,
    identity: str,
    sampling: str,
) -> Sifted:
    tables = {
        counted: _table(
            [trial for trial in trials if trial.counted == counted],
            problems,
            schedule,
            identity,
            sampling,
        )
        for counted in (True, False)
    }
    aside = tables[False] if len(tables[False]) else None
    asked = {trial.place for trial in trials if trial.counted}
    never = len(problems) - len(asked)  # the run's limit came first, or it was told to stop
    dropped = {"not_sampled": never} if never else {}
    return Sifted(tables[True], dropped, aside, whole=not schedule.open)


def _table(
    trials: Sequence[Trial],
    problems: Sequence[Problem],
    schedule: Schedule,
    identity: str,
    sampling: str,
) -> pa.Table:
    """One row a trial, built by columns: by rows it is a quarter of what sampling costs us."""
    asked = [problems[trial.place] for trial in trials]
    ids = [problem.row["id"] for problem in asked]
    columns = {
        "rollout_id": [trial.rollout_id for trial in trials],
        "id": ids,
        "trial": [trial.trial for trial in trials],
        "prefix": [problem.prefix for problem in asked],
        "completion": [trial.completion.text for trial in trials],
        "finish_reason": [trial.completion.finish_reason for trial in trials],
        "model": [identity] * len(trials),
        "sampling": [sampling] * len(trials),
        "prompt_digest": [problem.rendered.digest for problem in asked],
        "seed": [trial.seed for trial in trials],
        "n_tokens": [trial.completion.n_tokens for trial in trials],
        "sum_logprob": [trial.completion.sum_logprob for trial in trials],
        "verdict": [trial.verdict.verdict for trial in trials],
        "reason": [trial.verdict.reason for trial in trials],
        "extracted": [trial.verdict.extracted for trial in trials],
        "counted": [trial.counted for trial in trials],
        "parents": [[prompt_id] for prompt_id in ids],
        "target": [schedule.target(trial.place) for trial in trials],
        "judged_by": [problem.judged_by for problem in asked],
    }
    return pa.table(columns, schema=_FIELDS)
