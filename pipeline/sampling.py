"""The sampling loop: engine, verifier and journal around a `Schedule`.

Streaming, not rounds: a trial starts as soon as a slot frees, verification runs in threads beside
generation, and each finished completion is in the journal before anything is done with it. Several
loops (shards in several threads) may share one engine: its slots are handed out first come, first
served.
"""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pipeline.engines import Completion, Engine, Request, Sampling
from pipeline.errors import EngineError
from pipeline.interrupts import asking, stopping
from pipeline.journal import Journal
from pipeline.known import Known
from pipeline.prompts import Rendered
from pipeline.schedule import Schedule
from pipeline.schema import Case, Verdict, Verifier, canonical, digest, trial_seed
from pipeline.sharing import slots_of

_VERIFY_AT_ONCE = 64  # cases a batch: small enough to overlap with generation
_JUDGES = 2  # batches that are verified at a time
_RETRIES = 2  # of one request that came back as an error, beyond the engine's own
_GIVE_UP_AFTER = 100  # failed requests in a row: the engine answers nothing
_JOURNALLED = Completion._fields[:6]  # all but what is said of errors: those are not journalled
_JUDGED = ("rollout_id", *Verdict._fields, "judged_by")

# Hears of new completions, and of verdicts with their prompts' places.
Note = Callable[[Sequence[Completion], Sequence[tuple[int, Verdict]]], None]


class Problem(NamedTuple):
    """One prompt to sample: its row (column -> value), what the engine is asked, the prefix.

    `judged_by` says what its verdicts rest on (`pipeline.known`).
    """

    row: Mapping[str, Any]
    rendered: Rendered
    prefix: str = ""
    judged_by: str = ""


class Trial(NamedTuple):
    """One finished trial; `counted`: it lies before its prompt's sequential stopping point."""

    place: int
    trial: int
    rollout_id: str
    seed: int
    completion: Completion
    verdict: Verdict
    counted: bool


async def sample(
    problems: Sequence[Problem],
    schedule: Schedule,
    engine: Engine,
    verifier: Verifier | None,
    *,
    sampling: Sampling,
    seed: int,
    journal: Journal,
    known: Mapping[str, Known],
    note: Note,
) -> list[Trial]:
    """Run every trial that `schedule` asks for and return all finished ones, by (place, trial).

    `known` maps rollout ids to trials of an earlier run: they are used, not asked again. `note`
    hears of every new completion and every verdict. Raises EngineError when the engine dies. When
    the run is to stop, what is in flight is finished and `schedule` stays open.
    """
    loop = _Loop(problems, schedule, engine, verifier, sampling, seed, journal, note)
    loop.recall(known)
    slots = slots_of(engine, engine.slots, engine.shared)
    try:
        with asking():
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(loop.launch(slots))
                tasks.create_task(loop.collect(slots, tasks))
    except BaseExceptionGroup as group:  # a task failed; the others were cancelled with it
        raise group.exceptions[0] from None
    finally:  # what is still in flight answers nobody; its slots are for the next loop
        for _ in loop.flight:
            slots.release()
    return loop.trials()


