"""The one protocol that every engine speaks, and the door that opens them by name.

An engine takes requests one at a time without waiting and puts completions into the caller's
inbox as they finish. It never raises for one request: what failed comes back as a completion whose
`finish_reason` is "error", so that a bad answer is data and the loop above decides about retries.
Every request is answered exactly once. If the whole engine dies, every request in flight comes back
as "error" and `dead` says why; the same holds for what is in flight, or submitted, at `close()`.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, NamedTuple, Protocol

from pipeline.errors import UserError

FinishReason = Literal["stop", "length", "error"]


class Sampling(NamedTuple):
    """How to sample; the canonical JSON of its dict is the `sampling` column of rollouts."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0  # 0: off
    max_tokens: int = 1024  # new tokens
    stop: tuple[str, ...] = ()
    logprobs: bool = False  # ask for the sum of log p(token), before temperature, top_p and top_k


@dataclass(frozen=True, slots=True)
class Request:
    """One thing to generate. `messages` go through the model's chat template, `text` goes as it is.

    Exactly one of `messages` and `text` is set. `prefix` is the beginning of the answer, which the
    model continues; the completion does not repeat it.
    """

    rollout_id: str
    messages: tuple[tuple[str, str], ...]  # (role, content); empty when text is set
    text: str
    prefix: str
    sampling: Sampling
    seed: int  # uint64; engines fold it to what they take (seed & 2**63 - 1)


class Completion(NamedTuple):
    """What came back for one request.

    `error` says in a few words why finish_reason is "error"; `retry` is False where asking again
    cannot help (a prompt longer than the context, a request that the server refuses).
    """

    rollout_id: str
    text: str
    finish_reason: FinishReason
    n_tokens: int = 0  # generated
    n_prompt_tokens: int = 0
    sum_logprob: float | None = None
    error: str = ""
    retry: bool = True


class Engine(Protocol):
    """A model that answers. Used from one event loop; opened and closed there."""

    name: str  # as the user wrote it: "vllm:data/nano"
    batch_invariant: bool  # answers a rollout id the same way in any batch
    slots: int  # requests worth keeping in flight
    shared: str  # what its slots are of, for all runs on this machine; empty: nothing in common
    dead: str  # empty while the engine lives, else why it died

    @property
    def model(self) -> str:
        """Identity for rollout ids: kind, model and a digest of its weights or its revision.

        Known before `start()`, so that a finished run need not load the model to see that it is
        finished; may read files, and raises UserError if the model is not there.
        """
        ...

    async def start(self) -> None:
        """Load the model or reach the server; raise UserError in one sentence if it cannot."""
        ...

    def submit(self, request: Request, inbox: "asyncio.Queue[Completion]") -> None:
        """Take a request at once; its completion is put into `inbox` (unbounded) when finished.

        Raises UserError for what no request of this run can do, such as messages to a model that
        has no chat template.
        """
        ...

    async def close(self) -> None:
        """Stop, cancel what is in flight, free the device; safe to call twice."""
        ...


_KINDS: dict[str, str] = {
    "vllm": "pipeline.engines.vllm_offline:VllmOffline",
    "openai": "pipeline.engines.openai_server:OpenAIServer",
    "torch": "pipeline.engines.torch_local:TorchLocal",
    "replay": "pipeline.engines.replay:Replay",
    "scripted": "pipeline.engines.scripted:Scripted",
}


def open_engine(name: str, **options: Any) -> Engine:
    """Make the engine that `name` ("KIND:WHAT") describes; it loads nothing before `start()`."""
    kind, _, what = name.partition(":")
    if kind not in _KINDS or not what:
        kinds = ", ".join(f"{kind}:..." for kind in _KINDS)
        raise UserError(f"model '{name}' is not one of {kinds}; a bare model name means vllm:NAME")
    module, _, attribute = _KINDS[kind].partition(":")
    make: Callable[..., Engine] = getattr(import_module(module), attribute)
    return make(what, **options)
