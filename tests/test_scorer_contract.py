"""Contract 9: what holds for everything that scores a row, whatever it looks at.

As many answers as rows, a number or NaN (a verdict for verifiers), input unchanged, a row's answer
the same alone and in a batch, an empty table is no error, and gold gets the best there is.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest

import scorers
from pipeline.nano_world import code_tasks, word_problems
from pipeline.schema import WORDS, Case
from scorers.answers import answers
from scorers.digits import evol, evol_score, expected_digit
from scorers.embeddings import text_encoder
from scorers.gradients import adam_step, project
from scorers.hidden_states import hidden_encoder
from scorers.likelihood import Losses, color, confidence, ifd, mean_loss, within_ifd
from scorers.programs import programs
from scorers.row_gradients import gradient_encoder
from scorers.token_losses import loss_encoder, losses_of
from scorers.warm_up import Lora, warm_up
from tests.test_hidden_states import NANO, conversations

Score = Callable[[pa.Table], np.ndarray]


class Graded(NamedTuple):
    """A verifier, and cases of which the first `gold` hold the right answer and the rest do not."""

    verify: Callable[[list[Case]], list[Any]]
    cases: list[Case]
    gold: int


def solved_problems() -> list[Case]:
    """Word problems with their own answer, boxed; then two with another, and one with none."""
    rows = word_problems(5, seed=1).to_pylist()
    right = [Case(row, rf"So \boxed{{{row['answer']}}}.") for row in rows]
    return [*right, Case(rows[0], r"\boxed{123456}"), Case(rows[1], "-1/7"), Case(rows[2], "")]


def written_programs() -> list[Case]:
    """Code tasks with their own solution; then a wrong one, and a text."""
    rows = code_tasks(3, seed=1).to_pylist()
    right = [Case(row, f"```python\n{row['solution']}\n```") for row in rows]
    name = rows[0]["entry_point"]
    wrong = Case(rows[0], f"```python\ndef {name}(*given):\n    return None\n```")
    return [*right, wrong, Case(rows[1], "I cannot.")]


VERIFIERS = {
    "answers": Graded(answers, solved_problems(), 5),
    "programs": Graded(programs, written_programs(), 3),
}


def marked(takes: Any) -> set[str]:
    """The functions of `scorers` that say what they need and take such an argument."""
    found = set()
    for module in pkgutil.iter_modules(scorers.__path__, "scorers."):
        for name, value in vars(importlib.import_module(module.name)).items():
            says = callable(value) and isinstance(getattr(value, "needs", None), tuple)
            if says and takes in value.__annotations__.values():
                found.add(name)
    return found


def test_every_scorer_is_in_the_suite() -> None:
    """A function of `scorers` that is marked and takes cases or rows has some here."""
    assert marked(Sequence[Case]) == set(VERIFIERS)
    assert marked(pa.Table) == {"evol"} <= set(SCORES)


@pytest.mark.parametrize("graded", VERIFIERS.values(), ids=VERIFIERS)
def test_verifiers_keep_the_contract(graded: Graded) -> None:
    """One verdict a case, none for none, cases unchanged, alone as in a batch, gold is correct."""
    verify, cases, gold = graded
    before = deepcopy(cases)
    together = verify(cases)
    assert cases == before and verify([]) == []
    assert len(together) == len(cases) and {one.verdict for one in together} <= set(WORDS)
    assert [one for case in cases for one in verify([case])] == together
    words = [one.verdict for one in together]
    assert words[:gold] == ["correct"] * gold and "correct" not in words[gold:]


def losses(rows: pa.Table, part: str = "reply") -> Losses:
    """Token losses under the nano model."""
    return losses_of(loss_encoder(NANO, part=part).encode(rows))  # type: ignore[arg-type]


def lists(rows: pa.Table, shift: float = 0.0) -> np.ndarray:
    """Six numbers a row, made of its reply: stand-ins for logits and gradients."""
    texts = [chat[-1]["content"] if chat else "" for chat in rows["messages"].to_pylist()]
    made = [[len(text) * (place + 1) % 7 + shift for place in range(6)] for text in texts]
    return np.array(made, dtype=np.float64).reshape(-1, 6)


RATERS = {
    "complexity": NANO,
    "quality": NANO,
    "ask_complexity": "Rate the request: {{ prompt }}",
    "ask_quality": "Rate the reply to {{ prompt }}: {{ reply }}",
}
SCORES: dict[str, Score] = {
    "perplexity": lambda rows: np.exp(mean_loss(losses(rows))),
    "ifd": lambda rows: ifd(losses(rows), losses(rows, "reply_after_header")),
    "superfiltering": lambda rows: within_ifd(
        ifd(losses(rows), losses(rows, "reply_alone"), ratio="perplexity"), "superfiltering"
    ),
    "ic_ifd": lambda rows: ifd(
        losses(rows), losses(rows, "reply_alone"), losses(rows, "prompt_alone")
    ),
    "color": lambda rows: color(losses(rows, "reply_alone"), losses(rows)),
    "confidence": lambda rows: confidence([losses(rows), losses(rows, "replies")]),
    "expected_digit": lambda rows: expected_digit(lists(rows)),
    "evol": lambda rows: evol(rows, **RATERS).to_numpy(zero_copy_only=False),
    "evol_score": lambda rows: evol_score(lists(rows).tolist(), lists(rows, 1).tolist()),
    "text_encoder": lambda rows: text_encoder(NANO).encode(rows),
    "hidden_encoder": lambda rows: hidden_encoder(NANO).encode(rows),
    "loss_encoder": lambda rows: loss_encoder(NANO).encode(rows),
    "adam_step": lambda rows: adam_step(lists(rows), np.ones(6), np.ones(6)),
    "project": lambda rows: project(lists(rows), 16),
}


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    """Conversations, among them a prompt without a reply and an empty one."""
    chats = conversations(5)["messages"].to_pylist()
    return pa.table({"messages": [*chats[:3], chats[3][:1], [], chats[4]]})


@pytest.fixture(scope="module")
def less(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Score]]:
    """Gradients of both sides at a real checkpoint."""
    small = Lora(rank=2, alpha=4, epochs=1, batch=2, learning_rate=1e-3)
    folder = tmp_path_factory.mktemp("less")
    (checkpoint,) = warm_up(conversations(4), NANO, folder, lora=small)
    yield {
        side: gradient_encoder(checkpoint, side=side, width=256, dtype="float32").encode
        for side in ("pool", "queries")
    }


@pytest.mark.parametrize("name", [*SCORES, "pool", "queries"])
def test_scores_keep_the_contract(name: str, rows: pa.Table, less: dict[str, Score]) -> None:
    """As long as the table, float or NaN, table unchanged, alone as in a batch, empty works."""
    score = SCORES.get(name) or less[name]
    before = deepcopy(rows.to_pylist())
    together = score(rows)
    assert rows.to_pylist() == before
    assert together.dtype.kind == "f" and len(together) == len(rows)
    assert len(score(rows.slice(0, 0))) == 0
    alone = np.concatenate([score(rows.slice(i, 1)) for i in range(len(rows))])
    assert alone == pytest.approx(together, rel=2e-3, abs=2e-4, nan_ok=True)
    turned = score(rows.take(list(range(len(rows)))[::-1]))[::-1]
    assert turned == pytest.approx(together, rel=2e-3, abs=2e-4, nan_ok=True)
    assert np.isfinite(together[0]).all()


def test_gold_of_the_scores(rows: pa.Table) -> None:
    """Where a score has a mark for perfect it is met: no help from a prompt is IFD 1, a sure digit
    is that digit, a model against itself is CoLoR 0, a row beside its copy has cosine 1.
    """
    own = losses(rows, "reply_alone")
    judged = np.isfinite(mean_loss(own))
    for ratio in ("loss", "perplexity"):
        assert ifd(own, own, ratio=ratio)[judged] == pytest.approx(np.ones(judged.sum()))
    assert color(own, own)[judged] == pytest.approx(np.zeros(judged.sum()))
    assert expected_digit(np.where(np.eye(6) > 0, 0.0, -1e9)) == pytest.approx([1, 2, 3, 4, 5, 6])
    unit = text_encoder(NANO).encode(rows.take([0, 0]))
    assert unit[0] @ unit[1] == pytest.approx(1, abs=1e-5)
