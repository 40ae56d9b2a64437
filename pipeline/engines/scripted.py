"""The public test double: a function of yours is the model.

    def answer(request: Request) -> str | Completion:
        return f"The answer is {len(request.messages)}."

    engine = open_engine("scripted:my_tests:answer", latency_s=0.05)

The text it returns is treated like a model's: cut before the first stop string, and cut to
`max_tokens` words (a word with the space after it counts as one token), which is then "length". A
`Completion` goes through as it is. An exception comes back as an "error" completion.
"""

import asyncio
import random
import re
from collections.abc import Callable
from importlib import import_module

from pipeline.engines import Completion, Request
from pipeline.engines.in_flight import Inbox, InFlight, failed
from pipeline.errors import UserError

Script = Callable[[Request], "str | Completion"]


class Scripted:
    """An engine whose answers come from `module:function`.

    `latency_s`: each completion waits a time between 0 and this, drawn from the request's seed, so
    that completions arrive out of order but in the same order every time.
    """

    batch_invariant = True

    def __init__(self, what: str, *, latency_s: float = 0.0, slots: int = 64) -> None:
        self.name = self.model = f"scripted:{what}"
        self.slots = slots
        self.shared = ""
        self.dead = ""
        self._latency_s = latency_s
        self._script = _find(what)
        self._in_flight = InFlight(self._answer)
        self._closed = False

    async def start(self) -> None:
        """Nothing to load."""

    def submit(self, request: Request, inbox: Inbox) -> None:
        """Take a request; see `Engine.submit`. Without latency it is answered at once."""
        if self._latency_s or self._closed:
            self._in_flight.add(request, inbox)
            return
        try:
            inbox.put_nowait(self._say(request))
        except Exception as error:
            inbox.put_nowait(failed(request, f"{type(error).__name__}: {error}"))

    async def close(self) -> None:
        """Cancel what is in flight."""
        self._closed = True
        await self._in_flight.close()

    async def _answer(self, request: Request) -> Completion:
        await asyncio.sleep(random.Random(request.seed).random() * self._latency_s)
        return self._say(request)

    def _say(self, request: Request) -> Completion:
        said = self._script(request)
        return said if isinstance(said, Completion) else _cut(request, said)


def _find(what: str) -> Script:
    module, _, attribute = what.partition(":")
    try:
        script: Script = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(
            f"model 'scripted:{what}': {error}; write scripted:MODULE:FUNCTION with a function "
            "that can be imported from here"
        ) from error
    return script


def _cut(request: Request, text: str) -> Completion:
    found = [at for stop in request.sampling.stop if (at := text.find(stop)) >= 0]
    words = re.findall(r"\s*\S+\s*", text[: min(found)] if found else text)
    limit = request.sampling.max_tokens
    return Completion(
        request.rollout_id,
        "".join(words[:limit]),
        "length" if len(words) > limit else "stop",
        n_tokens=min(len(words), limit),
        sum_logprob=0.0 if request.sampling.logprobs else None,
    )
