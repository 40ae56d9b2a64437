"""vLLM in this process, through its asynchronous engine. The only module that imports vllm.

vLLM runs the model in child processes of its own; here are only tokenizer, detokenizer and one
task a request, about 5 % of the CPU time. What a request costs twice is avoided: prompts are
tokenized once for all trials, and vLLM reports a request only when it is finished.
"""

import asyncio
import logging
import os
import secrets
import subprocess
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, lru_cache, partial
from typing import Any

import numpy as np

from pipeline.engines import Completion, Request, Sampling
from pipeline.engines.checkpoint import encode, identify, locate, require_template
from pipeline.engines.in_flight import Inbox, InFlight, failed
from pipeline.errors import EngineError, UserError

_log = logging.getLogger(__name__)
_SETTINGS = {
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_HOST_IP": "127.0.0.1",  # else it looks for our address by way of a public one
    "VLLM_CPU_KVCACHE_SPACE": "2",  # GiB; only the CPU build reads it
    "HF_HUB_OFFLINE": "1",  # the model's folder is here by now
    "PYTHONWARNINGS": "ignore",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
}
# Under chunked prefill a request's seed stops the CPU engine ("CPU Generator does not use offset").
_ON_CPU = {"enforce_eager": True, "dtype": "bfloat16", "enable_chunked_prefill": False}
# Options with which it gives token states instead of completions.
POOLING = {
    "runner": "pooling",
    "convert": "embed",
    "pooler_config": {"task": "token_embed", "use_activation": False},
}
_starting = threading.Lock()


