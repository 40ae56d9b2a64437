"""Any OpenAI-compatible server, a running `vllm serve` first of all.

`openai:http://HOST:PORT/v1#MODEL`, or several that serve the same model: `openai:URL,URL#MODEL`
(see `endpoints`). The key is read from OPENAI_API_KEY and appears in no message.
The identity is the model's name as the server knows it: the same model on another port keeps its
rollouts, and nobody but the user knows whether two servers mean the same weights by one name.
"""

import asyncio
import logging
import os
import random
import time
from collections.abc import Mapping
from typing import Any

import httpx

from pipeline.engines import Completion, Request
from pipeline.engines.endpoints import Endpoints
from pipeline.engines.in_flight import Inbox, InFlight, failed
from pipeline.errors import UserError

_log = logging.getLogger(__name__)
_LONGEST_WAIT_S = 60.0


class _Passing(Exception):
    """A failure that may pass; `wait_s` is how long the server asked us to wait."""

    def __init__(self, why: str, wait_s: float = 0.0) -> None:
        super().__init__(why)
        self.wait_s = wait_s


class OpenAIServer:
    """An engine behind HTTP, with retries, a concurrency limit and an optional rate limit.

    A request is tried `attempts` times, always with the same seed; the wait doubles from
    `backoff_s` to 60 s, with jitter, and is never shorter than the server's Retry-After.
    """

    batch_invariant = False

    def __init__(
        self,
        what: str,
        *,
        slots: int = 64,
        requests_per_minute: float = 0.0,  # 0: no limit
        attempts: int = 7,
        backoff_s: float = 1.0,
        timeout_s: float = 600.0,
    ) -> None:
        self.name = f"openai:{what}"
        listed, _, self._served = what.partition("#")
        addresses = list(dict.fromkeys(one.strip().rstrip("/") for one in listed.split(",")))
        if not (all(map(_is_url, addresses)) and self._served):
            raise UserError(
                f"model '{self.name}': write openai:http://HOST:PORT/v1#MODEL, several servers as "
                "openai:URL,URL#MODEL"
            )
        self.model = f"openai:{self._served}"
        self.slots, self.shared = slots, f"openai {','.join(sorted(addresses))}"
        self.dead = ""
        self._endpoints = Endpoints(addresses, backoff_s)
        self._attempts, self._backoff_s = attempts, backoff_s
        self._interval_s = 60 / requests_per_minute if requests_per_minute else 0.0
        self._next_at = 0.0
        key = os.environ.get("OPENAI_API_KEY")
        self._open_slots = asyncio.Semaphore(slots)
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(timeout_s, connect=30.0, pool=None),
            limits=httpx.Limits(max_connections=slots),
        )
        self._in_flight = InFlight(self._answer)

    async def start(self) -> None:
        """Ask each server what it serves; UserError if none serves the model."""
        faults = []
        for endpoint in self._endpoints.all:
            try:
                await self._check(endpoint.address)
            except UserError as fault:
                faults.append(str(fault))
                self._endpoints.note_failure(endpoint, str(fault))
        if len(faults) == len(self._endpoints.all):
            raise UserError("; ".join(faults))

    def submit(self, request: Request, inbox: Inbox) -> None:
        """Take a request; see `Engine.submit`."""
        self._in_flight.add(request, inbox)

    async def close(self) -> None:
        """Cancel what is in flight and close the connections."""
        await self._in_flight.close()
        await self._client.aclose()

    async def _check(self, address: str) -> None:
        served = await self._list_models(address)
        if self._served not in served:
            raise UserError(
                f"{address} does not serve '{self._served}'; it serves: {', '.join(served)}"
            )

    async def _list_models(self, address: str) -> list[str]:
        try:
            response = await self._client.get(f"{address}/models", timeout=30.0)
            response.raise_for_status()
            return [str(model["id"]) for model in response.json()["data"]]
        except httpx.HTTPStatusError as error:
            status = error.response.status_code
            hint = "check OPENAI_API_KEY" if status in (401, 403) else "check the address"
            raise UserError(f"{address}/models answers {status}; {hint}") from None
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"no OpenAI-compatible server answers at {address} "
                f"({type(error).__name__}); start it or correct the address"
            ) from None

    async def _answer(self, request: Request) -> Completion:
        jitter = random.Random(request.seed)
        async with self._open_slots:
            for attempt in range(self._attempts):
                if self.dead:
                    return failed(request, self.dead)
                await self._keep_rate()
                endpoint = self._endpoints.pick()
                endpoint.busy += 1
                try:
                    completion = await self._ask(request, endpoint.address)
                    self._endpoints.note_answer(endpoint)
                    return completion
                except _Passing as error:
                    why, wait_s = str(error), error.wait_s
                    self._endpoints.note_failure(endpoint, why, wait_s)
                finally:
                    endpoint.busy -= 1
                if attempt + 1 < self._attempts and not self._can_move():
                    backoff = min(_LONGEST_WAIT_S, self._backoff_s * 2**attempt)
                    _log.debug("%s: %s, attempt %d", request.rollout_id, why, attempt + 1)
                    await asyncio.sleep(max(wait_s, backoff * jitter.uniform(0.5, 1.0)))
        if why.startswith("ConnectError"):
            addresses = " and ".join(one.address for one in self._endpoints.all)
            self.dead = f"{addresses} stopped answering"
        return failed(request, f"gave up after {self._attempts} attempts: {why}")

    def _can_move(self) -> bool:
        """Whether another server can take the request at once."""
        return len(self._endpoints.all) > 1 and self._endpoints.has_ready()

    async def _keep_rate(self) -> None:
        if self._interval_s:
            now = time.monotonic()
            self._next_at = max(now, self._next_at) + self._interval_s
            await asyncio.sleep(self._next_at - self._interval_s - now)

    async def _ask(self, request: Request, address: str) -> Completion:
        path = "chat/completions" if request.messages else "completions"
        try:
            response = await self._client.post(
                f"{address}/{path}", json=_body(self._served, request)
            )
        except httpx.TransportError as error:  # refused, timed out, closed half-way
            raise _Passing(f"{type(error).__name__} {error}") from error
        if response.status_code == 429 or response.status_code >= 500:
            wait_s = _retry_after(response.headers)
            raise _Passing(f"the server answers {response.status_code}", wait_s)
        if response.status_code >= 400:
            return failed(request, f"{response.status_code}: {_message(response)}", retry=False)
        try:
            return _completion(request, response.json())
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise _Passing(f"not a completion ({type(error).__name__})") from error


