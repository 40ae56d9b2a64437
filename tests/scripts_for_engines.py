"""Scripted models for tests of control flow: what they answer depends on the request alone."""

import os
import random
import re
from pathlib import Path

from pipeline.engines import Completion, Request

_SUM = re.compile(r"What is (\d+) \+ (\d+)\?")


def adds(request: Request) -> str:
    """Add two numbers, rightly with probability 1 - (first number mod 10) / 10."""
    text = request.messages[-1][1] if request.messages else request.text
    found = _SUM.search(text)
    assert found is not None, text
    a, b = int(found[1]), int(found[2])
    draw = random.Random(request.seed)
    answer = a + b + (draw.random() < (a % 10) / 10)
    return f"{a} and {b}, way {draw.randrange(1000)}: \\boxed{{{answer}}}"


def adds_and_notes(request: Request) -> str:
    """Add as `adds` does; write the request's id to the file that TAMIS_ASKED names."""
    with Path(os.environ["TAMIS_ASKED"]).open("a") as file:
        file.write(request.rollout_id + "\n")
    return adds(request)


def fails_first(request: Request) -> Completion | str:
    """Fail each request's first two attempts, as a flaky server would."""
    tries = _tried.setdefault(request.rollout_id, [])
    tries.append(1)
    if len(tries) < 3:
        return Completion(request.rollout_id, "", "error", error="flaky")
    return adds(request)


def always_fails(request: Request) -> Completion:
    """Never answer."""
    return Completion(request.rollout_id, "", "error", error="out of order")


def too_long(request: Request) -> Completion | str:
    """Refuse for good every prompt whose first number is 3, answer the others."""
    if "What is 3 +" in request.messages[-1][1]:
        return Completion(request.rollout_id, "", "error", error="too long", retry=False)
    return adds(request)


def truncates(request: Request) -> Completion:
    """Give the right answer, cut off by length."""
    text = adds(request)
    return Completion(request.rollout_id, text, "length", n_tokens=5)


_tried: dict[str, list[int]] = {}
