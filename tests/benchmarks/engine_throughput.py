"""Tokens a second through submit and inbox, against plain `LLM.generate` over the same requests.

    python -m tests.benchmarks.engine_throughput [--model FOLDER] [--requests 256] [--rounds 5]

Both engines are loaded in this process and take turns, since other work on the machine comes and
goes; medians are compared. CPU seconds count this process and all of vLLM's.
"""

import argparse
import asyncio
import os
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil

from pipeline.engines import Completion, Request, Sampling
from pipeline.engines.vllm_offline import VllmOffline
from tests.tiny_model import build_tiny_model

WORDS = "Tom has 12 apples and eats 5 of them. How many apples are left? Answer:".split()
Round = Callable[[], Awaitable[int]]


def make_requests(n: int, max_tokens: int) -> list[Request]:
    """Plain prompts of 10 to 40 words with one seed each."""
    draw = random.Random(0)
    return [
        Request(str(i), (), " ".join(draw.choices(WORDS, k=draw.randint(10, 40))), "",
                Sampling(max_tokens=max_tokens), seed=i)
        for i in range(n)
    ]  # fmt: skip


def plain_generate(folder: str, requests: list[Request]) -> Round:
    """Return a round of `LLM.generate`, with the settings that the engine uses on a CPU."""
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    from vllm import LLM, SamplingParams

    llm = LLM(folder, enforce_eager=True, dtype="bfloat16", enable_chunked_prefill=False)

    async def one_round() -> int:
        parameters = [
            SamplingParams(max_tokens=r.sampling.max_tokens, seed=r.seed) for r in requests
        ]
        outputs = llm.generate([r.text for r in requests], parameters, use_tqdm=False)
        return sum(len(output.outputs[0].token_ids) for output in outputs)

    return one_round


def through_inbox(engine: VllmOffline, requests: list[Request]) -> Round:
    """Return a round through the engine: never more than `slots` in flight."""

    async def one_round() -> int:
        inbox: asyncio.Queue[Completion] = asyncio.Queue()
        waiting, tokens = iter(requests), 0
        for _, request in zip(range(engine.slots), waiting, strict=False):
            engine.submit(request, inbox)
        for _ in requests:
            tokens += (await inbox.get()).n_tokens
            if (request := next(waiting, None)) is not None:
                engine.submit(request, inbox)
        return tokens

    return one_round


def cpu_seconds() -> float:
    """CPU time of this process and its descendants."""
    me = psutil.Process()
    times = [process.cpu_times() for process in [me, *me.children(recursive=True)]]
    return sum(t.user + t.system for t in times)


async def compare(folder: str, n: int, max_tokens: int, rounds: int) -> None:
    """Alternate the two and print a line a round, then the ratio of medians."""
    requests = make_requests(n, max_tokens)
    plain = plain_generate(folder, requests)
    engine = VllmOffline(folder)
    await engine.start()
    contenders = {"LLM.generate": plain, "submit/inbox": through_inbox(engine, requests)}
    wall: dict[str, list[float]] = {name: [] for name in contenders}
    cpu: dict[str, list[float]] = {name: [] for name in contenders}
    for i in range(rounds + 1):
        for name, one_round in contenders.items():
            began, cpu_began = time.perf_counter(), cpu_seconds()
            tokens = await one_round()
            seconds, cpu_used = time.perf_counter() - began, cpu_seconds() - cpu_began
            if i:  # the first warms up
                wall[name].append(tokens / seconds)
                cpu[name].append(tokens / cpu_used)
            print(f"{i} {name:13} {tokens / seconds:8.0f} tokens/s {cpu_used:6.2f} CPU s")
    await engine.close()
    for unit, rates in (("second", wall), ("CPU second", cpu)):
        median = {name: statistics.median(values) for name, values in rates.items()}
        ratio = median["submit/inbox"] / median["LLM.generate"]
        print(f"tokens a {unit}: {median}, ratio {ratio:.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="")
    parser.add_argument("--requests", type=int, default=256)
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        model = given.model or str(build_tiny_model(Path(scratch) / "tiny"))
        asyncio.run(compare(model, given.requests, given.max_tokens, given.rounds))
