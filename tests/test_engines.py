"""The protocol's door, the host thread, and the engines that need no vLLM and no server."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.engines import Completion, Engine, Request, Sampling, open_engine
from pipeline.engines.checkpoint import identify
from pipeline.engines.host import close_engines, on_engine
from pipeline.engines.torch_local import token_losses
from pipeline.errors import EngineError, UserError
from pipeline.schema import ROLLOUTS
from pipeline.shards import Shards
from tests.engine_contract import CHECKS, QUESTION, ask, chat, opened, plain
from tests.tiny_model import CONTEXT, build_tiny_model

CHATTY = "scripted:tests.test_engines:chatty"


def chatty(request: Request) -> str:
    """Answer with some thirty words that depend on the seed."""
    if request.rollout_id == "bad":
        raise ValueError("no idea")
    return f"{request.seed} is what was asked for " + "and that is it " * 6


def odd(request: Request) -> Completion:
    """Answer with a completion made by hand."""
    return Completion(request.rollout_id, "half", "length", n_tokens=1)


@pytest.fixture(autouse=True)
def close() -> Iterator[None]:
    """Close the shared engines after each test."""
    yield
    close_engines()


@pytest.mark.parametrize("name", ["nano", "llama:data/nano", "vllm:", ""])
def test_open_engine_refuses_unknown_kinds(name: str) -> None:
    """A name without a known kind raises UserError that lists the kinds."""
    with pytest.raises(UserError, match=r"vllm:\.\.\., openai:"):
        open_engine(name)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_scripted_contract(check: Callable) -> None:
    """The scripted engine keeps the contract, with completions out of order."""
    asyncio.run(opened(CHATTY, check, latency_s=0.02))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_torch_contract(tiny_model: Path, check: Callable) -> None:
    """The transformers engine keeps the contract, in micro-batches of 8."""
    asyncio.run(opened(f"torch:{tiny_model}", check, batch=8))


def test_scripted_order_exceptions_and_completions() -> None:
    """Latency reorders in the same way each time; an exception is an error; Completion passes."""
    orders = []

    async def check(engine: Engine) -> None:
        inbox: asyncio.Queue[Completion] = asyncio.Queue()
        for i in range(20):
            engine.submit(chat(str(i), seed=i), inbox)
        orders.append([(await inbox.get()).rollout_id for _ in range(20)])
        assert "no idea" in (await ask(engine, [chat("bad")]))["bad"].error

    for _ in range(2):
        asyncio.run(opened(CHATTY, check, latency_s=0.4))
    assert orders[0] == orders[1] != sorted(orders[0], key=int)
    by_hand = on_engine("scripted:tests.test_engines:odd", lambda engine: ask(engine, [chat("a")]))
    assert by_hand["a"] == Completion("a", "half", "length", n_tokens=1)


def test_scripted_without_its_function() -> None:
    """A function that cannot be imported is a UserError that says how to write the name."""
    with pytest.raises(UserError, match="MODULE:FUNCTION"):
        open_engine("scripted:tests.test_engines:nothing")


def test_host_shares_one_engine_between_threads() -> None:
    """Eight threads with one name get one engine; other options get another."""
    seen: list[Engine] = []

    async def work(engine: Engine) -> None:
        seen.append(engine)
        await asyncio.sleep(0.05)

    threads = [threading.Thread(target=on_engine, args=(CHATTY, work)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 8 and len(set(map(id, seen))) == 1
    on_engine(CHATTY, work, latency_s=0.1)
    assert seen[-1] is not seen[0]


def test_host_raises_a_failed_start_and_tries_anew(tmp_path: Path) -> None:
    """The error of `start` reaches every caller, and a mended cause is seen by the next call."""
    name = f"replay:{tmp_path}"
    errors: list[BaseException] = []

    def call() -> None:
        try:
            on_engine(name, lambda engine: asyncio.sleep(0))
        except UserError as error:
            errors.append(error)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 4
    _record(tmp_path, ["m"])
    on_engine(name, lambda engine: asyncio.sleep(0))


def test_host_replaces_a_dead_engine() -> None:
    """An engine that says it is dead is not handed out again."""

    async def die(engine: Engine) -> Engine:
        engine.dead = "on purpose"
        return engine

    async def same(engine: Engine) -> Engine:
        return engine

    dead = on_engine(CHATTY, die)
    assert on_engine(CHATTY, same) is not dead


def test_closing_ends_the_work_of_other_threads() -> None:
    """Who waits for an engine gets EngineError when the engines are closed."""
    errors: list[BaseException] = []
    running = threading.Event()

    async def work(engine: Engine) -> None:
        running.set()
        await asyncio.sleep(600)

    def call() -> None:
        try:
            on_engine(CHATTY, work)
        except EngineError as error:
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    running.wait()
    close_engines()
    thread.join(10)
    assert len(errors) == 1


@pytest.mark.parametrize("where", ["main", "pool"])
def test_interrupt_cancels_the_work_and_the_exit_does_not_hang(where: str) -> None:
    """Ctrl-C while the main thread or a pool's thread waits: the work is cancelled, all ends."""
    code = f"""
import asyncio, concurrent.futures, signal, time
from pipeline.engines.host import on_engine
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored under `nohup` and `&`
async def work(engine):
    print("ready", flush=True)
    try:
        await asyncio.sleep(600)
    finally:
        print("cancelled", flush=True)
if {where!r} == "main":
    on_engine("{CHATTY}", work)
else:
    pool = concurrent.futures.ThreadPoolExecutor()
    pool.submit(on_engine, "{CHATTY}", work)
    time.sleep(600)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    began = time.monotonic()
    process.send_signal(2)
    out, err = process.communicate(timeout=60)
    assert out == "cancelled\n" and "KeyboardInterrupt" in err and process.returncode != 0
    assert time.monotonic() - began < 20


def _record(run_dir: Path, models: list[str]) -> pa.Table:
    columns = {field.name: [None] * 60 for field in ROLLOUTS}
    columns |= {
        "id": [f"p{i // 4}" for i in range(60)],
        "rollout_id": [f"{i:032x}" for i in range(60)],
        "completion": [f"text {i}" for i in range(60)],
        "finish_reason": ["length" if i % 5 else "stop" for i in range(60)],
        "n_tokens": list(range(60)),
        "sum_logprob": [None if i % 2 else -float(i) for i in range(60)],
        "model": [models[i % len(models)] for i in range(60)],
    }
    table = pa.table(columns, schema=ROLLOUTS)
    Shards.write(run_dir / "rollouts", table)
    return table


def test_replay_gives_back_what_was_recorded(tmp_path: Path) -> None:
    """Each recorded id gets its row, under the recorded model; others are "not recorded"."""
    table = _record(tmp_path, ["vllm:nano@1"])

    async def check(engine: Engine) -> None:
        assert engine.model == "vllm:nano@1" and engine.batch_invariant
        answers = await ask(engine, [chat(r) for r in table["rollout_id"].to_pylist()])
        for row in table.to_pylist():
            answer = answers[row["rollout_id"]]
            assert answer == Completion(
                row["rollout_id"],
                row["completion"],
                row["finish_reason"],
                n_tokens=row["n_tokens"],
                sum_logprob=row["sum_logprob"],
            )
        for other in ("", "f" * 32, "0" * 31):
            assert (await ask(engine, [chat(other)]))[other].error == "not recorded"

    asyncio.run(opened(f"replay:{tmp_path}", check, delay_s=0.02))


def test_replay_of_several_models(tmp_path: Path) -> None:
    """With several recorded models one must be chosen, and only its rollouts are answered."""
    _record(tmp_path, ["a", "b"])
    with pytest.raises(UserError, match=r"2 models \(a, b\)"):
        _ = open_engine(f"replay:{tmp_path}").model
    answers = on_engine(
        f"replay:{tmp_path}#b", lambda e: ask(e, [chat(f"{i:032x}") for i in range(4)])
    )
    assert [a.error for a in answers.values()] == ["not recorded", "", "not recorded", ""]


def test_replay_closed(tmp_path: Path) -> None:
    """Closing a replay answers what is in flight."""
    _record(tmp_path, ["a"])
    asyncio.run(opened(f"replay:{tmp_path}", CHECKS[-1], delay_s=5.0))


def test_torch_tokens_do_not_depend_on_the_batch(tiny_model: Path) -> None:
    """A seeded request gives the same text alone as among 15 others of other lengths."""
    sampling = Sampling(max_tokens=16, top_p=0.9, top_k=50, temperature=0.8)
    others = [
        Request(f"o{i}", (), QUESTION * (1 + i % 3), "", Sampling(max_tokens=4 + i), seed=i)
        for i in range(15)
    ]

    async def check(engine: Engine) -> None:
        alone = await ask(engine, [chat("x", sampling, seed=11)])
        among = await ask(engine, [*others, chat("x", sampling, seed=11)])
        assert among["x"] == alone["x"]
        other_seed = await ask(engine, [chat("x", sampling, seed=12)])
        assert other_seed["x"].text != alone["x"].text

    asyncio.run(opened(f"torch:{tiny_model}", check))


def test_torch_greedy_and_logprob_agree_with_token_losses(tiny_model: Path) -> None:
    """At temperature 0 the seed is idle, and sum_logprob is minus the losses of those tokens."""
    greedy = Sampling(temperature=0, max_tokens=8, logprobs=True)

    async def check(engine: Engine) -> None:
        answers = await ask(engine, [plain("a", greedy, seed=1), plain("b", greedy, seed=2)])
        assert answers["a"].text == answers["b"].text
        losses = _losses_by_hand(tiny_model, QUESTION, 8)
        assert answers["a"].sum_logprob == pytest.approx(-losses, abs=1e-3)

    asyncio.run(opened(f"torch:{tiny_model}", check))


def _losses_by_hand(folder: Path, text: str, steps: int) -> float:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = tokenizer.encode(text)
    total = 0.0
    for _ in range(steps):
        logits = model(torch.tensor([ids])).logits[0, -1].detach().log_softmax(-1)
        ids.append(int(logits.argmax()))
        total -= float(logits.max())
    return total


def test_torch_context_and_template(tiny_model: Path, tmp_path: Path) -> None:
    """Too long a prompt is an error with both numbers; messages need a chat template."""
    folder = build_tiny_model(tmp_path / "base", template=None)

    async def check(engine: Engine) -> None:
        with pytest.raises(UserError, match=r"no chat template.*plain template"):
            engine.submit(chat("a"), asyncio.Queue())
        long = Request("l", (), "7" * 300, "", Sampling(max_tokens=9), 1)
        near = Request("n", (), "7" * (CONTEXT - 3), "", Sampling(max_tokens=9), 1)
        answers = await ask(engine, [long, near, Request("e", (), "", "", Sampling(), 1)])
        assert "300 tokens" in answers["l"].error and str(CONTEXT) in answers["l"].error
        assert answers["n"].n_tokens <= 3
        assert answers["e"].error == "the prompt has no tokens"

    asyncio.run(opened(f"torch:{folder}", check))


def test_token_losses(tiny_model: Path) -> None:
    """Losses have one entry a token after the first and do not depend on the neighbours."""
    texts = ["", "a", QUESTION, QUESTION * 3, "7" * 400]
    losses = token_losses(str(tiny_model), texts)
    assert all(loss.dtype == np.float32 for loss in losses)
    assert [len(losses[0]), len(losses[1]), len(losses[4])] == [0, 0, CONTEXT - 1]
    alone = token_losses(str(tiny_model), [QUESTION])[0]
    np.testing.assert_allclose(losses[2], alone, atol=1e-4)
    np.testing.assert_allclose(losses[3][: len(alone)], alone, atol=1e-4)
    assert (alone > 0).all()


def test_identity_follows_the_contents(tiny_model: Path, tmp_path: Path) -> None:
    """The identity keeps through a copy and a README, and changes with a weight or the template."""
    import shutil

    copy = shutil.copytree(tiny_model, tmp_path / "tiny")
    (copy / "README.md").write_text("notes")
    assert identify(copy) == identify(tiny_model)
    assert open_engine(f"vllm:{copy}").model == f"vllm:{identify(copy)}"
    (copy / "chat_template.jinja").write_text("{{ messages }}")
    changed = identify(copy)
    assert changed != identify(tiny_model)
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    assert identify(copy) != changed


@pytest.mark.parametrize("kind", ["vllm", "torch"])
def test_missing_model(kind: str, tmp_path: Path) -> None:
    """A folder that is not there, or holds no model, is a UserError with the path."""
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match=str(folder)):
            on_engine(f"{kind}:{folder}", lambda engine: asyncio.sleep(0))
