"""Our sampling loop beside one plain `LLM.generate`: `python -m tests.benchmarks.generation`.

The same requests (prompt tokens, seeds, lengths) on vLLM with the same engine arguments. The loop
also verifies every answer, journals it and keeps at most the engine's slots in flight; the plain
call gets all at once. Two processes, each with an engine of its own, take turns (the other waits);
measured is generation alone, after 16 requests of warm-up, which side goes first alternating.
Tokens are those generated; CPU is that of the process, its vLLM children and its verifiers.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from flows.rejection.dart_math import SOLVE
from pipeline.budgets import Budget
from pipeline.engines import Engine, Sampling
from pipeline.engines.checkpoint import encode
from pipeline.engines.host import close_engines, on_engine
from pipeline.journal import Journal
from pipeline.nano_world import word_problems
from pipeline.prompts import render
from pipeline.sampling import Problem, Trial, sample
from pipeline.schedule import Schedule
from pipeline.schema import trial_seed

ROOT = Path(__file__).resolve().parents[2]
SEED = 0
WARM_UP = 16
Side = Callable[[Sequence[Problem], int, int], tuple[int, int]]  # requests, tokens


def make_problems(prompts: int) -> list[Problem]:
    """The first so many problems of the built-in world, as dart_math asks them."""
    rows = word_problems(prompts, seed=SEED).to_pylist()
    return [Problem(row, render(SOLVE, row)) for row in rows]


def cpu_s() -> float:
    """User and system seconds of this process and everything below it that lives."""
    parents, used = {}, {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            fields = (place / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(place.name)] = int(fields[1])
        used[int(place.name)] = sum(map(int, fields[11:15]))
    family = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return sum(used.get(pid, 0) for pid in family) / os.sysconf("SC_CLK_TCK")


def through_loop(chosen: argparse.Namespace, sampling: Sampling) -> Side:
    """Return what samples k trials of problems with budget fixed, and verifies them."""
    from scorers.answers import answers

    verifier = None if chosen.no_verifier else answers
    name = f"vllm:{chosen.model}"
    options = {"max_num_seqs": chosen.in_flight}

    def run(problems: Sequence[Problem], k: int, seed: int) -> tuple[int, int]:
        with tempfile.TemporaryDirectory() as folder:
            journal = Journal.open(Path(folder) / "journal.jsonl")

            async def work(engine: Engine) -> list[Trial]:
                return await sample(
                    problems,
                    Schedule(Budget("fixed", k, k), [None] * len(problems)),
                    engine,
                    verifier,
                    sampling=sampling,
                    seed=seed,
                    journal=journal,
                    known={},
                    note=lambda *_: None,
                )

            trials = on_engine(name, work, **options)
            journal.close()
        return len(trials), sum(trial.completion.n_tokens for trial in trials)

    return run


def plain(chosen: argparse.Namespace, sampling: Sampling) -> Side:
    """Return what hands the same requests to `LLM.generate` in one call."""
    from pipeline.engines.vllm_offline import _ON_CPU, _parameters, _surroundings

    with _surroundings(tempfile.gettempdir()):
        from vllm import LLM
        from vllm.platforms import current_platform

        options = _ON_CPU if current_platform.is_cpu() else {}
        llm = LLM(chosen.model, disable_log_stats=True, max_num_seqs=chosen.in_flight, **options)
    tokenizer = llm.get_tokenizer()
    context = llm.llm_engine.model_config.max_model_len

    def generate(some: Sequence[Problem], k: int, seed: int) -> tuple[int, int]:
        prompts, parameters = [], []
        for trial in range(k):  # breadth first, as the schedule goes
            for row, rendered, prefix in some:
                tokens = encode(tokenizer, rendered.messages, rendered.text, prefix)
                request_seed = trial_seed(seed, row["id"], rendered.digest, trial)
                prompts.append({"prompt_token_ids": list(tokens)})
                parameters.append(_parameters(sampling, request_seed, context - len(tokens)))
        outputs = llm.generate(prompts, parameters, use_tqdm=False)
        return len(outputs), sum(len(output.outputs[0].token_ids) for output in outputs)

    return generate


def serve(side: Side, chosen: argparse.Namespace) -> None:
    """Warm up, then generate once for each line of standard input, a seed; print what it took."""
    problems = make_problems(chosen.prompts)
    side(problems[:WARM_UP], 1, 999)
    print("ready", flush=True)
    for line in sys.stdin:
        began, cpu = time.perf_counter(), cpu_s()
        requests, tokens = side(problems, chosen.k, int(line))
        facts = {"wall": time.perf_counter() - began, "cpu": cpu_s() - cpu}
        print(json.dumps({**facts, "requests": requests, "tokens": tokens}), flush=True)


def begin(side: str, arguments: list[str]) -> "subprocess.Popen[str]":
    """Start one side and wait until its engine is warm."""
    command = [sys.executable, "-m", "tests.benchmarks.generation", *arguments, "--side", side]
    pipe = subprocess.PIPE
    child = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
    while (line := child.stdout.readline()) != "ready\n":
        if not line:
            sys.exit(f"the side '{side}' ended with {child.wait()}")
    return child


def ask(child: "subprocess.Popen[str]", seed: int) -> dict[str, float]:
    """Have one side generate."""
    child.stdin.write(f"{seed}\n")
    child.stdin.flush()
    return json.loads(child.stdout.readline())


def compare(pairs: int, arguments: list[str]) -> None:
    """Alternate the two sides and print each pair and the medians."""
    print(
        "| pair | side | requests | tokens | wall, s | tokens/s | CPU, s | tokens a CPU s | load |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    children = {side: begin(side, arguments) for side in ("loop", "plain")}
    ratios: dict[str, list[float]] = {"wall": [], "cpu": []}
    for pair in range(pairs):
        order = ("loop", "plain") if pair % 2 == 0 else ("plain", "loop")
        took = {side: ask(children[side], pair) for side in order}
        for side in order:
            print(row(pair + 1, side, took[side]), flush=True)
        for clock, found in ratios.items():
            rates = {side: facts["tokens"] / facts[clock] for side, facts in took.items()}
            found.append(rates["loop"] / rates["plain"])
    for child in children.values():
        child.stdin.close()
        child.wait()
    for clock, found in ratios.items():
        each = ", ".join(f"{ratio:.3f}" for ratio in found)
        median = statistics.median(found)
        print(f"Loop / plain, tokens a {clock} second: median {median:.3f} of {each}")


def row(pair: int, side: str, took: dict[str, float]) -> str:
    """One line of the table."""
    tokens, wall, cpu = took["tokens"], took["wall"], took["cpu"]
    return (
        f"| {pair} | {side} | {took['requests']} | {tokens} | {wall:.1f} | {tokens / wall:.0f} | "
        f"{cpu:.1f} | {tokens / cpu:.0f} | {os.getloadavg()[0]:.1f} |"
    )


def main() -> None:
    """Compare, or be one of the two sides."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="data/nano")
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("--k", type=int, default=8)
    parser.add_argument("--in-flight", type=int, default=128)
    parser.add_argument("--max-tokens", type=int, default=160)
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--no-verifier", action="store_true")
    parser.add_argument("--side", choices=["loop", "plain"])
    chosen = parser.parse_args()
    if chosen.side is None:
        compare(chosen.pairs, sys.argv[1:])
        return
    sampling = Sampling(1.0, 0.95, max_tokens=chosen.max_tokens)
    make = through_loop if chosen.side == "loop" else plain
    serve(make(chosen, sampling), chosen)
    close_engines()


if __name__ == "__main__":
    main()
