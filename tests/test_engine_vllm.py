"""The real vLLM on the CPU, with a tiny random model."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from pipeline.engines import Engine, Sampling
from pipeline.engines.host import close_engines, on_engine
from tests.engine_contract import CHECKS, ask, chat, plain
from tests.tiny_model import CONTEXT

pytestmark = pytest.mark.vllm


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """Return the environment as it was before the engine of this module started."""
    return dict(os.environ)


@pytest.fixture(scope="module")
def run(environment: dict[str, str], tiny_model: Path) -> Iterator[Callable]:
    """Return a function that runs a check on one engine shared by the module."""
    yield lambda check: on_engine(f"vllm:{tiny_model}", check)
    close_engines()


@pytest.mark.parametrize("check", CHECKS[:-1], ids=lambda check: check.__name__)
def test_contract(run: Callable, check: Callable) -> None:
    """Real vLLM keeps the contract of every engine."""
    run(check)


def test_same_completions_in_any_order(run: Callable) -> None:
    """64 seeded requests give the same texts in two orders of submission."""
    requests = [chat(f"r{i}", Sampling(max_tokens=40), seed=2**63 + i) for i in range(64)]

    async def twice(engine: Engine) -> None:
        first = await ask(engine, requests)
        second = await ask(engine, random.Random(1).sample(requests, 64))
        assert first == second
        assert len({a.text for a in first.values()}) > 32

    run(twice)


def test_greedy_repeats_itself(run: Callable) -> None:
    """At temperature 0 the seed does not matter."""
    greedy = Sampling(temperature=0, max_tokens=20)

    async def check(engine: Engine) -> None:
        answers = await ask(engine, [chat(f"g{i}", greedy, seed=i) for i in range(6)])
        assert len({a.text for a in answers.values()}) == 1

    run(check)


def test_prompt_and_context(run: Callable) -> None:
    """A prompt beyond the context is an error with both numbers; one near it gets what is left."""

    async def check(engine: Engine) -> None:
        long = plain("long")
        long = type(long)("long", (), "7" * 300, "", long.sampling, 1)
        near = type(long)("near", (), "7" * (CONTEXT - 5), "", Sampling(max_tokens=50), 1)
        answers = await ask(engine, [long, near])
        assert "300 tokens" in answers["long"].error and str(CONTEXT) in answers["long"].error
        assert answers["near"].finish_reason == "length" and answers["near"].n_tokens == 5

    run(check)


def test_environment_is_left_alone(run: Callable, environment: dict[str, str]) -> None:
    """VLLM's LD_PRELOAD and settings do not stay in the environment of programs started later."""

    async def check(engine: Engine) -> None:
        assert engine.slots >= 64

    run(check)
    names = {name for name in os.environ if name.startswith("VLLM_")} | {"LD_PRELOAD", "PATH"}
    assert {name: os.environ.get(name) for name in names} == {
        name: environment.get(name) for name in names
    }


def test_dead_engine_process(run: Callable) -> None:
    """When vLLM's process is killed, all in flight come back as error and the next call reopens."""

    async def kill(engine: Engine) -> None:
        asking = asyncio.create_task(
            ask(engine, [chat(f"k{i}", Sampling(max_tokens=200), seed=i) for i in range(40)])
        )
        await asyncio.sleep(0.05)
        for child in psutil.Process().children():
            if "EngineCore" in child.name() or "EngineCore" in " ".join(child.cmdline()):
                child.send_signal(signal.SIGKILL)
        answers = await asking
        assert any(a.finish_reason == "error" for a in answers.values())
        assert engine.dead

    run(kill)
    run(CHECKS[0])


def test_closes_and_answers_late_requests(run: Callable) -> None:
    """Closing real vLLM answers what is in flight and may be repeated."""
    run(CHECKS[-1])
    close_engines()


def _vllm_processes(session: int) -> list[psutil.Process]:
    alive = []
    for process in psutil.process_iter():
        try:
            if "VLLM::" in " ".join(process.cmdline()) and os.getsid(process.pid) == session:
                alive.append(process)
        except (psutil.Error, ProcessLookupError):
            continue
    return alive


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """Return a folder of a short path: a socket's has at most 107 characters."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.mark.parametrize("how", ["SIGINT", "SIGKILL", "SIGKILL while starting"])
def test_no_process_is_left(tiny_model: Path, short_folder: Path, how: str) -> None:
    """Interrupted or killed, the owner ends at once, and vLLM's processes and sockets with it."""
    code = f"""
import asyncio, signal
from pipeline.engines.host import on_engine
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored under `nohup` and `&`
async def work(engine):
    print("ready", flush=True)
    await asyncio.sleep(600)
if __name__ == "__main__":
    on_engine("vllm:{tiny_model}", work)
"""
    owner = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"TMPDIR": str(short_folder)},
        start_new_session=True,
    )
    assert owner.stdout is not None
    if how.endswith("starting"):
        while len(_vllm_processes(owner.pid)) < 2:
            time.sleep(0.1)
    else:
        assert owner.stdout.readline() == b"ready\n"
    owner.send_signal(getattr(signal, how.split()[0]))
    owner.wait(60)
    owner.stdout.close()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        left = [*_vllm_processes(owner.pid), *short_folder.glob("*/*")]
        if not left:
            break
        time.sleep(0.2)
    assert left == []
