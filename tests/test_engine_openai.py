"""OpenAI-compatible servers: a real vLLM server, and a small one that misbehaves on purpose."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipeline.engines import Completion, Engine, Sampling, open_engine
from pipeline.errors import UserError
from tests.engine_contract import CHECKS, ask, chat, opened, plain

MODEL = "tiny"


def _reply(body: dict[str, Any]) -> bytes:
    text = f"said to {body['seed']}"
    choice = {"index": 0, "finish_reason": "stop", "text": text, "message": {"content": text}}
    usage = {"completion_tokens": 3, "prompt_tokens": 5}
    return json.dumps({"choices": [choice], "usage": usage}).encode()


class Misbehaving:
    """A server that treats each seed to the same list of troubles, then answers."""

    def __init__(self, *troubles: str) -> None:
        self.troubles = troubles
        self.bodies: dict[int, list[dict[str, Any]]] = {}
        self.arrivals: list[float] = []
        self.busy = self.busiest = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = [line for line in head.lower().split(b"\r\n") if b"content-length" in line]
                body = await reader.readexactly(int(length[0].split(b":")[1])) if length else b""
                self.busy += 1
                self.busiest = max(self.busy, self.busiest)
                alive = await self.answer(head, body, writer)
                self.busy -= 1
                if not alive:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def answer(self, head: bytes, body: bytes, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; return whether the connection lives on."""
        if head.startswith(b"GET"):
            served = json.dumps({"data": [{"id": MODEL}, {"id": "other"}]}).encode()
            return self.send(writer, 200, served)
        await asyncio.sleep(0.02)
        asked = json.loads(body)
        before = self.bodies.setdefault(asked["seed"], [])
        before.append(asked)
        self.arrivals.append(time.monotonic())
        trouble = self.troubles[len(before) - 1] if len(before) <= len(self.troubles) else ""
        if trouble == "429":
            return self.send(writer, 429, b"{}", b"Retry-After: 0.5\r\n")
        if trouble == "500":
            return self.send(writer, 500, b"oops")
        if trouble == "400":
            return self.send(writer, 400, b'{"error": {"message": "max_tokens is too large"}}')
        if trouble == "garbage":
            return self.send(writer, 200, _reply(asked)[:-7])
        if trouble == "half":
            reply = _reply(asked)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(reply))
            writer.write(reply[:20])
        if trouble in ("half", "nothing"):
            return False
        return self.send(writer, 200, _reply(asked))

    def send(
        self, writer: asyncio.StreamWriter, status: int, body: bytes, more: bytes = b""
    ) -> bool:
        """Write a whole response."""
        head = b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n" % (status, len(body))
        writer.write(head + more + b"\r\n" + body)
        return True