def _is_url(address: str) -> bool:
    return address.startswith(("http://", "https://"))


def _body(model: str, request: Request) -> dict[str, Any]:
    sampling = request.sampling
    body: dict[str, Any] = {
        "model": model,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
        "seed": request.seed & (2**63 - 1),
    }
    if sampling.top_k:
        body["top_k"] = sampling.top_k  # not OpenAI's, but vLLM's and most others'
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if not request.messages:
        logprobs = {"logprobs": 1} if sampling.logprobs else {}
        return body | logprobs | {"prompt": request.text + request.prefix}
    messages = [{"role": role, "content": content} for role, content in request.messages]
    if request.prefix:
        messages.append({"role": "assistant", "content": request.prefix})
        body |= {"continue_final_message": True, "add_generation_prompt": False}  # vLLM's
    return body | ({"logprobs": True} if sampling.logprobs else {}) | {"messages": messages}


def _completion(request: Request, answer: Mapping[str, Any]) -> Completion:
    choice, usage = answer["choices"][0], answer.get("usage") or {}
    text = choice["message"]["content"] if request.messages else choice["text"]
    reason = choice["finish_reason"]
    if reason not in ("stop", "length"):
        return failed(request, f"the server ended the request: {reason}")
    return Completion(
        request.rollout_id,
        text or "",
        reason,
        n_tokens=usage.get("completion_tokens", 0),
        n_prompt_tokens=usage.get("prompt_tokens", 0),
        sum_logprob=_sum_logprob(choice) if request.sampling.logprobs else None,
    )


def _sum_logprob(choice: Mapping[str, Any]) -> float | None:
    said = choice.get("logprobs")
    if not said:
        return None
    if "token_logprobs" in said:  # /completions
        return float(sum(said["token_logprobs"]))
    return float(sum(token["logprob"] for token in said["content"]))


def _retry_after(headers: Mapping[str, str]) -> float:
    try:
        return max(0.0, float(headers.get("retry-after", "")))
    except ValueError:  # absent, or a date: our own back-off serves
        return 0.0


def _message(response: httpx.Response) -> str:
    try:
        said = response.json()
        return str((said.get("error") or said)["message"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return response.text
