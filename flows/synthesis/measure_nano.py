"""Measure the nano model on problems it has not seen: pass rate a level, programs, assertions.

    python -m flows.synthesis.measure_nano --model data/nano --temperature 0.7

Solutions count as right when the last boxed answer is the reference, as text. Nothing that the
model wrote is run here: programs count when they equal the reference solution (a lower bound), and
the calls of assertions are read as literals and answered by that solution.
"""

import argparse
import ast
import json
import logging
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from flows.rejection.dart_math import SOLVE
from flows.synthesis.train_nano import ask
from pipeline.nano_world import LEVELS, code_tasks, word_problems
from pipeline.prompts import WRITE_PROGRAM, WRITE_TESTS

logger = logging.getLogger(__name__)

Row = dict[str, Any]
BATCH = 128  # completions
MAX_TOKENS = 200


def main() -> None:
    """Print one JSON object: split, temperature, pass rate of each level, program, assertions."""
    args = _arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    reply = open_model(args.model, args.temperature, args.seed)
    levels = {}
    for level in LEVELS:
        rows = word_problems(args.problems, seed=args.seed, levels=[level], split=args.split)
        levels[level] = _mean(_judge(SOLVE, rows.to_pylist(), args.samples, reply, solved))
        logger.info("level %d: %.3f", level, levels[level])
    tasks = code_tasks(args.problems, seed=args.seed, split=args.split).to_pylist()
    found: dict[str, Any] = {"split": args.split, "temperature": args.temperature}
    found["levels"] = levels
    found["program"] = _mean(_judge(WRITE_PROGRAM, tasks, args.samples, reply, written))
    found["assertions"] = _mean(_judge(WRITE_TESTS, tasks, args.samples, reply, asserted))
    sys.stdout.write(json.dumps(found) + "\n")


def solved(row: Row, completion: str) -> list[bool]:
    """Compare the last boxed answer with the reference, percent sign and fraction unescaped."""
    boxes = re.findall(r"\\boxed\{((?:[^{}]|\{[^{}]*\})*)\}", completion)
    last = re.sub(r"\\frac\{(\d+)\}\{(\d+)\}", r"\1/\2", boxes[-1]) if boxes else ""
    return [last.replace("\\%", "%") == row["answer"]]


def written(row: Row, completion: str) -> list[bool]:
    """Say whether the fenced program is the reference solution, letter for letter."""
    return [_fenced(completion) == row["solution"]]


def asserted(row: Row, completion: str) -> list[bool]:
    """Judge each assertion by the world's solution; one that cannot be read is wrong."""
    space: dict[str, Any] = {}
    exec(row["solution"], space)  # the world's own program
    lines = _fenced(completion).splitlines() or [""]
    return [_holds(line, row["entry_point"], space[row["entry_point"]]) for line in lines]


def open_model(
    folder: Path, temperature: float, seed: int
) -> Callable[[list[list[dict[str, str]]]], list[str]]:
    """Open the model with transformers; temperature 0 is greedy."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    how = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    how = how if temperature else {"do_sample": False}

    def reply(conversations: list[list[dict[str, str]]]) -> list[str]:
        texts = tokenizer.apply_chat_template(
            conversations, tokenize=False, add_generation_prompt=True
        )
        batch = tokenizer(texts, return_tensors="pt", padding=True, return_token_type_ids=False)
        out = model.generate(**batch, **how, max_new_tokens=MAX_TOKENS)
        replies: list[str] = tokenizer.batch_decode(
            out[:, batch.input_ids.shape[1] :], skip_special_tokens=True
        )
        return replies

    return reply


def _holds(line: str, name: str, solution: Callable[..., Any]) -> bool:
    match = re.fullmatch(r"assert (\w+)(\(.*\)) == (.+)", line)
    if match is None or match[1] != name:
        return False
    try:
        inside = match[2][1:-1]
        call, expected = ast.literal_eval(f"({inside},)"), ast.literal_eval(match[3])
        return bool(solution(*call) == expected)
    except Exception:
        return False


def _fenced(completion: str) -> str:
    match = re.search(r"```python\n(.*?)\n```", completion, re.DOTALL)
    return match[1] if match else ""


def _judge(
    template: str,
    rows: Sequence[Row],
    samples: int,
    reply: Callable[[list[list[dict[str, str]]]], list[str]],
    judge: Callable[[Row, str], list[bool]],
) -> Iterator[bool]:
    trials = [row for row in rows for _ in range(samples)]
    for start in range(0, len(trials), BATCH):
        batch = trials[start : start + BATCH]
        for row, completion in zip(batch, reply([ask(template, r) for r in batch]), strict=True):
            yield from judge(row, completion)


def _mean(passes: Iterator[bool]) -> float:
    values = list(passes)
    return round(sum(values) / len(values), 3)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure the nano model on held-out problems.")
    parser.add_argument("--model", type=Path, default=Path("data/nano"))
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--split", choices=("train", "test"), default="test")
    parser.add_argument("--problems", type=int, default=56, help="a level")
    parser.add_argument("--samples", type=int, default=8, help="a problem")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
