"""Small models through transformers, where there is no vLLM; and token losses.

Requests that have arrived are answered together, in micro-batches, by a worker thread. Each request
samples with its own generator, one uniform number a token, so its tokens do not depend on its
neighbours, except where float noise of a batch tips a choice (hence not batch-invariant).
"""

import asyncio
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from pipeline.engines import Completion, Request
from pipeline.engines.checkpoint import encode, identify, locate, require_template
from pipeline.engines.decoding import generate
from pipeline.engines.forward import context_of, load_causal, losses_of_tokens
from pipeline.engines.in_flight import Inbox, InFlight, failed

_Waiting = tuple[Request, tuple[int, ...], "asyncio.Future[Completion]"]


class TorchLocal:
    """An engine for a local folder or a hub name, in float32 on the CPU and bfloat16 on a GPU.

    A micro-batch holds at most `batch` requests; new ones wait until it is finished.
    """

    batch_invariant = False

    def __init__(self, what: str, *, batch: int = 32) -> None:
        self.name = f"torch:{what}"
        self.slots = 2 * batch
        self.shared = ""
        self.dead = ""
        self._what, self._batch = what, batch
        self._waiting: asyncio.Queue[_Waiting] = asyncio.Queue()
        self._in_flight = InFlight(self._answer)
        self._loop_task: asyncio.Task[None] | None = None
        self._closing = False

    @cached_property
    def model(self) -> str:
        """Identity: "torch:NAME@" and 12 hex digits of the files or the hub's commit."""
        return f"torch:{identify(locate(self._what))}"

    async def start(self) -> None:
        """Load the model and its tokenizer."""
        self._model, self._tokenizer = await asyncio.to_thread(load_causal, self._what)
        self._context = context_of(self._model)
        self._loop_task = asyncio.create_task(self._serve())

    def submit(self, request: Request, inbox: Inbox) -> None:
        """Take a request; UserError for messages to a model without a chat template."""
        if request.messages:
            require_template(self._tokenizer, self._what)
        self._in_flight.add(request, inbox)

    async def close(self) -> None:
        """Cancel what is in flight; the micro-batch that is running stops at its next token."""
        self._closing = True
        await self._in_flight.close()
        if self._loop_task is not None:
            self._loop_task.cancel()
            await asyncio.gather(self._loop_task, return_exceptions=True)

    async def _answer(self, request: Request) -> Completion:
        prompt = encode(self._tokenizer, request.messages, request.text, request.prefix)
        if len(prompt) >= self._context:
            return failed(
                request,
                f"the prompt has {len(prompt)} tokens, the model's context is {self._context}",
                retry=False,
            )
        if not prompt:
            return failed(request, "the prompt has no tokens", retry=False)
        future: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((request, prompt, future))
        return await future

    async def _serve(self) -> None:
        while True:
            batch = [await self._waiting.get()]
            while len(batch) < self._batch and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            try:
                await asyncio.to_thread(self._run, batch, asyncio.get_running_loop())
            except Exception as error:  # out of memory, say: these fail, the next may not
                for request, _, future in batch:
                    _settle(future, failed(request, f"{type(error).__name__}: {error}"))

    def _run(self, batch: Sequence[_Waiting], loop: asyncio.AbstractEventLoop) -> None:
        def deliver(row: int, completion: Completion) -> None:
            loop.call_soon_threadsafe(_settle, batch[row][2], completion)

        generate(
            self._model,
            self._tokenizer,
            [request for request, _, _ in batch],
            [prompt for _, prompt, _ in batch],
            deliver,
            stopped=lambda: self._closing,
        )


def token_losses(model_name: str, texts: Sequence[str]) -> list[np.ndarray]:
    """Return -log p of each token after the first, one float32 array of shape (tokens - 1,) a text.

    Tokens are those that the tokenizer makes of the text, with the special ones it adds. A text
    longer than the model's context is scored up to there; one of fewer than two tokens gives an
    empty array. The model stays loaded until another is asked for.
    """
    model, tokenizer = load_causal(model_name)
    return losses_of_tokens(model, [tokenizer.encode(t)[: context_of(model)] for t in texts])


def _settle(future: "asyncio.Future[Completion]", completion: Completion) -> None:
    if not future.done():  # else it was cancelled
        future.set_result(completion)
