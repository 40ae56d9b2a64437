"""Meta Ranking: a weak model judges a reply by comparing it with known replies to other prompts.

Liu et al., "Enabling Weak LLMs to Judge Response Reliability via Meta Ranking", arXiv 2402.12146.
Each row is set against a few references whose reliability is known, both ways round; the outcomes
are votes, and a row whose votes sum to more than `threshold` is reliable.

Departures: this is our reconstruction; neither the paper's text nor its code was at hand (see
`scorers.meta_ranking` for the votes). The judge does not write: the likeliest of A, B and TIE as
the first token of its reply counts, which no tiny judge can fail to parse. References never share
a row's prompt, and there are as many reliable as unreliable ones, so that a judge that always says
A cancels out. A comparison too long for the judge leaves the row unjudged, not unreliable.

In:  a pool; references with a true/false column (`label`), from a file or the pool's own rows.
Out: the reliable rows, best first; `choices` has every score and the share of contrary answers.

Ran on: built-in world, nano model
"""

import json
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.choices import choices, load_pool, select, to_rows
from pipeline.errors import UserError
from pipeline.schema import Sifted
from pipeline.selection.eligibility import chances
from pipeline.shards import Shards
from pipeline.steps import recipe, step
from scorers.labels import label_logits
from scorers.meta_ranking import merge_orders, vote

COMPARE = """\
Two requests, each with a reply. They differ, so judge each reply by its own request only: is it
correct and complete? Length, style and order do not matter. Which reply is more reliable? Say A, B
or TIE.

A. Request: {a_prompt}
A. Reply: {a_reply}

B. Request: {b_prompt}
B. Reply: {b_reply}"""

_LABELS = ("A", "B", "TIE")


@step(whole=("references",))
def compare(
    rows: pa.Table, references: pa.Table, *, judge: str, weak: float, tie: float
) -> pa.Table:
    """Return id, the sum of votes (null: not judged) and the share of contrary comparisons."""
    held = references.to_pylist()
    pairs = [
        (i, ref)
        for i, row in enumerate(rows.to_pylist())
        for ref in held
        if _asked(ref) != _asked(row)
    ]
    own = rows.to_pylist()
    orders = [(own[i], ref) for i, ref in pairs], [(ref, own[i]) for i, ref in pairs]
    said = [_replies(judge, order) for order in orders]
    table: dict[int, list[tuple[float, bool, bool]]] = {}
    for (i, ref), forward, backward in zip(pairs, *said, strict=True):
        judged = forward is not None and backward is not None
        outcome = merge_orders(forward, backward) if judged else np.nan
        contrary = judged and forward == backward and forward != "TIE"
        table.setdefault(i, []).append((outcome, ref["reliable"], contrary))
    scores, contraries = [], []
    for i in range(len(own)):
        outcomes, reliable, contrary = zip(*table.get(i, [(np.nan, True, False)]), strict=True)
        scores.append(float(vote(outcomes, reliable, weak=weak, tie=tie).sum()))
        contraries.append(float(np.mean(contrary)))
    votes = pa.array(scores, pa.float64(), from_pandas=True)
    return pa.table({"id": rows["id"], "votes": votes, "contrary": pa.array(contraries)})


def _asked(row: dict[str, Any]) -> list[dict[str, str]]:
    turns: list[dict[str, str]] = row["messages"][:-1]
    return turns


def _replies(judge: str, pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> list[Any]:
    texts = []
    for pair in pairs:
        said = {}
        for side, row in zip("ab", pair, strict=True):
            said[f"{side}_prompt"] = "\n".join(turn["content"] for turn in _asked(row))
            said[f"{side}_reply"] = row["messages"][-1]["content"]
        texts.append([{"role": "user", "content": COMPARE.format(**said)}])
    logits = label_logits(judge, texts, _LABELS)
    return [_LABELS[int(line.argmax())] if np.isfinite(line).all() else None for line in logits]


@step(scope="dataset")
def draw_references(rows: pa.Table, *, label: str, count: int, judge: str, seed: int) -> Sifted:
    """Draw as many reliable as unreliable rows; UserError if there are too few of either.

    A row that the judge cannot read twice at once is passed over: it would leave no place for what
    it is compared with.
    """
    flags = [json.loads(meta).get(label) for meta in rows["meta"].to_pylist()]
    luck = chances(rows["id"].to_pylist(), len(rows), seed)
    order = np.argsort(luck, kind="stable").tolist()
    sides = [
        _short(rows, [i for i in order if flags[i] is side], max(1, -(-count // 2)), judge)
        for side in (True, False)
    ]
    if min(map(len, sides)) < (least := max(1, count // 2)):
        raise UserError(
            f"column '{label}' is true on {len(sides[0])} and false on {len(sides[1])} references "
            f"that fit '{judge}'; give {least} or more of each (label=NAME names the column)"
        )
    chosen = [*sides[0], *sides[1]]
    drawn = rows.take(chosen).append_column("reliable", pa.array([flags[i] for i in chosen]))
    return Sifted(drawn, {"not_drawn": len(rows) - len(drawn)})


def _short(rows: pa.Table, among: list[int], most: int, judge: str) -> list[int]:
    """Return the first rows that the judge can compare with themselves."""
    found: list[int] = []
    for i in among:
        if len(found) == most:
            break
        (row,) = rows.slice(i, 1).to_pylist()
        found += [i] if _replies(judge, [(row, row)]) != [None] else []
    return found


@step(scope="dataset")
def choose_reliable(judged: pa.Table, *, threshold: float, share: float) -> Sifted:
    """Keep the rows above the threshold (or the best share of those judged)."""
    ids, votes = judged["id"].to_pylist(), judged["votes"].to_numpy()
    order = np.lexsort((np.array(ids), -votes))
    order = order[np.isfinite(votes[order])]
    kept = order[: int(share * len(order))] if share else order[votes[order] > threshold]
    reasons = {"not_judged": ~np.isfinite(votes), "unreliable": np.ones(len(ids), bool)}
    return choices(ids, kept, scores=votes, reasons=reasons, contrary=judged["contrary"].to_numpy())


@recipe(paper="arXiv:2402.12146", output="sft")
def meta_ranking(
    pool: str = "nano_world",
    references: str = "",
    columns: dict[str, str] | None = None,
    subset: str = "",
    split: str = "train",
    limit: int = 0,
    label: str = "sound",
    count: int = 4,
    judge: str = "data/nano",
    threshold: float = 0.0,
    share: float = 0.0,
    weak: float = 0.5,
    tie: float = 0.5,
    seed: int = 0,
) -> Shards:
    """Keep the rows that beat references of known reliability.

    references: a file of rows with a true/false column `label` ("": draw them from the pool's own
    rows). count: references a row. share: keep the best share instead of those above threshold.
    """
    rows = load_pool(pool, columns, subset, split, limit, seed)
    known = load_pool(references, columns, into="known") if references else rows
    how = {"label": label, "count": count, "judge": judge, "seed": seed}
    held = draw_references(known, **how, into="references")
    judged = compare(rows, held, judge=judge, weak=weak, tie=tie)
    found = choose_reliable(judged, threshold=threshold, share=share, into="choices")
    picked: Shards = to_rows(select(rows, found), recipe="meta_ranking")
    return picked