@asynccontextmanager
async def serving(server: Misbehaving) -> AsyncIterator[str]:
    """Listen on loopback and give the engine's name."""
    listener = await asyncio.start_server(server.handle, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with listener:
        yield f"openai:http://127.0.0.1:{port}/v1#{MODEL}"


def _run(server: Misbehaving, requests: list[Any], **options: Any) -> dict[str, Completion]:
    answers: dict[str, Completion] = {}

    async def check(engine: Engine) -> None:
        answers.update(await ask(engine, requests))

    async def main() -> None:
        async with serving(server) as name:
            await opened(name, check, **{"backoff_s": 0.01} | options)

    asyncio.run(main())
    return answers


def test_retries_until_it_works_with_the_same_seed() -> None:
    """429, 500, half a response, garbage and a closed connection are retried with equal bodies."""
    server = Misbehaving("429", "500", "half", "garbage", "nothing")
    answers = _run(server, [make(f"{make.__name__}{i}", seed=i + 100 * (make is plain))
                            for i in range(6) for make in (chat, plain)])  # fmt: skip
    for rollout_id, answer in answers.items():
        seed = int(rollout_id[-1]) + 100 * rollout_id.startswith("plain")
        assert answer == Completion(rollout_id, f"said to {seed}", "stop", 3, 5)
        tries = server.bodies[seed]
        assert len(tries) == 6 and all(body == tries[0] for body in tries)


def test_retry_after_is_honoured() -> None:
    """After a 429 with Retry-After 0.5 the next attempt waits that long."""
    server = Misbehaving("429")
    _run(server, [chat("a")])
    assert server.arrivals[1] - server.arrivals[0] >= 0.5


def test_gives_up_after_the_attempts() -> None:
    """A server that never recovers yields an error that says what it did."""
    server = Misbehaving(*["500"] * 9)
    answers = _run(server, [chat("a")], attempts=3)
    assert answers["a"].error == "gave up after 3 attempts: the server answers 500"
    assert len(server.bodies[7]) == 3


def test_a_bad_request_is_not_retried() -> None:
    """A 400 is an error at once, with the server's own message."""
    server = Misbehaving("400")
    answers = _run(server, [chat("a")])
    assert answers["a"].error == "400: max_tokens is too large"
    assert len(server.bodies[7]) == 1


def test_limits() -> None:
    """No more than `slots` requests are open at once, and the rate is kept."""
    server = Misbehaving()
    _run(server, [chat(str(i), seed=i) for i in range(12)], slots=3)
    assert server.busiest == 3
    slow = Misbehaving()
    _run(slow, [chat(str(i), seed=i) for i in range(5)], requests_per_minute=600)
    assert slow.arrivals[-1] - slow.arrivals[0] >= 0.35


def test_what_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sampling, folded seed, stop and prefix reach the server in its own words."""
    server = Misbehaving()
    sampling = Sampling(temperature=0.5, top_p=0.9, top_k=4, max_tokens=9, stop=("\n",))
    _run(server, [chat("a", sampling, prefix="So", seed=2**63 + 5), plain("b", prefix=" So")])
    body = server.bodies[5][0]
    assert body["messages"][-1] == {"role": "assistant", "content": "So"}
    assert body["continue_final_message"] and not body["add_generation_prompt"]
    wanted = {"temperature": 0.5, "top_p": 0.9, "top_k": 4, "max_tokens": 9, "stop": ["\n"]}
    assert wanted.items() <= body.items()
    assert server.bodies[7][0]["prompt"].endswith("four? So")


def test_start_says_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """Endpoint down, model not served, address without model: one sentence each, never the key."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        down = f"openai:http://127.0.0.1:{port}/v1#{MODEL}"
        with pytest.raises(UserError, match="no OpenAI-compatible server answers") as raised:
            asyncio.run(opened(down, CHECKS[0]))
        assert "sk-secret" not in str(raised.value)
    with pytest.raises(UserError, match="#MODEL"):
        open_engine("openai:http://127.0.0.1/v1")

    async def main() -> None:
        async with serving(Misbehaving()) as name:
            await opened(name.replace("#tiny", "#huge"), CHECKS[0])

    with pytest.raises(UserError, match="does not serve 'huge'; it serves: tiny, other"):
        asyncio.run(main())


@pytest.fixture(scope="module")
def vllm_server(tiny_model: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Serve the tiny model with vLLM on loopback; give the engine's name and the process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    flags = "--enforce-eager --dtype bfloat16 --no-enable-chunked-prefill --disable-log-stats"
    address = ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", MODEL]
    settings = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "ERROR", "DO_NOT_TRACK": "1"}
    server = subprocess.Popen(
        [*command, "--model", str(tiny_model), *address, *flags.split()],
        env=os.environ | settings | {"VLLM_HOST_IP": "127.0.0.1", "VLLM_NO_USAGE_STATS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait_until_up(f"http://127.0.0.1:{port}/health", server)
        yield f"openai:http://127.0.0.1:{port}/v1#{MODEL}", server
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _wait_until_up(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise RuntimeError(f"the vLLM server did not come up (exit code {server.poll()})")


@pytest.mark.vllm
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_contract(vllm_server: tuple[str, Any], check: Callable) -> None:
    """A real vLLM server behind HTTP keeps the contract of every engine."""
    asyncio.run(opened(vllm_server[0], check))


@pytest.mark.vllm
def test_same_seed_same_text(vllm_server: tuple[str, Any]) -> None:
    """The server answers a seed the same way twice, and tokens are counted."""

    async def check(engine: Engine) -> None:
        requests = [chat(f"r{i}", Sampling(max_tokens=20), seed=i) for i in range(16)]
        first, second = await ask(engine, requests), await ask(engine, requests[::-1])
        assert first == second
        assert all(0 < a.n_tokens <= 20 and a.n_prompt_tokens > 5 for a in first.values())

    asyncio.run(opened(vllm_server[0], check))


@pytest.mark.vllm
def test_too_long_a_prompt_is_the_servers_error(vllm_server: tuple[str, Any]) -> None:
    """A request that the server refuses comes back as its 400, not as an exception."""

    async def check(engine: Engine) -> None:
        answers = await ask(engine, [plain("l", Sampling(max_tokens=400))])
        assert answers["l"].error.startswith("400: ")

    asyncio.run(opened(vllm_server[0], check))


@pytest.mark.vllm
def test_server_killed_in_the_middle(vllm_server: tuple[str, Any]) -> None:
    """When the server dies, what is left comes back as error and the engine says it is dead."""
    name, server = vllm_server

    async def check(engine: Engine) -> None:
        requests = [chat(f"r{i}", Sampling(max_tokens=150), seed=i) for i in range(200)]
        asking = asyncio.create_task(ask(engine, requests))
        await asyncio.sleep(0.3)
        os.killpg(server.pid, signal.SIGKILL)
        answers = await asking
        assert any(a.finish_reason == "error" for a in answers.values())
        assert "stopped answering" in engine.dead

    asyncio.run(opened(name, check, slots=16, attempts=3, backoff_s=0.05))