class VllmOffline:
    """An engine for a local folder or a hub name; `options` are vLLM's own engine arguments.

    On a GPU vLLM's defaults for offline work hold unless an option says otherwise.
    """

    def __init__(self, what: str, **options: Any) -> None:
        self.name = f"vllm:{what}"
        self.batch_invariant = False  # until start() knows the device
        self.slots = 0  # until start() knows vLLM's own limit
        self.dead = ""
        self._what, self._options = what, options
        self._llm: Any = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._in_flight = InFlight(self._answer)

    @cached_property
    def model(self) -> str:
        """Identity: "vllm:NAME@" and 12 hex digits of the files or the hub's commit."""
        return f"vllm:{identify(locate(self._what))}"

    async def start(self) -> None:
        """Load the model and start vLLM's processes (20 s of CPU, most of it imports)."""
        await asyncio.to_thread(self._load)
        tokenizer = self._llm.get_tokenizer()
        self._check = partial(require_template, tokenizer, self._what)
        self._encode = lru_cache(maxsize=4096)(partial(encode, tokenizer))
        self._context = int(self._llm.model_config.max_model_len)
        limit = int(self._llm.vllm_config.scheduler_config.max_num_seqs)
        self.slots = limit + limit // 8  # a few wait inside, so that no place stays empty a step
        await self._llm.get_supported_tasks()  # its tasks start here, on this loop

    def submit(self, request: Request, inbox: Inbox) -> None:
        """Take a request; UserError for messages to a model without a chat template."""
        if request.messages:
            self._check()
        self._in_flight.add(request, inbox)

    async def token_states(self, name: str, tokens: Sequence[int]) -> np.ndarray:
        """Return the last layer's state of each token, float32[tokens, d]; `POOLING` is needed.

        name: of the request, no other in flight may have it. Raises EngineError if vLLM fails.
        """
        from vllm import PoolingParams

        prompt = {"type": "token", "prompt_token_ids": list(tokens)}
        try:
            async for output in self._llm.encode(prompt, PoolingParams(task="token_embed"), name):
                states: np.ndarray = output.outputs.data.float().numpy()
        except Exception as error:
            if self._llm is not None and self._llm.errored:
                self.dead = self.dead or "vLLM's engine process died"
            raise EngineError(self.dead or f"{type(error).__name__}: {error}") from error
        return states

    async def close(self) -> None:
        """Cancel what is in flight and end vLLM's processes."""
        await self._in_flight.close()
        llm, self._llm = self._llm, None
        if llm is not None:
            if llm.output_handler is not None:
                llm.output_handler.cancel()  # else it reports our own shutdown as a crash
            await asyncio.to_thread(llm.shutdown, 20)
            await asyncio.sleep(0)  # the sockets are closed on this loop,
            llm.engine_core.resources.ctx.destroy(linger=0)  # which vLLM leaves to the collector
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
            self._guard = None

    def _load(self) -> None:
        folder = locate(self._what)
        _log.info("loading %s from %s", self.model, folder)  # digests the weights, off the loop
        mark = secrets.token_hex(8)
        self._guard = _guard(mark)
        with _starting, _surroundings(mark):
            from vllm import AsyncEngineArgs
            from vllm.platforms import current_platform
            from vllm.usage.usage_lib import UsageContext
            from vllm.v1.engine.async_llm import AsyncLLM

            on_cpu = current_platform.is_cpu()
            options = (_ON_CPU if on_cpu else {}) | self._options
            try:
                arguments = AsyncEngineArgs(
                    model=str(folder), disable_log_stats=True, use_tqdm_on_load=False, **options
                )
                self._llm = AsyncLLM.from_engine_args(
                    arguments, usage_context=UsageContext.LLM_CLASS
                )
            except Exception as error:
                why = " ".join(str(error).split())[:300]
                raise UserError(
                    f"vLLM cannot start '{self._what}' with {options}: {why}"
                ) from error
        self.batch_invariant = os.environ.get("VLLM_BATCH_INVARIANT") == "1" and not on_cpu

    async def _answer(self, request: Request) -> Completion:
        prompt = self._encode(request.messages, request.text, request.prefix)
        room = self._context - len(prompt)
        if room < 1:
            return failed(
                request,
                f"the prompt has {len(prompt)} tokens, the model's context is {self._context}",
                retry=False,
            )
        parameters = _parameters(request.sampling, request.seed, room)
        try:
            async for output in self._llm.generate(
                {"type": "token", "prompt_token_ids": list(prompt)}, parameters, request.rollout_id
            ):
                final = output.outputs[0]
        except Exception as error:
            if self._llm is not None and self._llm.errored:
                self.dead = self.dead or "vLLM's engine process died"
            return failed(request, self.dead or f"{type(error).__name__}: {error}")
        if final.finish_reason not in ("stop", "length"):
            return failed(request, f"vLLM ended the request: {final.finish_reason}")
        return Completion(
            request.rollout_id,
            final.text,
            final.finish_reason,
            n_tokens=len(final.token_ids),
            n_prompt_tokens=len(prompt),
            sum_logprob=final.cumulative_logprob,
        )


def _parameters(sampling: Sampling, seed: int, room: int) -> Any:
    from vllm.sampling_params import RequestOutputKind, SamplingParams

    return SamplingParams(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        max_tokens=min(sampling.max_tokens, room),
        stop=list(sampling.stop),
        seed=seed & (2**63 - 1),
        logprobs=0 if sampling.logprobs else None,  # 0: the sampled token's own, no others
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


@contextmanager
def _surroundings(mark: str) -> Iterator[None]:
    """Give vLLM its settings and take back what it leaves in our environment.

    It sets LD_PRELOAD for its workers, which programs that we start later must not inherit.
    """
    import huggingface_hub  # noqa: F401  # before HF_HUB_OFFLINE, which it reads once for all

    before = dict(os.environ)
    os.environ.update(_SETTINGS | before | {"TAMIS_VLLM_OF": mark})  # its processes inherit these
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def _guard(mark: str) -> subprocess.Popen[bytes]:
    """Start a shell that ends every process marked in its environment once this one is gone.

    vLLM's processes outlive a SIGKILL of their parent, also in the middle of a start. The shell
    notices because its standard input closes.
    """
    script = """
        cat
        for signal in TERM KILL; do
            for file in $(grep -ls "$1" /proc/[0-9]*/environ); do
                pid=${file#/proc/}
                kill -$signal "${pid%/environ}"
            done
            sleep 5
        done"""
    return subprocess.Popen(
        ["/bin/sh", "-c", script, "guard", mark],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C must not end the guard first
    )
