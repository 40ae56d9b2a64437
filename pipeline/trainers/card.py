"""The dataset card: what the rows are, where they come from and what became of the others.

A card holds neither times nor hosts, so the same run gives the same bytes.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict

import yaml


class Funnel(TypedDict):
    """One step of a run: rows in = rows kept + sum of `dropped`, unless it makes rows of rows."""

    step: str
    rows_in: int
    kept: int
    dropped: Mapping[str, int]  # reason -> rows
    expands: NotRequired[bool]


class Card(TypedDict, total=False):
    """What a recipe tells of its dataset; each entry may be missing and is then left out."""

    name: str
    recipe: str
    paper: str  # "arXiv:2407.13690"
    description: str
    license: str
    language: Sequence[str]
    source_datasets: Sequence[str]
    models: Sequence[str]  # identities as in rollouts: kind, name, revision or digest
    sampling: Mapping[str, Any]
    prompts: Mapping[str, str]  # name -> template
    funnel: Sequence[Funnel]
    verdicts: Mapping[str, int]
    command: str


_TAGS = {
    "sft": ["sft"],
    "pairs": ["dpo", "preference"],
    "unpaired": ["kto"],
    "stepwise": ["prm"],
    "scores": ["rewards"],
}
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (10**6, "100K<n<1M"))
_SHOWN = 2_000  # characters of one text in the sample row


def render(card: Card, *, kind: str, rows: int, sample: Mapping[str, Any] | None) -> str:
    """Return the README.md of a dataset of `rows` rows; `sample` is its first row."""
    title = card.get("name") or f"{card.get('recipe', 'Tamis')} ({kind})"
    sections = [
        f"# {title}",
        card.get("description", ""),
        _facts(card, kind, rows),
        _section("Sampling", _code(_json(card["sampling"]), "json") if "sampling" in card else ""),
        _section("Prompts", _prompts(card.get("prompts", {}))),
        _section("Funnel", _funnel(card.get("funnel", ()))),
        _section("Verdicts", _table(("verdict", "rollouts"), card.get("verdicts", {}).items())),
        _section("One row", _code(_json(_shorten(sample)), "json") if sample else ""),
        _section("Load", _code(_LOAD, "python")),
        _section("Reproduce", _code(card["command"], "bash") if card.get("command") else ""),
    ]
    return _front_matter(card, kind, rows) + "\n\n".join(filter(None, sections)) + "\n"


_LOAD = 'from datasets import load_dataset\n\nrows = load_dataset("PATH OR NAME", split="train")'


def _front_matter(card: Card, kind: str, rows: int) -> str:
    size = next((name for limit, name in _SIZES if rows < limit), "n>1M")
    front: dict[str, Any] = {
        "license": card.get("license"),
        "language": list(card.get("language", ())),
        "pretty_name": card.get("name"),
        "size_categories": [size],
        "task_categories": ["text-generation"],
        "annotations_creators": ["machine-generated"],
        "source_datasets": list(card.get("source_datasets", ())),
        "tags": ["synthetic", "tamis", *_TAGS[kind]],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": "train", "path": "data/train-*.parquet"}],
            }
        ],
    }
    known = {key: value for key, value in front.items() if value}
    return f"---\n{yaml.safe_dump(known, sort_keys=False, allow_unicode=True)}---\n\n"


def _facts(card: Card, kind: str, rows: int) -> str:
    paper = card.get("paper", "")
    arxiv = re.fullmatch(r"arXiv:(\S+)", paper)
    facts = {
        "Rows": f"{rows} ({kind})",
        "Recipe": f"`{card['recipe']}` of Tamis" if card.get("recipe") else "",
        "Paper": f"[{paper}](https://arxiv.org/abs/{arxiv[1]})" if arxiv else paper,
        "Models": ", ".join(f"`{model}`" for model in card.get("models", ())),
    }
    return "\n".join(f"* **{name}**: {value}" for name, value in facts.items() if value)


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}" if body else ""


def _prompts(prompts: Mapping[str, str]) -> str:
    return "\n\n".join(f"`{name}`\n\n{_code(text, 'jinja')}" for name, text in prompts.items())


def _funnel(steps: Sequence[Funnel]) -> str:
    rows = [(step["step"], step["rows_in"], step["kept"], _reasons(step)) for step in steps]
    return _table(("step", "in", "kept", "dropped"), rows)


def _reasons(step: Funnel) -> str:
    missing = step["rows_in"] - step["kept"] - sum(step["dropped"].values())
    if missing < 0 and not step["dropped"]:
        return f"{step['kept'] / max(step['rows_in'], 1):.1f} a row"
    if missing > 0 and not step.get("expands"):
        raise ValueError(f"funnel step '{step['step']}': {missing} rows left without a reason")
    return ", ".join(f"{reason} {count}" for reason, count in sorted(step["dropped"].items()))


def _table(head: Sequence[str], rows: Any) -> str:
    lines = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    rule = ["---"] * len(head)
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, rule, *lines]) if lines else ""


def _code(text: str, language: str) -> str:
    # The fence is longer than any in the text: templates and rows often hold fences themselves.
    longest = max(map(len, re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def _shorten(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _SHOWN:
        return f"{value[:_SHOWN]} ... ({len(value)} characters)"
    if isinstance(value, Mapping):
        return {key: _shorten(item) for key, item in value.items()}
    return [_shorten(item) for item in value] if isinstance(value, list) else value
