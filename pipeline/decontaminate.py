"""Keep benchmark items out of training rows, by rules that publications define differently.

    tulu3          a shared run of 8 tokens covers its tokens; more than half of the item's tokens
                   are covered, in the row's user turns (Tulu 3, arXiv 2411.15124, section 3.2)
    any_13gram     any shared run of 13 words (GPT-3 style, lm-evaluation-harness)
    qwen_math      a shared run of 13, and the longest common subsequence is more than 0.6 of the
                   longer text (Qwen2.5-Math, arXiv 2409.12122; the denominator is ours) or more
                   than 0.8 of the item (ours: a long text may hold a short item whole)
    selfcodealign  the item is a substring, case ignored (SelfCodeAlign, arXiv 2410.24198)

An item shorter than the rule's run cannot share one: it counts only when a text is equal to it, for
qwen_math (as the run of its whole length) when a text holds it.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import pyarrow as pa

from pipeline.errors import UserError
from pipeline.schema import Sifted
from pipeline.selection.overlap import (
    anchor,
    anchors_in,
    common_subsequence,
    covered,
    gram_hashes,
    tokenise,
)

Rule = Literal["tulu3", "any_13gram", "qwen_math", "selfcodealign"]

_RUN: dict[str, int] = {"tulu3": 8, "any_13gram": 13, "qwen_math": 13, "selfcodealign": 0}
_log = logging.getLogger(__name__)
HIT = pa.struct(
    [(name, pa.string()) for name in ("rule", "bench", "item_id", "span")]
    + [("score", pa.float64())]
)


class Hit(NamedTuple):
    """Which item a row holds: rule, item, the matching span (normalised) and the rule's figure.

    score: tulu3 and selfcodealign the covered share of the item, any_13gram the number of shared
    runs, qwen_math the deciding ratio.
    """

    rule: str
    bench: str
    item_id: str
    span: str
    score: float


class _Item(NamedTuple):
    bench: str
    item_id: str
    text: str
    tokens: list[str]
    grams: list[int]
    size: int


@dataclass(frozen=True)
class Benchmarks:
    """Items of benchmarks, indexed for one rule; made by `index_benchmarks`."""

    rule: Rule
    items: list[_Item]
    by_gram: Mapping[int, Sequence[int]]
    sizes: Sequence[int]


def index_benchmarks(
    items: pa.Table, *, rule: Rule, exempt: Sequence[str] = (), columns: Sequence[str] = ("prompt",)
) -> Benchmarks:
    """Index a table `bench, item_id` and text columns (for code give the answers too).

    `exempt` texts (generic one-line solutions) and empty ones match nothing.
    """
    if rule not in _RUN:
        raise UserError(f"decontamination rule '{rule}' is unknown; choose {', '.join(_RUN)}")
    found: list[_Item] = []
    skipped = 0
    for row in items.to_pylist():
        for column in columns:
            text = row[column] or ""
            tokens = tokenise(text)
            if not text.strip() or text in exempt or not (tokens or rule == "selfcodealign"):
                skipped += 1
                continue
            size = min(_RUN[rule], len(tokens)) or max(len(tokens), 1)
            grams = gram_hashes(tokens, size) if _RUN[rule] else [anchor(text.lower())]
            found.append(
                _Item(row["bench"], str(row["item_id"]), text.lower(), tokens, grams, size)
            )
    if skipped:
        _log.warning("%d of %d benchmark texts are empty or exempt", skipped, len(items))
    by_gram: dict[int, list[int]] = {}
    for place, item in enumerate(found):
        for gram in dict.fromkeys(item.grams):
            by_gram.setdefault(gram, []).append(place)
    return Benchmarks(rule, found, by_gram, sorted({item.size for item in found}))


def find_overlaps(texts: Sequence[str], benchmarks: Benchmarks) -> list[Hit]:
    """Return every item that a row's texts hold, in the order of the items, each once.

    For tulu3 the texts (user turns) count together, for the other rules each alone.
    """
    found: dict[int, Hit] = {}
    groups = [texts] if benchmarks.rule == "tulu3" else [[text] for text in texts]
    for group in groups:
        for place, hit in _overlaps(group, benchmarks):
            found.setdefault(place, hit)
    return [found[place] for place in sorted(found)]


def decontaminate(
    rows: pa.Table,
    items: pa.Table,
    *,
    rule: Rule,
    columns: Sequence[str] = ("messages",),
    exempt: Sequence[str] = (),
    item_columns: Sequence[str] = ("prompt",),
) -> Sifted:
    """Drop the rows that hold a benchmark item; they lie aside with a column `contamination`.

    Of message columns tulu3 reads the user turns, the other rules every turn. Dropped are counted
    as contaminated_<bench>, by the first item found.
    """
    benchmarks = index_benchmarks(items, rule=rule, exempt=exempt, columns=item_columns)
    read = rows.select(list(columns)).to_pylist()
    hits = [find_overlaps(_texts(row, rule), benchmarks) for row in read]
    dropped: dict[str, int] = {}
    for own in filter(None, hits):
        reason = f"contaminated_{own[0].bench}"
        dropped[reason] = dropped.get(reason, 0) + 1
    clean = pa.array([not own for own in hits], pa.bool_())
    why = pa.array([[hit._asdict() for hit in own] for own in hits], pa.list_(HIT))
    marked = rows.append_column("contamination", why)
    guilty = pa.array([bool(own) for own in hits], pa.bool_())
    return Sifted(rows.filter(clean), dict(sorted(dropped.items())), marked.filter(guilty))


def set_overlap(hits: Sequence[Sequence[Hit]], items: pa.Table) -> dict[str, float]:
    """Return, by benchmark, the share of its items that a training set's rows hold.

    Tulu 3 flags the whole set where this exceeds 0.02.
    """
    held = {(hit.bench, hit.item_id) for own in hits for hit in own}
    totals: dict[str, set[str]] = {}
    for row in items.select(["bench", "item_id"]).to_pylist():
        totals.setdefault(row["bench"], set()).add(str(row["item_id"]))
    return {b: sum((b, one) in held for one in ids) / len(ids) for b, ids in totals.items()}


def _texts(row: Mapping[str, Any], rule: Rule) -> list[str]:
    texts: list[str] = []
    for value in row.values():
        if isinstance(value, str):
            texts.append(value)
            continue
        turns = value or []
        texts += [t["content"] or "" for t in turns if rule != "tulu3" or t["role"] == "user"]
    # SelfCodeAlign searches instruction and response as one text.
    return ["\n".join(texts)] if rule == "selfcodealign" else texts


def _overlaps(texts: Sequence[str], benchmarks: Benchmarks) -> list[tuple[int, Hit]]:
    if benchmarks.rule == "selfcodealign":
        return _substrings([text.lower() for text in texts], benchmarks)
    lines = [tokenise(text) for text in texts]
    held = {gram for line in lines for size in benchmarks.sizes for gram in gram_hashes(line, size)}
    near = {place for gram in held for place in benchmarks.by_gram.get(gram, ())}
    found = []
    for place in sorted(near):
        score, span = _judge(benchmarks.rule, benchmarks.items[place], lines, held)
        if span:
            item = benchmarks.items[place]
            found.append((place, Hit(benchmarks.rule, item.bench, item.item_id, span, score)))
    return found


def _substrings(lowered: Sequence[str], benchmarks: Benchmarks) -> list[tuple[int, Hit]]:
    words = {word for text in lowered for word in anchors_in(text)}
    near = sorted(place for word in words for place in benchmarks.by_gram.get(word, ()))
    return [
        (place, Hit(benchmarks.rule, item.bench, item.item_id, item.text, 1.0))
        for place, item in ((place, benchmarks.items[place]) for place in near)
        if any(item.text in text for text in lowered)
    ]


def _judge(
    rule: Rule, item: _Item, lines: Sequence[list[str]], held: set[int]
) -> tuple[float, str]:
    """Return the rule's figure and the matching span, "" if the item is not held."""
    marks = covered(item.grams, held, item.size)
    span = " ".join(token for token, mark in zip(item.tokens, marks, strict=True) if mark)
    if rule == "qwen_math":
        score = max(_likeness(item.tokens, line) for line in lines)
        return score, span if score else ""
    if item.size < _RUN[rule]:  # too short for a run of its own
        return 1.0, span if any(line == item.tokens for line in lines) else ""
    share = sum(marks) / len(marks)
    if rule == "tulu3":
        return share, span if share > 0.5 else ""
    return float(sum(gram in held for gram in item.grams)), span


def _likeness(item: list[str], line: list[str]) -> float:
    length = common_subsequence(item, line)
    by_longer, by_item = length / max(len(item), len(line)), length / len(item)
    if by_longer > 0.6:
        return by_longer
    return by_item if by_item > 0.8 else 0.0
