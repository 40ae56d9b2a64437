"""Several servers behind one engine: shared work, one that dies, one that comes and goes."""

import asyncio
import logging
import socket
from typing import Any

import pytest

from pipeline.engines import Completion, Engine, open_engine
from pipeline.engines.endpoints import Endpoints
from pipeline.errors import UserError
from tests.engine_contract import ask, plain
from tests.test_engine_openai import MODEL, Misbehaving

OPTIONS = {"backoff_s": 0.02, "slots": 8}


class Server:
    """A server on a port of its own that can be ended and started again there."""

    def __init__(self) -> None:
        self.inner = Misbehaving()
        with socket.create_server(("127.0.0.1", 0)) as found:
            self.port = found.getsockname()[1]
        self.listener: asyncio.Server | None = None
        self.tasks: set[asyncio.Task[Any]] = set()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def start(self) -> None:
        """Listen."""

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.tasks.add(asyncio.current_task())
            try:
                await self.inner.handle(reader, writer)
            except asyncio.CancelledError:
                writer.transport.abort()

        self.listener = await asyncio.start_server(handle, "127.0.0.1", self.port)

    async def end(self) -> None:
        """Cut every connection in the middle of what it says, and listen no more."""
        self.listener.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.tasks.clear()
        await self.listener.wait_closed()


async def run(servers: list[Server], requests: list[Any], during: Any = None) -> dict:
    """Ask the engine of all `servers` every request, while `during()` goes on."""
    name = f"openai:{','.join(one.url for one in servers)}#{MODEL}"
    engine: Engine = open_engine(name, **OPTIONS)
    await engine.start()
    try:
        asking = asyncio.create_task(ask(engine, requests))
        if during is not None:
            await asyncio.wait_for(during(), 60)
        return await asyncio.wait_for(asking, 60)
    finally:
        await engine.close()


def all_answered(answers: dict[str, Completion], count: int) -> bool:
    """Whether each request was answered, none by an error."""
    reasons = [one.finish_reason for one in answers.values()]
    return len(reasons) == count and set(reasons) == {"stop"}


def test_the_least_busy_server_is_asked() -> None:
    """Two equal servers get about half of the requests each."""

    async def main() -> list[int]:
        servers = [Server(), Server()]
        for one in servers:
            await one.start()
        answers = await run(servers, [plain(f"r{i}", seed=i) for i in range(80)])
        for one in servers:
            await one.end()
        assert all_answered(answers, 80)
        return [len(one.inner.bodies) for one in servers]

    shares = asyncio.run(main())
    assert sum(shares) == 80 and min(shares) >= 30


def test_a_server_that_dies_costs_no_request(caplog) -> None:
    """One of two is cut off in the middle: every request is answered, and the log says where."""

    async def main() -> list[int]:
        servers = [Server(), Server()]
        for one in servers:
            await one.start()

        async def kill() -> None:
            while len(servers[0].inner.bodies) < 10:
                await asyncio.sleep(0.005)
            await servers[0].end()

        answers = await run(servers, [plain(f"r{i}", seed=i) for i in range(120)], kill)
        await servers[1].end()
        assert all_answered(answers, 120)
        return [len(one.inner.bodies) for one in servers]

    with caplog.at_level(logging.WARNING):
        dead, alive = asyncio.run(main())
    assert 10 <= dead < 60 and alive >= 120 - dead
    assert "its requests go elsewhere" in caplog.text


def test_a_server_that_comes_back_is_asked_again(caplog) -> None:
    """A flapping server among two, and a flapping one alone, lose nothing."""

    async def main(count: int) -> None:
        servers = [Server() for _ in range(count)]
        for one in servers:
            await one.start()

        async def flap() -> None:
            for _ in range(2):
                while not servers[0].tasks:
                    await asyncio.sleep(0.005)
                await servers[0].end()
                await asyncio.sleep(0.08)
                await servers[0].start()

        answers = await run(servers, [plain(f"r{i}", seed=i) for i in range(900)], flap)
        for one in servers:
            await one.end()
        assert all_answered(answers, 900)

    with caplog.at_level(logging.WARNING):
        asyncio.run(main(2))
    assert "answers again" in caplog.text
    asyncio.run(main(1))


def test_start_needs_one_server_that_serves_the_model() -> None:
    """One dead address of two is no hindrance; two dead ones are both named."""

    async def main() -> None:
        alive, dead, other = Server(), Server(), Server()
        await alive.start()
        assert all_answered(await run([dead, alive], [plain("r")]), 1)
        await alive.end()
        with pytest.raises(UserError) as fault:
            await run([dead, other], [plain("r")])
        assert dead.url in str(fault.value) and other.url in str(fault.value)

    asyncio.run(main())


def test_one_request_tries_a_server_that_rested() -> None:
    """After its rest a failed server gets one request, and more only once that is answered."""
    servers = Endpoints(["http://a", "http://b"], rest_s=0.0)
    a, b = servers.all
    servers.note_failure(a, "down")
    b.busy = 5
    assert servers.pick() is a
    a.busy = 1
    assert servers.pick() is b
    servers.note_answer(a)
    assert servers.pick() is a


def test_the_address_is_checked() -> None:
    """A list with something else than addresses in it is refused before anything is asked."""
    with pytest.raises(UserError, match="several servers as"):
        open_engine("openai:http://a/v1,b/v1#m")
