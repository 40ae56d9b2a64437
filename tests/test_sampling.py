"""The sampling loop around engine, verifier and journal: order, faults, reuse, limits."""

import asyncio
import random
import re
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.budgets import Budget
from pipeline.engines import Completion, Engine, Sampling, open_engine
from pipeline.errors import EngineError
from pipeline.journal import Journal
from pipeline.known import judged_by, read_journal
from pipeline.prompts import render
from pipeline.sampling import Problem, Trial, sample
from pipeline.schedule import UNLIMITED, Limits, Schedule
from pipeline.schema import Case, Verdict, verifier

THREE = Budget("uniform", 3, 40)


@verifier(needs=("answer",))
def boxed(cases: Sequence[Case]) -> list[Verdict]:
    """Compare the boxed number with the reference as text."""
    found = [re.search(r"boxed\{(\d+)\}", case.completion) for case in cases]
    return [
        Verdict(
            "correct" if f and f[1] == case.prompt["answer"] else "wrong", "", f[1] if f else None
        )
        for f, case in zip(found, cases, strict=True)
    ]


def problems(n: int, off: int = 0) -> list[Problem]:
    """Sums whose pass rate falls from 1.0 to 0.1 with the first number's last digit.

    `off` makes the references wrong by so much.
    """
    rows = [
        {
            "id": f"p{a}",
            "messages": [{"role": "user", "content": f"What is {a} + 5?"}],
            "answer": str(a + 5 + off),
        }
        for a in range(n)
    ]
    return [
        Problem(row, render("{{ prompt }} Box it.", row), judged_by=judged_by(boxed, row))
        for row in rows
    ]


def run(
    journal: Path,
    script: str = "adds",
    *,
    n: int = 20,
    budget: Budget = THREE,
    limits: Limits = UNLIMITED,
    asked: list[str] | None = None,
    latency_s: float = 0.002,
    slots: int = 16,
    off: int = 0,
) -> list[Trial]:
    """Sample sums with a scripted engine; `asked` collects the ids that reach the engine."""

    async def work() -> list[Trial]:
        engine = open_engine(
            f"scripted:tests.scripts_for_engines:{script}", latency_s=latency_s, slots=slots
        )
        await engine.start()
        heard = _listening(engine, asked) if asked is not None else engine
        open_journal = Journal.open(journal)
        schedule = Schedule(
            budget or Budget("uniform", 3, 40), [None] * n, *([limits] if limits else [])
        )
        try:
            return await sample(
                problems(n, off),
                schedule,
                heard,
                boxed,
                sampling=Sampling(max_tokens=50),
                seed=7,
                journal=open_journal,
                known=read_journal(open_journal.records),
                note=lambda *_: None,
            )
        finally:
            open_journal.close()
            await engine.close()

    return asyncio.run(work())


def _listening(engine: Engine, asked: list[str]) -> Engine:
    submit = engine.submit

    def hear(request, inbox):  # type: ignore[no-untyped-def]
        asked.append(request.rollout_id)
        submit(request, inbox)

    engine.submit = hear  # type: ignore[method-assign]
    return engine


def counted(trials: list[Trial]) -> list[tuple[int, int, str, str]]:
    """What counts, as comparable values."""
    return [(t.place, t.trial, t.completion.text, t.verdict.verdict) for t in trials if t.counted]


def test_counted_trials_do_not_depend_on_timing(tmp_path: Path) -> None:
    """Different latencies and slots give the same counted trials, each prompt at its target."""
    one = counted(run(tmp_path / "a", slots=16))
    two = counted(run(tmp_path / "b", slots=1, latency_s=0.0))
    assert one == two
    correct = [row for row in one if row[3] == "correct"]
    assert all(sum(r[0] == place for r in correct) <= 3 for place in range(20))


def test_every_trial_has_its_own_seed(tmp_path: Path) -> None:
    """No two trials of a run share a seed; the published loop gave all of them one."""
    trials = run(tmp_path / "j")
    assert len({t.seed for t in trials}) == len(trials)


def test_a_torn_run_asks_nothing_twice(tmp_path: Path) -> None:
    """A journal cut anywhere is finished with the same result; what it holds is not asked again."""
    whole = counted(run(tmp_path / "whole"))
    content = (tmp_path / "whole").read_bytes()
    draw = random.Random(0)
    for i in range(8):
        torn = tmp_path / f"torn{i}"
        torn.write_bytes(content[: draw.randrange(len(content))])
        journal = Journal.open(torn)
        held = set(read_journal(journal.records))
        journal.close()
        asked: list[str] = []
        assert counted(run(torn, asked=asked)) == whole
        assert not held & set(asked)
        assert len(asked) == len(set(asked))


