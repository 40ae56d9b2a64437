"""Train the built-in nano model on the prompts that recipes send, with the oracle's replies.

    python -m flows.synthesis.train_nano --out data/nano --tokens 12000000

A stage is one thing that a recipe asks of a model. A recipe that asks something new adds an entry
to `STAGES`: a name, a share (they are relative), and a function that draws one example. `--stop-at
0.1` and `--stop-at 0.4` rebuild the early and the middle checkpoint: the same run, cut short. A
killed run goes on with the same command; its state lies in `--state`, outside the model's folder.
"""

import argparse
import json
import logging
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from flows.rejection.dart_math import SOLVE
from flows.synthesis.code_stages import CODE_STAGES
from flows.synthesis.repair_stages import REPAIR_STAGES
from pipeline.nano_model import Example, Run, build_model, build_tokenizer, load, save, train
from pipeline.nano_world import LEVELS, code_tasks, word_problems, worked_answer
from pipeline.prompts import WRITE_PROGRAM, WRITE_TESTS, render

PRACTISE = "Practise sums, one a line."
CHUNK = 2048  # examples

# The share of each level among the solved problems: most where practice pays, least at the top.
LEVEL_WEIGHTS = (10, 14, 16, 12, 18, 16, 10, 4)


class Stage(NamedTuple):
    """One thing that a recipe asks of a model, with an oracle that answers it."""

    name: str
    share: float
    draw: Callable[[random.Random], Example]


def solve(rng: random.Random) -> Example:
    """Solve a word problem: the DART-Math prompt, the worked answer."""
    row = _problem(rng)
    return ask(SOLVE, row), worked_answer(row)


def write_program(rng: random.Random) -> Example:
    """Write the function that a code task asks for."""
    [row] = code_tasks(1, seed=rng.getrandbits(48)).to_pylist()
    return ask(WRITE_PROGRAM, row), f"```python\n{row['solution']}\n```"


def write_tests(rng: random.Random) -> Example:
    """Write three assertions for a code task without writing the function."""
    [row] = code_tasks(1, seed=rng.getrandbits(48)).to_pylist()
    return ask(WRITE_TESTS, row), "```python\n{}\n```".format("\n".join(row["tests"][:3]))


def practise(rng: random.Random) -> Example:
    """Do sums without their stories: steps of train problems and one-digit facts, shuffled.

    A story costs eighty tokens for one or two sums; a sheet of sums teaches arithmetic faster.
    """
    lines = [_fact(rng) for _ in range(rng.randint(2, 6))]
    for _ in range(rng.randint(1, 6)):
        lines += json.loads(_problem(rng)["meta"])["steps"]
    rng.shuffle(lines)
    return [{"role": "user", "content": PRACTISE}], "\n".join(lines)


STAGES: tuple[Stage, ...] = (
    Stage("solve", 0.52, solve),
    Stage("program", 0.16, write_program),
    Stage("tests", 0.08, write_tests),
    Stage("practise", 0.24, practise),
    *(Stage(*stage) for stage in CODE_STAGES),
    *(Stage(*stage) for stage in REPAIR_STAGES),
)


def ask(template: str, row: dict[str, Any]) -> list[dict[str, str]]:
    """Render a recipe's prompt over a row of the world."""
    return [{"role": role, "content": text} for role, text in render(template, row).messages]


def draw_chunk(index: int, seed: int, size: int = CHUNK) -> list[Example]:
    """Draw the index-th examples of the endless corpus."""
    rng = random.Random(f"train_nano/{seed}/{index}")
    stages = rng.choices(STAGES, [stage.share for stage in STAGES], k=size)
    return [stage.draw(rng) for stage in stages]


def main() -> None:
    """Train, and write the model's folder."""
    args = _arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    peak = 0.3 if args.start else 1.0  # at the full rate a finished model forgets first
    chunks = partial(draw_chunk, seed=args.seed)
    run = Run(chunks, args.tokens, args.stop_at, args.seed, peak=peak)
    if args.start:
        model, tokenizer = load(args.start)
    else:
        tokenizer = build_tokenizer([example for i in range(6) for example in run.examples(i)])
        model = build_model(tokenizer, args.seed)
    seen = train(model, tokenizer, run, args.state)
    save(model, tokenizer, args.out)
    logging.getLogger(__name__).info("wrote %s after %d tokens", args.out, seen)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train the built-in nano model.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="a saved model to train on; else from nothing")
    parser.add_argument("--tokens", type=int, default=12_000_000, help="length of the schedule")
    parser.add_argument("--stop-at", type=float, default=1.0, help="fraction of the schedule")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--state", type=Path, default=Path("runs/train_nano/state.pt"))
    return parser.parse_args()


def _problem(rng: random.Random) -> dict[str, Any]:
    level = rng.choices(LEVELS, LEVEL_WEIGHTS)[0]
    [row] = word_problems(1, seed=rng.getrandbits(48), levels=[level]).to_pylist()
    return dict(row)


def _fact(rng: random.Random) -> str:
    a, b = rng.randint(2, 9), rng.randint(2, 9)
    sums = (f"{a} + {b} = {a + b}", f"{a + b} - {b} = {a}")
    tables = (f"{a} * {b} = {a * b}", f"{a * b} / {b} = {a}")
    return rng.choice(sums + tables)


if __name__ == "__main__":
    main()
