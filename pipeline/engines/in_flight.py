"""The requests that an engine is working on: one task each, every one answered exactly once."""

import asyncio
from collections.abc import Awaitable, Callable

from pipeline.engines import Completion, Request

Inbox = asyncio.Queue[Completion]


def failed(request: Request, why: str, *, retry: bool = True) -> Completion:
    """Answer `request` with an error, said in one short line; `retry`: asking again may help."""
    line = " ".join(why.split())
    return Completion(request.rollout_id, "", "error", error=line[:300], retry=retry)


class InFlight:
    """Runs `answer(request)` as a task and delivers what it returns, raises or was cancelled by."""

    def __init__(self, answer: Callable[[Request], Awaitable[Completion]]) -> None:
        self._answer = answer
        self._tasks: set[asyncio.Task[Completion]] = set()
        self._closed = False

    def add(self, request: Request, inbox: Inbox) -> None:
        """Start answering; after `close` the answer is an error at once."""
        if self._closed:
            inbox.put_nowait(failed(request, "the engine is closed"))
            return

        async def run() -> Completion:
            return await self._answer(request)

        def deliver(task: asyncio.Task[Completion]) -> None:
            # A callback, not a `finally` in the task: a task cancelled before its first step
            # runs no line of its own.
            self._tasks.discard(task)
            inbox.put_nowait(_outcome(request, task))

        task = asyncio.get_running_loop().create_task(run())
        self._tasks.add(task)
        task.add_done_callback(deliver)

    async def close(self) -> None:
        """Cancel what is in flight and wait until each of it is answered."""
        self._closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _outcome(request: Request, task: asyncio.Task[Completion]) -> Completion:
    if task.cancelled():
        return failed(request, "the engine was closed before the answer was finished")
    error = task.exception()
    if error is not None:
        return failed(request, f"{type(error).__name__}: {error}")
    return task.result()