@dataclass
class _Loop:
    problems: Sequence[Problem]
    schedule: Schedule
    engine: Engine
    verifier: Verifier | None
    sampling: Sampling
    seed: int
    journal: Journal
    note: Note

    def __post_init__(self) -> None:
        self.sampling_json = canonical(self.sampling._asdict()).decode()
        self.flight: dict[str, tuple[int, int, int]] = {}  # rollout id -> place, trial, attempt
        self.answers: dict[tuple[int, int], Completion] = {}
        self.verdicts: dict[tuple[int, int], Verdict] = {}
        self.unjudged: list[tuple[int, int]] = []
        self.judging = 0
        self.failed_in_a_row = 0
        self.inbox: asyncio.Queue[Completion | None] = asyncio.Queue()  # None: a batch was judged
        self.changed = asyncio.Event()

    @property
    def wanting(self) -> bool:
        """Whether there are trials to start."""
        return self.schedule.open > 0 and not stopping()

    def seed_of(self, place: int, trial: int) -> int:
        row, rendered, *_ = self.problems[place]
        return trial_seed(self.seed, row["id"], rendered.digest, trial)

    def identify(self, place: int, trial: int) -> tuple[str, int]:
        """Return a trial's rollout id and seed."""
        row, rendered, prefix, _ = self.problems[place]
        seed = self.seed_of(place, trial)
        model = self.engine.model
        parts = (row["id"], rendered.digest, prefix, model, self.sampling_json, seed, trial)
        return digest(*parts), seed

    def recall(self, known: Mapping[str, Known]) -> None:
        """Take over what an earlier run finished, where the rollout's identity is the same.

        A verdict that rests on something else is found anew.
        """
        places = {problem.row["id"]: place for place, problem in enumerate(self.problems)}
        judged = []
        for rollout_id, (prompt_id, trial, completion, verdict, by) in known.items():
            place = places.get(prompt_id)
            if place is not None and self.identify(place, trial)[0] == rollout_id:
                self.schedule.start(place, trial)
                self.answers[place, trial] = completion
                if verdict is None or by != self.problems[place].judged_by:
                    self.unjudged.append((place, trial))
                else:
                    judged.append((place, trial, verdict))
        self.settle(judged)

    def settle(self, judged: Sequence[tuple[int, int, Verdict]]) -> None:
        for place, trial, verdict in judged:
            self.verdicts[place, trial] = verdict
            n_tokens = self.answers[place, trial].n_tokens
            self.schedule.judge(place, trial, verdict.verdict, n_tokens)
        self.note((), [(place, verdict) for place, _, verdict in judged])
        self.changed.set()

    async def launch(self, slots: asyncio.Semaphore) -> None:
        """Start a trial whenever there is a slot for it and a reason."""
        while self.wanting:
            await slots.acquire()
            pick = self.schedule.next() if self.wanting else None
            if pick is None:
                slots.release()
                self.changed.clear()
                if self.wanting:
                    await self.changed.wait()
            else:
                self.submit(*pick, attempt=0)
        self.inbox.put_nowait(None)

    def submit(self, place: int, trial: int, attempt: int) -> None:
        _, rendered, prefix, _ = self.problems[place]
        rollout_id, seed = self.identify(place, trial)
        self.flight[rollout_id] = place, trial, attempt
        request = Request(rollout_id, rendered.messages, rendered.text, prefix, self.sampling, seed)
        self.engine.submit(request, self.inbox)  # type: ignore[arg-type]

    async def collect(self, slots: asyncio.Semaphore, tasks: asyncio.TaskGroup) -> None:
        """File what comes back until nothing is wanted, in flight or unjudged."""
        self.start_judges(tasks)
        while self.wanting or self.flight or self.unjudged or self.judging:
            arrived = [await self.inbox.get()]
            while not self.inbox.empty():
                arrived.append(self.inbox.get_nowait())
            finished = [c for c in arrived if c is not None and self.finish(c, slots)]
            if finished:
                self.journal.append([self.record(c) for c in finished])
                self.note(finished, ())
            for completion in finished:
                place, trial, _ = self.flight.pop(completion.rollout_id)
                slots.release()
                self.answers[place, trial] = completion
                self.unjudged.append((place, trial))
            self.start_judges(tasks)
        self.changed.set()

    def record(self, completion: Completion) -> dict[str, Any]:
        place, trial, _ = self.flight[completion.rollout_id]
        facts = dict(zip(_JOURNALLED, completion, strict=False))
        return {"id": self.problems[place].row["id"], "trial": trial, **facts}

    def finish(self, completion: Completion, slots: asyncio.Semaphore) -> bool:
        """Return whether a request was answered; otherwise ask again or give the trial up."""
        if completion.finish_reason != "error":
            self.failed_in_a_row = 0
            return True
        place, trial, attempt = self.flight[completion.rollout_id]
        if completion.retry:
            self.count_failure(completion)
            if attempt < _RETRIES and not stopping():
                self.submit(place, trial, attempt + 1)
                return False
        del self.flight[completion.rollout_id]
        slots.release()
        self.note([completion], ())
        self.answers[place, trial] = completion
        self.settle([(place, trial, Verdict("infra", completion.error))])
        return False

    def count_failure(self, completion: Completion) -> None:
        self.failed_in_a_row += 1
        reason = self.engine.dead or completion.error
        if self.engine.dead or self.failed_in_a_row >= _GIVE_UP_AFTER:
            raise EngineError(
                f"{self.engine.name} answers no more ({self.failed_in_a_row} failures in a row, "
                f"the last: {reason}); finished rollouts are kept, the same command goes on"
            )

    def start_judges(self, tasks: asyncio.TaskGroup) -> None:
        while self.unjudged and self.judging < _JUDGES:
            batch = self.unjudged[:_VERIFY_AT_ONCE]
            del self.unjudged[:_VERIFY_AT_ONCE]
            self.judging += 1
            tasks.create_task(self.judge(batch))

    async def judge(self, batch: list[tuple[int, int]]) -> None:
        completions = [self.answers[key] for key in batch]
        rows = [self.problems[place].row for place, _ in batch]
        cores = len(os.sched_getaffinity(0))
        async with slots_of(asyncio.get_running_loop(), cores, "verification"):
            verdicts = await asyncio.to_thread(_verify, self.verifier, rows, completions)
        by = (self.problems[place].judged_by for place, _ in batch)
        self.journal.append(
            [
                dict(zip(_JUDGED, (completion.rollout_id, *verdict, one), strict=True))
                for completion, verdict, one in zip(completions, verdicts, by, strict=True)
            ]
        )
        self.settle([(*key, verdict) for key, verdict in zip(batch, verdicts, strict=True)])
        self.judging -= 1
        self.inbox.put_nowait(None)

    def trials(self) -> list[Trial]:
        return [
            Trial(
                place,
                trial,
                self.answers[place, trial].rollout_id,
                self.seed_of(place, trial),
                self.answers[place, trial],
                verdict,
                trial < self.schedule.counted(place),
            )
            for (place, trial), verdict in sorted(self.verdicts.items())
        ]


def _verify(
    verifier: Verifier | None, rows: Sequence[Mapping[str, Any]], completions: Sequence[Completion]
) -> list[Verdict]:
    """Judge a batch; a truncated completion never reaches the verifier and is never correct."""
    verdicts = [
        Verdict("unverified", "no_verifier") if verifier is None else Verdict("wrong", "truncated")
        for _ in completions
    ]
    if verifier is None:
        return verdicts
    whole = [i for i, c in enumerate(completions) if c.finish_reason == "stop"]
    judged = verifier([Case(rows[i], completions[i].text) for i in whole])
    for i, verdict in zip(whole, judged, strict=True):
        verdicts[i] = verdict
    return verdicts