def test_a_torn_run_judges_anew_where_the_reference_changed(tmp_path: Path) -> None:
    """Answers of a journal are kept, verdicts only if they rest on the same reference."""
    one = run(tmp_path / "j", budget=Budget("fixed", 4, 4))
    asked: list[str] = []
    two = run(tmp_path / "j", budget=Budget("fixed", 4, 4), off=1000, asked=asked)
    assert not asked and [t.completion for t in two] == [t.completion for t in one]
    assert {t.verdict.verdict for t in one} == {"correct", "wrong"}
    assert {t.verdict.verdict for t in two} == {"wrong"}
    assert run(tmp_path / "j", budget=Budget("fixed", 4, 4), off=1000) == two


def test_flaky_requests_are_asked_again(tmp_path: Path) -> None:
    """Two failures of every request change nothing of the result and seed no wrong answers."""
    steady = run(tmp_path / "a", n=3)
    flaky = run(tmp_path / "b", "fails_first", n=3)
    verdicts = [t.verdict for t in flaky if t.counted]
    assert verdicts == [t.verdict for t in steady if t.counted]


def test_a_dead_engine_ends_the_run_in_one_sentence(tmp_path: Path) -> None:
    """An engine that answers nothing raises EngineError that names its last error, and no group."""
    with pytest.raises(EngineError, match="out of order"):
        run(tmp_path / "j", "always_fails")


def test_hopeless_requests_cost_one_try_each(tmp_path: Path) -> None:
    """A request that can never work is tried once a trial and never wrong; the others go on."""
    asked: list[str] = []
    trials = run(tmp_path / "j", "too_long", n=6, budget=Budget("fixed", 4, 4), asked=asked)
    assert len(asked) == 24
    assert {t.verdict.verdict for t in trials if t.place == 3} == {"infra"}
    assert all(t.verdict.verdict != "infra" for t in trials if t.place != 3)


def test_truncated_is_never_correct(tmp_path: Path) -> None:
    """A completion cut by length is wrong for that reason, though it holds the right answer."""
    trials = run(tmp_path / "j", "truncates", n=2, budget=Budget("fixed", 2, 2))
    assert {t.verdict for t in trials} == {Verdict("wrong", "truncated")}


def test_limits_end_with_a_valid_smaller_set(tmp_path: Path) -> None:
    """A limit on rollouts holds exactly and cuts the same trials at any speed."""
    one = counted(run(tmp_path / "a", limits=Limits(rollouts=33)))
    two = counted(run(tmp_path / "b", limits=Limits(rollouts=33), slots=2, latency_s=0.0))
    assert one == two and len(one) == 33


def test_more_wanted_asks_only_what_is_new(tmp_path: Path) -> None:
    """A higher target on the same journal asks none of the trials that are in it."""
    first = {t.rollout_id for t in run(tmp_path / "j", budget=Budget("uniform", 2, 40))}
    asked: list[str] = []
    again = run(tmp_path / "j", budget=Budget("uniform", 4, 40), asked=asked)
    assert not first & set(asked) and first < {t.rollout_id for t in again}
    assert counted(again) == counted(run(tmp_path / "fresh", budget=Budget("uniform", 4, 40)))


def test_a_failed_loop_gives_its_slots_back(tmp_path: Path) -> None:
    """After a loop gave up on an engine that lives, the next loop on it has every slot again."""

    async def both() -> None:
        engine = open_engine("scripted:tests.scripts_for_engines:always_fails", slots=5)
        for i in range(3):
            loop = sample(
                problems(9),
                Schedule(Budget("fixed", 60, 60), [None] * 9),
                engine,
                boxed,
                sampling=Sampling(max_tokens=50),
                seed=i,
                journal=Journal.open(tmp_path / str(i)),
                known={},
                note=lambda *_: None,
            )
            with pytest.raises(EngineError):
                await asyncio.wait_for(loop, timeout=20)
        await engine.close()

    asyncio.run(both())


def test_two_loops_share_one_engine(tmp_path: Path) -> None:
    """Two shards sampled at once on one engine never have more in flight than its slots."""
    flight, most, lock = 0, 0, threading.Lock()

    async def both() -> None:
        engine = open_engine("scripted:tests.scripts_for_engines:adds", latency_s=0.003, slots=5)
        submit = engine.submit

        def count(request, inbox):  # type: ignore[no-untyped-def]
            nonlocal flight, most
            with lock:
                flight += 1
                most = max(most, flight)
            submit(request, _Counting(inbox))

        class _Counting:
            def __init__(self, inbox: "asyncio.Queue[Completion]") -> None:
                self.inbox = inbox

            def put_nowait(self, completion: Completion) -> None:
                nonlocal flight
                flight -= 1
                self.inbox.put_nowait(completion)

        engine.submit = count  # type: ignore[method-assign]
        journals = [Journal.open(tmp_path / name) for name in "ab"]
        loops = [
            sample(
                problems(10),
                Schedule(Budget("fixed", 6, 6), [None] * 10),
                engine,
                boxed,
                sampling=Sampling(max_tokens=50),
                seed=i,
                journal=journals[i],
                known={},
                note=lambda *_: None,
            )
            for i in range(2)
        ]
        done = await asyncio.gather(*loops)
        assert [len(trials) for trials in done] == [60, 60]
        await engine.close()

    asyncio.run(both())
    assert most == 5
