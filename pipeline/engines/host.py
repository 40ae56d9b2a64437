"""One background event loop a process, on which every engine lives.

Tasks run in threads and want the same model: they share one engine, which is opened at first use
and closed with the process. `on_engine` is the only way in.
"""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future, wait
from typing import Any, TypeVar

from pipeline.engines import Engine, open_engine
from pipeline.errors import EngineError
from pipeline.schema import canonical

_log = logging.getLogger(__name__)
T = TypeVar("T")
Key = tuple[str, bytes]


def on_engine(name: str, work: Callable[[Engine], Awaitable[T]], **options: Any) -> T:
    """Run `work(engine)` on the engines' loop and wait for what it returns or raises.

    The engine is shared by everyone who gives the same name and options. If it cannot start, every
    caller who waits for it gets the UserError and the next call tries anew; a dead engine is
    replaced. When the waiting thread is interrupted (Ctrl-C) the work is cancelled and given 10 s
    to end.
    """
    host = _host()
    return host.run(host.serve(name, work, options))


def close_engines() -> None:
    """Cancel all work and close every engine; the next `on_engine` starts afresh."""
    global _the_host
    with _lock:
        host, _the_host = _the_host, None
    if host is not None:
        host.close()


class _Host:
    """A thread with an event loop, the engines opened on it, and the work in progress."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.engines: dict[Key, asyncio.Task[Engine]] = {}
        self.works: set[asyncio.Task[Any]] = set()
        self.thread = threading.Thread(target=self.loop.run_forever, name="engines", daemon=True)
        self.thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` on the loop from another thread."""
        outcome: Future[T] = Future()
        started: list[asyncio.Task[T]] = []

        def begin() -> None:
            task = self.loop.create_task(work)
            started.append(task)
            self.works.add(task)
            task.add_done_callback(self.works.discard)
            task.add_done_callback(lambda task: _copy(task, outcome))

        self.loop.call_soon_threadsafe(begin)
        try:
            # Not `outcome.result()`: polars installs a SIGINT handler with SA_RESTART, after which
            # a wait without a timeout does not notice Ctrl-C.
            while not wait([outcome], timeout=0.5).done:
                pass
            return outcome.result()
        finally:
            if not outcome.done():  # interrupted while waiting
                self.loop.call_soon_threadsafe(lambda: started[0].cancel())
                wait([outcome], timeout=10)

    def close(self) -> None:
        """Close the engines and end the thread."""
        asyncio.run_coroutine_threadsafe(self._end(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    async def _end(self) -> None:
        for task in self.works:
            task.cancel()
        await asyncio.gather(*self.works, return_exceptions=True)
        # An engine that is just starting is waited for: half a start cannot be taken back.
        opened = await asyncio.gather(*self.engines.values(), return_exceptions=True)
        for engine in opened:
            if not isinstance(engine, BaseException):
                await _close(engine)
        await self.loop.shutdown_default_executor()

    async def serve(
        self, name: str, work: Callable[[Engine], Awaitable[T]], options: dict[str, Any]
    ) -> T:
        """Run `work` with the engine of that name."""
        return await work(await self._engine(name, options))

    async def _engine(self, name: str, options: dict[str, Any]) -> Engine:
        key = (name, canonical(options))
        opening = self.engines.get(key)
        if opening is not None and opening.done() and (engine := opening.result()).dead:
            _log.warning("%s is gone (%s); opening it again", name, engine.dead)
            del self.engines[key]
            await _close(engine)
        if key not in self.engines:
            self.engines[key] = self.loop.create_task(self._open(key, options))
        return await asyncio.shield(self.engines[key])

    async def _open(self, key: Key, options: dict[str, Any]) -> Engine:
        try:
            engine = open_engine(key[0], **options)
            try:
                await engine.start()
            except BaseException:
                await _close(engine)
                raise
        except BaseException:
            del self.engines[key]  # who waits gets the error; the next call tries anew
            raise
        return engine


_the_host: _Host | None = None
_lock = threading.Lock()


def _host() -> _Host:
    global _the_host
    with _lock:
        if _the_host is None:
            _the_host = _Host()
            # Not `atexit`: that runs after the threads of every executor were joined, and those
            # may be waiting for an engine. This runs before.
            threading._register_atexit(close_engines)  # type: ignore[attr-defined]
        return _the_host


def _copy(task: "asyncio.Task[T]", outcome: "Future[T]") -> None:
    if task.cancelled():
        outcome.set_exception(EngineError("the engines were closed while this was running"))
    elif error := task.exception():
        outcome.set_exception(error)
    else:
        outcome.set_result(task.result())


async def _close(engine: Engine) -> None:
    try:
        await engine.close()
    except Exception:
        _log.exception("%s did not close cleanly", engine.name)
