"""What every engine must do. A test module opens its engine and runs each of `CHECKS` on it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from pipeline.engines import Completion, Engine, Request, Sampling, open_engine

SHORT = Sampling(max_tokens=12)
QUESTION = "What is seventeen plus four?"


def chat(
    rollout_id: str, sampling: Sampling = SHORT, *, prefix: str = "", seed: int = 7
) -> Request:
    """A request of one user message."""
    return Request(rollout_id, (("user", QUESTION),), "", prefix, sampling, seed)


def plain(
    rollout_id: str, sampling: Sampling = SHORT, *, prefix: str = "", seed: int = 7
) -> Request:
    """A request of plain text."""
    return Request(rollout_id, (), QUESTION, prefix, sampling, seed)


async def ask(engine: Engine, requests: Iterable[Request]) -> dict[str, Completion]:
    """Submit all, wait for as many completions, check that each id came once."""
    inbox: asyncio.Queue[Completion] = asyncio.Queue()
    asked = list(requests)
    for request in asked:
        engine.submit(request, inbox)
    answers = [await asyncio.wait_for(inbox.get(), 120) for _ in asked]
    assert inbox.empty()
    assert sorted(a.rollout_id for a in answers) == sorted(r.rollout_id for r in asked)
    return {answer.rollout_id: answer for answer in answers}


async def opened(name: str, check: Callable[[Engine], Awaitable[None]], **options: Any) -> None:
    """Start an engine, run one check on it, close it."""
    engine = open_engine(name, **options)
    try:
        await engine.start()
        await check(engine)
    finally:
        await engine.close()


async def answers_each_request_once(engine: Engine) -> None:
    """Twenty requests of both kinds come back under their ids, none as an error."""
    requests = [make(f"{make.__name__}{i}", seed=i) for i in range(10) for make in (chat, plain)]
    answers = await ask(engine, requests)
    assert [a.error for a in answers.values()] == [""] * 20


async def says_length_when_cut(engine: Engine) -> None:
    """A completion of max_tokens tokens is "length", and has that many tokens."""
    answers = await ask(engine, [chat(f"l{i}", Sampling(max_tokens=3), seed=i) for i in range(8)])
    reasons = {a.finish_reason for a in answers.values()}
    assert reasons <= {"length", "stop"} and "length" in reasons
    assert all(a.n_tokens == 3 for a in answers.values() if a.finish_reason == "length")
    assert all(0 < a.n_tokens <= 3 for a in answers.values())


async def stops_at_a_stop_string(engine: Engine) -> None:
    """With every letter and digit as stop strings none of them is in the text."""
    stops = tuple("abcdefghijklmnopqrstuvwxyz0123456789")
    answers = await ask(
        engine, [plain(f"s{i}", Sampling(max_tokens=64, stop=stops), seed=i) for i in range(8)]
    )
    stopped = [a for a in answers.values() if a.finish_reason == "stop"]
    assert stopped
    assert all(not set(a.text) & set(stops) for a in stopped)


async def continues_a_prefix(engine: Engine) -> None:
    """The completion of a prefix is answered for both kinds and does not repeat the prefix."""
    prefix = "Seventeen plus four makes twenty-one because"
    answers = await ask(engine, [chat("p0", prefix=prefix), plain("p1", prefix=prefix)])
    assert all(a.finish_reason != "error" and prefix not in a.text for a in answers.values())


async def gives_logprobs_on_demand(engine: Engine) -> None:
    """sum_logprob is a number <= 0 if asked for and None if not."""
    wanted = SHORT._replace(logprobs=True)
    answers = await ask(engine, [chat("w0", wanted), plain("w1", wanted), chat("n0"), plain("n1")])
    for rollout_id, answer in answers.items():
        if rollout_id.startswith("w"):
            assert answer.sum_logprob is not None and answer.sum_logprob <= 0
        else:
            assert answer.sum_logprob is None


async def closes_twice_and_answers_late_requests(engine: Engine) -> None:
    """Closing answers what is in flight, may be repeated, and later requests come back as error."""
    inbox: asyncio.Queue[Completion] = asyncio.Queue()
    for i in range(5):
        engine.submit(chat(f"c{i}", Sampling(max_tokens=100), seed=i), inbox)
    await engine.close()
    await engine.close()
    engine.submit(chat("late"), inbox)
    answers = {a.rollout_id: a for a in [await inbox.get() for _ in range(6)]}
    assert len(answers) == 6
    assert answers["late"].finish_reason == "error" and "closed" in answers["late"].error


CHECKS = (
    answers_each_request_once,
    says_length_when_cut,
    stops_at_a_stop_string,
    continues_a_prefix,
    gives_logprobs_on_demand,
    closes_twice_and_answers_late_requests,  # last: an engine shared by the checks is closed by it
)
