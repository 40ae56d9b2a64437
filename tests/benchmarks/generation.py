"""Our sampling loop beside one plain `LLM.generate`: `python -m tests.benchmarks.generation`.

The same requests (prompt tokens, seeds, lengths) on vLLM with the same engine arguments. The loop
also verifies every answer, journals it and keeps at most the engine's slots in flight; the plain
call gets all at once. Processes alternate, loop and plain, each with an engine of its own; measured
is generation alone, after 16 requests of warm-up. Tokens are those generated; CPU is that of the
process, its vLLM children and its verifiers.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
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


def through_loop(chosen: argparse.Namespace, sampling: Sampling) -> dict[str, float]:
    """Sample k trials of every problem with budget fixed, and verify them."""
    from scorers.answers import answers

    verifier = None if chosen.no_verifier else answers
    name = f"vllm:{chosen.model}"
    options = {"max_num_seqs": chosen.in_flight}

    def run(problems: Sequence[Problem], k: int, seed: int) -> list[Trial]:
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
        return trials

    problems = make_problems(chosen.prompts)
    run(problems[:WARM_UP], 1, SEED + 1)
    began, cpu = time.perf_counter(), cpu_s()
    trials = run(problems, chosen.k, SEED)
    facts = {"wall": time.perf_counter() - began, "cpu": cpu_s() - cpu}
    close_engines()
    correct = sum(trial.verdict.verdict == "correct" for trial in trials)
    tokens = sum(trial.completion.n_tokens for trial in trials)
    return {**facts, "tokens": tokens, "requests": len(trials), "correct": correct}


def plain(chosen: argparse.Namespace, sampling: Sampling) -> dict[str, float]:
    """Hand the same requests to `LLM.generate` in one call."""
    from pipeline.engines.vllm_offline import _ON_CPU, _parameters, _surroundings

    with _surroundings():
        from vllm import LLM
        from vllm.platforms import current_platform

        options = _ON_CPU if current_platform.is_cpu() else {}
        llm = LLM(chosen.model, disable_log_stats=True, max_num_seqs=chosen.in_flight, **options)
    tokenizer = llm.get_tokenizer()
    context = llm.llm_engine.model_config.max_model_len
    problems = make_problems(chosen.prompts)

    def generate(some: Sequence[Problem], k: int, seed: int) -> int:
        prompts, parameters = [], []
        for trial in range(k):  # breadth first, as the schedule goes
            for row, rendered, prefix in some:
                tokens = encode(tokenizer, rendered.messages, rendered.text, prefix)
                request_seed = trial_seed(seed, row["id"], rendered.digest, trial)
                prompts.append({"prompt_token_ids": list(tokens)})
                parameters.append(_parameters(sampling, request_seed, context - len(tokens)))
        outputs = llm.generate(prompts, parameters, use_tqdm=False)
        return sum(len(output.outputs[0].token_ids) for output in outputs)

    generate(problems[:WARM_UP], 1, SEED + 1)
    began, cpu = time.perf_counter(), cpu_s()
    tokens = generate(problems, chosen.k, SEED)
    facts = {"wall": time.perf_counter() - began, "cpu": cpu_s() - cpu}
    return {**facts, "tokens": tokens, "requests": chosen.prompts * chosen.k, "correct": -1}


def measure(side: str, arguments: list[str]) -> dict[str, float]:
    """Run one side in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.generation", *arguments, "--side", side]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return json.loads(done.stdout.splitlines()[-1])


def compare(pairs: int, arguments: list[str]) -> None:
    """Alternate the two sides and print each pair and the medians."""
    print(
        "| pair | side | requests | tokens | wall, s | tokens/s | CPU, s | tokens a CPU s | load |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    by_wall, by_cpu = [], []
    for pair in range(pairs):
        rates = {}
        for side in ("loop", "plain") if pair % 2 == 0 else ("plain", "loop"):
            got = measure(side, arguments)
            rates[side] = got["tokens"] / got["wall"], got["tokens"] / got["cpu"]
            print(
                f"| {pair + 1} | {side} | {got['requests']} | {got['tokens']} | {got['wall']:.1f} | "
                f"{rates[side][0]:.0f} | {got['cpu']:.1f} | {rates[side][1]:.0f} | "
                f"{os.getloadavg()[0]:.1f} |",
                flush=True,
            )
        by_wall.append(rates["loop"][0] / rates["plain"][0])
        by_cpu.append(rates["loop"][1] / rates["plain"][1])
    print(f"\nLoop / plain, tokens a second: median {statistics.median(by_wall):.3f} of", end=" ")
    print(", ".join(f"{ratio:.3f}" for ratio in by_wall))
    print(f"Loop / plain, tokens a CPU second: median {statistics.median(by_cpu):.3f} of", end=" ")
    print(", ".join(f"{ratio:.3f}" for ratio in by_cpu))


def main() -> None:
    """Compare, or be one of the two sides."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="data/nano")
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("--k", type=int, default=8)
    parser.add_argument("--in-flight", type=int, default=128)
    parser.add_argument("--max-tokens", type=int, default=160)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--no-verifier", action="store_true")
    parser.add_argument("--side", choices=["loop", "plain"])
    chosen = parser.parse_args()
    if chosen.side is None:
        compare(chosen.pairs, sys.argv[1:])
        return
    sampling = Sampling(1.0, 0.95, max_tokens=chosen.max_tokens)
    side = through_loop if chosen.side == "loop" else plain
    print(json.dumps(side(chosen, sampling)))


if __name__ == "__main__":
    main()
