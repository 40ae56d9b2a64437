"""What the recipes of features, feedback and repair ask of a model, with the world's oracles."""

import random
from collections.abc import Callable

from flows.code.epicoder import COMPOSE, EVOLVE, EXTRACT, REPAIR, SOLVE
from flows.code.leti import GOOD, TASK
from flows.code.morepair import EXPLAIN
from pipeline.nano_features import extended_tree, named_features, task_of_features
from pipeline.nano_model import Example
from pipeline.nano_repair import (
    Asked,
    broken_task,
    explained_repair,
    plain_program,
    program_with_tests,
)
from pipeline.prompts import render

Draw = Callable[[random.Random], Example]


def _over(template: str, oracle: Callable[[random.Random], Asked]) -> Draw:
    """Make examples of a recipe's template and an oracle of the world."""

    def draw(rng: random.Random) -> Example:
        row, reply = oracle(rng)
        messages = render(template, row).messages
        return [{"role": role, "content": content} for role, content in messages], reply

    return draw


# Name, weight among the examples, how one is drawn.
REPAIR_STAGES: tuple[tuple[str, float, Draw], ...] = (
    ("leti_task", 0.02, _over(TASK, plain_program)),
    ("leti_good", 0.02, _over(GOOD + TASK, plain_program)),
    ("epicoder_extract", 0.02, _over(EXTRACT, named_features)),
    ("epicoder_evolve", 0.02, _over(EVOLVE, extended_tree)),
    ("epicoder_compose", 0.04, _over(COMPOSE, task_of_features)),
    ("epicoder_solve", 0.05, _over(SOLVE, program_with_tests)),
    ("epicoder_repair", 0.05, _over(REPAIR, broken_task)),
    ("morepair_explain", 0.04, _over(EXPLAIN, explained_repair)),
)
